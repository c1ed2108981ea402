"""Running sums of a pass over the calibration tokens: of a site's inputs, of what sublayers change.

Precision: activations in the model's own, products of one batch in at least float32, sums in
float64 (`ACCUMULATE`).
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
"""Precision of every sum that is kept."""


COLUMNS = 2048
"""Of a batch that are summed at once, so that memory holds no second batch in float64 [-]."""
WHAT_TO_DO = "check the model's weights, or load it in float32 (prepare.model.dtype)"


@dataclass
class Position:
    """Where the pass is: the pool, if there are any, and the first sequence of the batch; and on which device.

    What passes is looked at on the device, so that it need not wait for the CPU; the answer is asked
    for once a batch (`refuse_not_finite`).
    """

    device: torch.device
    pool: int | None = None
    sequence: int = 0
    _seen: list[tuple[str, Tensor]] = field(default_factory=list)
    """What was looked at in this batch: of every sequence whether it is finite [sequences], or of all of them [ ]."""

    def watch(self, what: str, x: Tensor) -> None:
        """Look at ``x`` [sequences, length, width], or at rows that do not say of which sequence [tokens, width]."""
        finite = x.isfinite()
        self._seen.append((what, finite.flatten(1).all(1) if x.ndim == 3 else finite.all()))

    def refuse_not_finite(self) -> None:
        """Raise RankwiseError for the first thing in the batch that is not finite, with its sequence."""
        seen, self._seen = self._seen, []
        if not seen or bool(torch.stack([finite.all() for _, finite in seen]).all()):
            return
        what, finite = next((what, finite) for what, finite in seen if not bool(finite.all()))
        at = f"in the batch from sequence {self.sequence} on"
        if finite.ndim:
            at = f"in sequence {self.sequence + int((~finite).nonzero()[0])}"
        pool = "" if self.pool is None else f" (pool {self.pool})"
        raise RankwiseError(f"{what} are NaN or infinite {at}{pool}; {WHAT_TO_DO}")


def column_sums(rows: Tensor, of: Callable[[Tensor], Tensor] = torch.positive) -> Tensor:
    """Return the sum of every column of ``of(rows)`` [width], some columns at a time: PyTorch converts them first."""
    parts = [of(columns).sum(0, dtype=ACCUMULATE) for columns in rows.split(COLUMNS, 1)]
    return torch.cat(parts)


class SiteSums:
    """Running sums of one site over one pool: Σ x xᵀ, Σ |x| and Σ x; pools are added up in their order.

    With ``whole`` false, of x xᵀ the diagonal alone. ``weights`` are W [out, in] of linears by name for
    which Σ y yᵀ, y = W x, is kept too. ``place`` is where the pass is.
    """

    def __init__(
        self,
        layer: int,
        site: str,
        width: int,
        place: Position,
        *,
        whole: bool = True,
        weights: dict[str, Tensor] | None = None,
    ) -> None:
        self.layer, self.site, self.place = layer, site, place
        self.width, self.whole = width, whole
        self.weights = weights or {}

    def start(self) -> None:
        """Begin a pool, at zero."""
        zeros = partial(torch.zeros, dtype=ACCUMULATE, device=self.place.device)
        matrix = partial(Panels.zeros, dtype=ACCUMULATE, device=self.place.device)
        self.second = matrix(self.width) if self.whole else zeros(self.width)
        self.first, self.absolute = zeros(self.width), zeros(self.width)
        self.tokens = 0
        self.outputs = {name: matrix(len(w)) for name, w in self.weights.items()}

    def add(self, x: Tensor) -> None:
        """Add inputs ``x`` [..., width], all of the present pool."""
        self.place.watch(f"covariance of layer {self.layer}, site {self.site}: inputs", x)
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
        """Hand out the pool's statistics of the inputs and of outputs, on the device; refuses sums that overflowed."""
        if not all(map(is_finite, [self.second, *self.outputs.values()])):
            raise RankwiseError(
                f"covariance of layer {self.layer}, site {self.site}: second moments are NaN or infinite"
            )
        means = self.first[None] / max(self.tokens, 1)
        tokens = torch.tensor([self.tokens], device=self.place.device)
        outputs, found = self.outputs, InputStatistics(self.second, means, tokens, self.absolute)
        del self.second, self.outputs  # or they would stand beside those of the next pool
        return found, outputs


class CosineSums:
    """Running sums of one layer over one pool: over tokens, the cosine between the states around each sublayer.

    A sublayer's output is added to the hidden state, so the state behind it is the state before plus
    that output; the layer's own input starts the chain. Where sublayers work in ``parallel``, each is
    compared with the layer's input.
    """

    def __init__(
        self, layer: int, sublayers: Iterable[str], place: Position, *, parallel: bool
    ) -> None:
        self.layer, self.place, self.parallel = layer, place, parallel
        self.sublayers = list(sublayers)
        self._state = torch.empty(0)

    def start(self) -> None:
        """Begin a pool, at zero."""
        zero = partial(torch.zeros, (), dtype=ACCUMULATE, device=self.place.device)
        self.totals = {name: zero() for name in self.sublayers}

    def enter(self, state: Tensor) -> None:
        """Take the layer's input [..., width]."""
        self._state = state.detach()

    def add(self, sublayer: str, output: Tensor) -> None:
        """Add what a sublayer adds to the hidden state [..., width]; tokens may be flattened."""
        self.reach(sublayer, self._state + output.reshape(self._state.shape))

    def reach(self, sublayer: str, state: Tensor) -> None:
        """Take the hidden state behind a sublayer [..., width]."""
        behind = state.detach()
        what = f"covariance of layer {self.layer}, sublayer {sublayer}: hidden states"
        self.place.watch(what, behind)
        cosine = functional.cosine_similarity(self._state.float(), behind.float(), dim=-1)
        self.totals[sublayer] += cosine.sum(dtype=ACCUMULATE)
        if not self.parallel:
            self._state = behind

    def sums(self) -> dict[tuple[int, str], float]:
        """Return the finished sums."""
        return {(self.layer, name): float(total) for name, total in self.totals.items()}
