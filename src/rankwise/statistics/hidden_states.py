"""Files of hidden states between two layers, and of gradients at them: batch after batch, in the order of the text.

A file holds plain numbers without a header. It is read and written by the batch, not memory-mapped,
because the system may count a mapped file as this process's memory. Readers and writers hash the data
(XXH3, about 10 GB/s on one core, negligible next to the disk).
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
    """A file of numbers of ``dtype``: opened at the first use, closed when its context ends."""

    def __init__(self, path: Path, dtype: torch.dtype) -> None:
        self.path, self.dtype = path, dtype
        self._hash = xxhash.xxh3_128()
        self._open = ExitStack()
        self._used = False

    @property
    def digest(self) -> str | None:
        """Hash of all data read or written; None before the first."""
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
    """Reads hidden states from a file."""

    _file: BufferedReader

    def read(self, *args: Any, **kwargs: Any) -> Tensor:
        """Return the next states, as many as the arguments hold; replaces a layer's forward pass."""
        return self.next(states_argument(args, kwargs))

    def next(self, like: Tensor) -> Tensor:
        """Return the next numbers, with the shape and device of ``like``."""
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
    """Writes hidden states to a file, and flushes it to disk on close."""

    _file: BufferedWriter

    def write(self, *args: Any, **kwargs: Any) -> Tensor:
        """Append the states among the arguments, and return them; replaces a layer's forward pass."""
        states = states_argument(args, kwargs)
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


def states_argument(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """Return the hidden states among a layer's arguments."""
    states: Tensor = args[0] if args else kwargs["hidden_states"]
    return states


def pass_through(*args: Any, **kwargs: Any) -> Tensor:
    """Return the states unchanged; replaces the forward pass of a layer that is skipped."""
    return states_argument(args, kwargs)
