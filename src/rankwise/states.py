"""Hidden states between two layers, in files: batch after batch, in the order of the text."""

import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor

from rankwise.errors import RankwiseError

Forward = Callable[..., Tensor]
"""A forward pass of a layer: the hidden states [sequences, length, width] come first."""


class States:
    """Stand-ins for layers' forward passes that read or write hidden states of ``dtype``.

    Files are plain numbers without a head, read and written by the batch rather than mapped: of what
    is mapped, the system may hold the whole in this process's memory. Used as a context, which closes
    them and flushes what was written to disk.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self._open = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()

    def reading(self, path: Path) -> Forward:
        """Return a forward pass that gives the next states of the file in place of its own."""
        stream = self._open.enter_context(path.open("rb"))

        def forward(*given: Any, **named: Any) -> Tensor:
            like = _states(given, named)
            buffer = bytearray(like.numel() * self.dtype.itemsize)
            if stream.readinto(buffer) != len(buffer):
                raise RankwiseError(
                    f"{path} ends before the text does; delete its folder and run stage covariance again"
                )
            return torch.frombuffer(buffer, dtype=self.dtype).view(like.shape).to(like.device)

        return forward

    def writing(self, path: Path) -> Forward:
        """Return a forward pass that appends the states it is given to the file."""
        stream = self._open.enter_context(path.open("wb"))
        self._open.callback(os.fsync, stream.fileno())
        self._open.callback(stream.flush)

        def forward(*given: Any, **named: Any) -> Tensor:
            states = _states(given, named)
            if states.dtype != self.dtype or states.ndim != 3:
                raise RankwiseError(
                    f"hidden states are {states.dtype} {list(states.shape)}, expected {self.dtype} [sequences, length, width]; "
                    "set covariance.streaming to false for this model"
                )
            stream.write(states.contiguous().cpu().view(torch.uint8).numpy().data)
            return states

        return forward

    def passing(self, *given: Any, **named: Any) -> Tensor:
        """Return the states as they are."""
        return _states(given, named)


def _states(given: tuple[Any, ...], named: dict[str, Any]) -> Tensor:
    states: Tensor = given[0] if given else named["hidden_states"]
    return states
