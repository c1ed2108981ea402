"""Running sums of a pass over the calibration tokens: of a site's inputs, of what sublayers change.

Precision: activations in the model's own, products of one batch in at least float32, sums in
float64 (`ACCUMULATE`).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from rankwise import linalg
from rankwise.artifacts import InputStatistics
from rankwise.errors import RankwiseError

ACCUMULATE = torch.float64
"""Precision of every sum that is kept."""


WHAT_TO_DO = "check the model's weights, or load it in float32 (prepare.model.dtype)"


@dataclass
class Place:
    """Where the pass is: the pool and the first sequence of the batch; and on which device."""

    device: torch.device
    pool: int = 0
    sequence: int = 0

    def of(self, x: Tensor) -> str:
        """Name the sequence of ``x`` [sequences, length, width] that is not finite.

        Of rows that do not say which sequence they are of [tokens, width], name the batch.
        """
        if x.ndim < 3:
            return f"in the batch from sequence {self.sequence} on (pool {self.pool})"
        bad = int((~x.isfinite()).flatten(1).any(1).nonzero()[0])
        return f"in sequence {self.sequence + bad} (pool {self.pool})"


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
        place: Place,
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
        self.second = zeros(self.width, self.width) if self.whole else zeros(self.width)
        self.first, self.absolute = zeros(self.width), zeros(self.width)
        self.tokens = 0
        self.outputs = {name: zeros(len(w), len(w)) for name, w in self.weights.items()}

    def add(self, x: Tensor) -> None:
        """Add inputs ``x`` [..., width], all of the present pool."""
        rows = x.detach().reshape(-1, x.shape[-1])
        if rows.dtype in (torch.bfloat16, torch.float16):
            rows = rows.float()
        self.tokens += len(rows)
        if self.whole:
            linalg.add_gram(self.second, rows)
        else:
            self.second += rows.square().sum(0, dtype=ACCUMULATE)
        for name, weight in self.weights.items():
            linalg.add_gram(self.outputs[name], rows @ weight.to(rows).T)
        self.first += rows.sum(0, dtype=ACCUMULATE)
        self.absolute += rows.abs().sum(0, dtype=ACCUMULATE)
        if not bool(self.first.isfinite().all()):
            raise RankwiseError(
                f"covariance of layer {self.layer}, site {self.site}: inputs are NaN or infinite "
                f"{self.place.of(x)}; {WHAT_TO_DO}"
            )

    def take(self) -> tuple[InputStatistics, dict[str, Tensor]]:
        """Hand out the pool's statistics of the inputs and of outputs; refuses sums that overflowed."""
        sums = [self.second, *self.outputs.values()]
        for each in sums:
            if each.ndim == 2:
                linalg.mirrored(each)
        if not all(linalg.finite(each) for each in sums):
            raise RankwiseError(
                f"covariance of layer {self.layer}, site {self.site}: second moments are NaN or infinite"
            )
        means = self.first.cpu()[None] / max(self.tokens, 1)
        outputs = {name: moment.cpu() for name, moment in self.outputs.items()}
        found = InputStatistics(
            self.second.cpu(), means, torch.tensor([self.tokens]), self.absolute.cpu()
        )
        del self.second, self.outputs  # or they would stand beside those of the next pool
        return found, outputs


class CosineSums:
    """Running sums of one layer over one pool: over tokens, the cosine between the states around each sublayer.

    A sublayer's output is added to the hidden state, so the state behind it is the state before plus
    that output; the layer's own input starts the chain. Where sublayers work in ``parallel``, each is
    compared with the layer's input.
    """

    def __init__(
        self, layer: int, sublayers: Iterable[str], place: Place, *, parallel: bool
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
        cosine = functional.cosine_similarity(self._state.float(), behind.float(), dim=-1)
        self.totals[sublayer] += cosine.sum(dtype=ACCUMULATE)
        if not bool(self.totals[sublayer].isfinite()):
            raise RankwiseError(
                f"covariance of layer {self.layer}, sublayer {sublayer}: hidden states are NaN or infinite "
                f"{self.place.of(behind)}; {WHAT_TO_DO}"
            )
        if not self.parallel:
            self._state = behind

    def sums(self) -> dict[tuple[int, str], float]:
        """Return the finished sums."""
        return {(self.layer, name): float(total) for name, total in self.totals.items()}
