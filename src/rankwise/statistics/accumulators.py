"""Running sums of a pass over the calibration tokens: of each site's inputs and each sublayer's effect.

Precision: activations have the model's dtype, products of one batch at least float32, sums float64
(`ACCUMULATE`).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from rankwise.artifacts.statistics import InputStatistics
from rankwise.errors import RankwiseError
from rankwise.linalg.packed import Panels, is_finite

ACCUMULATE = torch.float64
"""Precision of every running sum."""


COLUMNS = 2048
"""Columns of a batch that are summed at once, so that memory holds no second batch in float64 [-]."""
WHAT_TO_DO = "check the model's weights, or load it in float32 (prepare.model.dtype)"


@dataclass
class Position:
    """Where the pass is: the device, the pool if there are pools, and the first sequence of the batch.

    It also checks that tensors are finite. The check runs on the device, so that the device need not
    wait for the CPU; `refuse_not_finite` reads its result once a batch.
    """

    device: torch.device
    pool: int | None = None
    sequence: int = 0
    _seen: list[tuple[str, Tensor]] = field(default_factory=list)
    """Tensors checked in this batch: description; whether each sequence is finite [sequences], or the whole tensor [ ]."""

    def watch(self, what: str, x: Tensor) -> None:
        """Check ``x`` [sequences, length, width], or rows whose sequences are unknown [tokens, width]."""
        finite = x.isfinite()
        self._seen.append((what, finite.flatten(1).all(1) if x.ndim == 3 else finite.all()))

    def refuse_not_finite(self) -> None:
        """Raise RankwiseError for the first tensor of the batch that is not finite, with its sequence."""
        seen, self._seen = self._seen, []
        if not seen or bool(torch.stack([finite.all() for _, finite in seen]).all()):
            return
        what, finite = next((what, finite) for what, finite in seen if not bool(finite.all()))
        where = f"in the batch from sequence {self.sequence} on"
        if finite.ndim:
            where = f"in sequence {self.sequence + int((~finite).nonzero()[0])}"
        pool = "" if self.pool is None else f" (pool {self.pool})"
        raise RankwiseError(f"{what} are NaN or infinite {where}{pool}; {WHAT_TO_DO}")


def column_sums(rows: Tensor, of: Callable[[Tensor], Tensor] = torch.positive) -> Tensor:
    """Return the sum of every column of ``of(rows)`` [width].

    It sums `COLUMNS` columns at a time, because PyTorch first copies what it sums to float64.
    """
    parts = [of(columns).sum(0, dtype=ACCUMULATE) for columns in rows.split(COLUMNS, 1)]
    return torch.cat(parts)


class SiteSums:
    """Running sums of one site over one pool: Σ x xᵀ, Σ |x| and Σ x; the caller adds pools in their order.

    Without ``full_matrix`` it sums only the diagonal of x xᵀ. ``weights`` maps linears to W [out, in];
    for these it also sums y yᵀ, y = W x.
    """

    def __init__(
        self,
        layer: int,
        site: str,
        width: int,
        position: Position,
        *,
        full_matrix: bool = True,
        weights: dict[str, Tensor] | None = None,
    ) -> None:
        self.layer, self.site, self.position = layer, site, position
        self.width, self.full_matrix = width, full_matrix
        self.weights = weights or {}

    def start(self) -> None:
        """Set all sums to zero for the next pool."""
        zeros = partial(torch.zeros, dtype=ACCUMULATE, device=self.position.device)
        matrix = partial(Panels.zeros, dtype=ACCUMULATE, device=self.position.device)
        self.second = matrix(self.width) if self.full_matrix else zeros(self.width)
        self.first, self.absolute = zeros(self.width), zeros(self.width)
        self.tokens = 0
        self.outputs = {name: matrix(len(w)) for name, w in self.weights.items()}

    def add(self, x: Tensor) -> None:
        """Add inputs ``x`` [..., width] of the current pool."""
        self.position.watch(f"covariance of layer {self.layer}, site {self.site}: inputs", x)
        rows = x.detach().reshape(-1, x.shape[-1])
        if rows.dtype in (torch.bfloat16, torch.float16):
            rows = rows.float()
        self.tokens += len(rows)
        if isinstance(self.second, Panels):
            self.second.add_gram(rows)
        else:
            self.second += column_sums(rows, torch.square)
        for name, weight in self.weights.items():
            self.outputs[name].add_gram(rows @ weight.to(rows).T)
        self.first += column_sums(rows)
        self.absolute += column_sums(rows, torch.abs)

    def take(self) -> tuple[InputStatistics, dict[str, Panels]]:
        """Return the pool's statistics of inputs and outputs, on the device, and release them.

        Raises RankwiseError where a sum has overflowed.
        """
        if not all(map(is_finite, [self.second, *self.outputs.values()])):
            raise RankwiseError(
                f"covariance of layer {self.layer}, site {self.site}: second moments are NaN or infinite"
            )
        means = self.first[None] / max(self.tokens, 1)
        tokens = torch.tensor([self.tokens], device=self.position.device)
        outputs, statistics = (
            self.outputs,
            InputStatistics(self.second, means, tokens, self.absolute),
        )
        del self.second, self.outputs  # free them before the next pool allocates its own
        return statistics, outputs


class CosineSums:
    """Running sums of one layer over one pool: the cosine between the hidden states before and after each sublayer.

    The model adds a sublayer's output to the hidden state, so the state after it is the state before
    plus that output. The first state is the layer's input. Where sublayers run in ``parallel``, each
    is compared with the layer's input.
    """

    def __init__(
        self, layer: int, sublayers: Iterable[str], position: Position, *, parallel: bool
    ) -> None:
        self.layer, self.position, self.parallel = layer, position, parallel
        self.sublayers = list(sublayers)
        self._state = torch.empty(0)

    def start(self) -> None:
        """Set all sums to zero for the next pool."""
        zero = partial(torch.zeros, (), dtype=ACCUMULATE, device=self.position.device)
        self.totals = {name: zero() for name in self.sublayers}

    def enter(self, state: Tensor) -> None:
        """Record the layer's input [..., width]."""
        self._state = state.detach()

    def add(self, sublayer: str, output: Tensor) -> None:
        """Count a sublayer given its output, which the model adds to the hidden state [..., width].

        The output's token dimensions may be flattened.
        """
        self.reach(sublayer, self._state + output.reshape(self._state.shape))

    def reach(self, sublayer: str, state: Tensor) -> None:
        """Count a sublayer given the hidden state after it [..., width]."""
        next_state = state.detach()
        what = f"covariance of layer {self.layer}, sublayer {sublayer}: hidden states"
        self.position.watch(what, next_state)
        cosine = functional.cosine_similarity(self._state.float(), next_state.float(), dim=-1)
        self.totals[sublayer] += cosine.sum(dtype=ACCUMULATE)
        if not self.parallel:
            self._state = next_state

    def sums(self) -> dict[tuple[int, str], float]:
        """Return the sums: (layer, sublayer) → sum of cosines over tokens."""
        return {(self.layer, name): float(total) for name, total in self.totals.items()}
