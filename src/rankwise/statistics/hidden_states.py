"""Hidden states between two layers, and gradients at them, in files: batch after batch, in the order of the text.

Files are plain numbers without a head, read and written by the batch rather than mapped: of what is
mapped, the system may hold the whole in this process's memory. What passes is hashed on its way (XXH3,
some 10 GB/s on one core, so that it costs nothing beside the disk).
"""

import os
from collections.abc import Callable
from contextlib import ExitStack
from io import BufferedReader, BufferedWriter
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
import xxhash
from torch import Tensor

from rankwise.errors import RankwiseError
from rankwise.files.checksummed import repair_hint

Forward = Callable[..., Tensor]
"""A forward pass of a layer: the hidden states [sequences, length, width] come first."""


class _Stream:
    """A file of numbers of ``dtype``, opened when it is first used, closed with the context it is used as."""

    def __init__(self, path: Path, dtype: torch.dtype) -> None:
        self.path, self.dtype = path, dtype
        self._hash = xxhash.xxh3_128()
        self._open = ExitStack()
        self._used = False

    @property
    def digest(self) -> str | None:
        """Hash of all that has passed; None where nothing has."""
        return self._hash.hexdigest() if self._used else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()


class Reader(_Stream):
    """Hidden states that a file holds."""

    _file: BufferedReader

    def read(self, *given: Any, **named: Any) -> Tensor:
        """Return the next states, as many as are given: in place of a layer's forward pass."""
        return self.next(states_argument(given, named))

    def next(self, like: Tensor) -> Tensor:
        """Return the next numbers, of the shape and on the device of ``like``."""
        if not self._used:
            self._file, self._used = self._open.enter_context(self.path.open("rb")), True
        buffer = bytearray(like.numel() * self.dtype.itemsize)
        if self._file.readinto(buffer) != len(buffer):
            raise RankwiseError(
                f"{self.path} ends before the text does; {repair_hint(self.path.parent)}"
            )
        self._hash.update(buffer)
        return torch.frombuffer(buffer, dtype=self.dtype).view(like.shape).to(like.device)


class Writer(_Stream):
    """Hidden states that go to a file, flushed to disk when it is closed."""

    _file: BufferedWriter

    def write(self, *given: Any, **named: Any) -> Tensor:
        """Append the states that are given, and return them: in place of a layer's forward pass."""
        states = states_argument(given, named)
        self.append(states)
        return states

    def append(self, states: Tensor) -> None:
        """Append numbers [sequences, length, width]."""
        if states.dtype != self.dtype or states.ndim != 3:
            raise RankwiseError(
                f"hidden states are {states.dtype} {list(states.shape)}, expected {self.dtype} [sequences, length, width]; "
                "set 'streaming' of the stage's section to false for this model"
            )
        if not self._used:
            self._file, self._used = self._open.enter_context(self.path.open("wb")), True
            self._open.callback(os.fsync, self._file.fileno())
            self._open.callback(self._file.flush)
        numbers = states.detach().contiguous().cpu().view(torch.uint8).numpy().data
        self._hash.update(numbers)
        self._file.write(numbers)


def states_argument(given: tuple[Any, ...], named: dict[str, Any]) -> Tensor:
    """Return the hidden states among a layer's arguments."""
    states: Tensor = given[0] if given else named["hidden_states"]
    return states


def pass_through(*given: Any, **named: Any) -> Tensor:
    """Return the states as they are: a layer that stands aside."""
    return states_argument(given, named)
