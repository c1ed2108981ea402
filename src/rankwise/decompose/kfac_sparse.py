"""Ours, low rank plus sparse: what is dropped costs the loss least, and what stays makes up for it."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
from pydantic import Field

from rankwise.decompose.base import Decomposer
from rankwise.methods.measure import Measure
from rankwise.methods.required_statistics import RequiredStatistics

if TYPE_CHECKING:
    from torch import Tensor

    from rankwise.artifacts.factors import Factors, SparsePart
    from rankwise.artifacts.statistics import InputStatistics
    from rankwise.decompose._metric import KroneckerMetric

FITTED_AT = 0.65
"""Share of the matrix at which the low-rank part is found, the middle of the usual budgets [-]."""
ALTERNATIONS = 5
"""Of the low-rank and the sparse part, to find the former [-]."""
STEPS = 4
"""Choices of the ladder from one level to the next [-]."""


class KFACSparse(Decomposer):
    """``W ≈ L + S`` of least predicted loss ``½ tr(G (W − L − S) C (W − L − S)ᵀ)`` [nats/token].

    C = E[x xᵀ] [in, in] of the inputs and G = E[g gᵀ] [out, out] of the loss's gradients at the outputs,
    as in `kfac`, both damped (recorded); of G the diagonal alone where out > in, so that nothing
    larger than [in, in] is gathered. C itself is needed, whatever the smaller side: 8·in² bytes a
    site (1 GB for a down-projection of LLaMA-2-7B), half of that on disk. Source: ours; optimal brain
    surgeon (Hassibi & Stork 1993) for the Kronecker metric of K-FAC, as SparseGPT (arXiv 2301.00774)
    is for G = 1.

    1. L, of a small fixed rank: the best in the metric (SVD of ``G^½ (W − S) C^½``), in turn with S = the
       entries of W − L of largest ``G_ii C_jj s²``.
    2. From R = W − L whole, entries are dropped little by little: those of least saliency
       ``s²/([G⁻¹]_ii [C⁻¹]_jj)``, the loss of dropping one when all others make up for it. After each
       round the rest does so: conjugate gradients on ``min tr(G (R − S) C (R − S)ᵀ)`` over the entries left.
    3. At every level ``1 − k·spacing`` of the matrix's parameters the values are kept, and the loss is
       predicted there and between: a ladder that `allocate.least_loss` spends in one currency.

    At 7B and 16 bits the stored levels take about 9 times the block's weights on disk with the default
    ones; raise ``spacing`` for less. Cost: (levels · rounds · iterations) products of [out, out, in] and
    [out, in, in], in float32, the rest in float64; memory some twenty times the weight in float64, of which
    the stored levels are four.

    Use it first, with the allocator `least_loss`: the least loss at every budget of our tables. A checkpoint with a
    sparse part is smaller on disk and no faster.
    """

    gradient: ClassVar[bool] = True
    measure: ClassVar[Measure] = Measure.LOSS
    moments: ClassVar[RequiredStatistics] = RequiredStatistics.INPUTS
    workspace: ClassVar[float] = 21.0
    nested: ClassVar[bool] = False

    damping: Annotated[float, Field(gt=0, lt=1)] = 1e-2
    """Added to C's diagonal, relative to its mean; SparseGPT: 0.01 [-]."""
    gradient_damping: Annotated[float, Field(gt=0)] = 0.1
    """The same for G [-]."""
    rank_share: Annotated[float, Field(gt=0, lt=1)] = 0.03
    """Rank of L as a share of the break-even rank; at least ``multiple`` [-]."""
    multiple: Annotated[int, Field(ge=1)] = 8
    """The rank is a multiple of this; a multiple of the allocator's, so that its ranks are allowed [-]."""
    spacing: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    """Distance between two levels, as a share of the matrix's parameters [-]."""
    least: Annotated[float, Field(gt=0, lt=1)] = 0.3
    """The lowest level; below it entries only fall away [-]."""
    rounds: Annotated[int, Field(ge=1)] = 2
    """Times that entries are dropped and made up for, from one level to the next [-]."""
    iterations: Annotated[int, Field(ge=1)] = 20
    """Conjugate-gradient steps in a round [-]."""
    value_bits: Annotated[int, Field(ge=8, le=64)] = 32
    """Size of a stored number, which a level's indices are paid in; 16 for a model in 16 bits [bits]."""

    @property
    def ranks(self) -> int | None:
        """That of its one rank."""
        return self.multiple

    def __call__(self, weight: Tensor, inputs: InputStatistics, rank: int) -> Factors:
        """Factor ``weight`` [out, in] by its inputs' second moment and the gradient at its output."""
        from rankwise.artifacts.factors import Factors
        from rankwise.decompose._metric import KroneckerMetric
        from rankwise.errors import RankwiseError
        from rankwise.linalg import factorisations

        if inputs.gradient is None:
            raise RankwiseError("decomposer kfac_sparse needs the gradients of stage fisher")
        metric = KroneckerMetric(
            inputs.gradient.output_metric(self.gradient_damping),
            factorisations.damp(inputs.second_moment, self.damping),
        )
        whitening = inputs.whitening(self.damping, centred=False)
        left, right, spectrum = self._low_rank(weight, metric, whitening, self._rank(weight, rank))
        sparse = self._sparse(weight - left @ right, metric, right.shape[0])
        return Factors(
            left,
            right,
            spectrum / 2**0.5,
            notes={"damping": self.damping, "gradient_damping": self.gradient_damping},
            sparse=sparse,
        )

    def _rank(self, weight: Tensor, most: int) -> int:
        """Return the rank of L: the nearest multiple to its share, between one multiple and ``most``."""
        break_even = weight.numel() / sum(weight.shape)
        multiples = max(1, round(self.rank_share * break_even / self.multiple))
        return min(most, multiples * self.multiple)

    def _entries(self, shape: tuple[int, ...], rank: int, level: float) -> int:
        """Return the entries that a share ``level`` of the matrix pays for beside L."""
        from rankwise.budget.costs import Matrix

        out, columns = shape
        matrix = Matrix((out, columns), rank, value_bits=self.value_bits)
        return matrix.affordable(rank, level * out * columns, range(out * columns + 1))

    def _low_rank(
        self,
        weight: Tensor,
        metric: KroneckerMetric,
        whitening: tuple[Tensor, Tensor],
        rank: int,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return left [out, r], right [r, in] and the spectrum of what L was found in, zero behind r."""
        import torch

        from rankwise.linalg import factorisations

        entries = self._entries(tuple(weight.shape), rank, FITTED_AT)
        outputs, inverse = metric.output_roots()
        inputs, values = whitening
        sparse = weight.new_zeros(weight.shape)
        for turn in range(ALTERNATIONS + 1):
            u, s, vh = factorisations.svd(outputs @ (weight - sparse) @ inputs)
            left = inverse @ (u[:, :rank] * s[:rank].sqrt())
            right = (vh[:rank] * s[:rank, None].sqrt()) @ (inputs / values).T
            if turn < ALTERNATIONS:
                rest = weight - left @ right
                places = (rest.square() * metric.diagonal).flatten().topk(entries).indices
                sparse = torch.zeros_like(rest).flatten()
                sparse[places] = rest.flatten()[places]
                sparse = sparse.view_as(rest)
        s[rank:] = 0
        return left, right, s

    def _sparse(self, whole: Tensor, metric: KroneckerMetric, rank: int) -> SparsePart:
        """Return the entries of ``whole`` = W − L, those first that stay longest, with values at levels."""
        import torch

        from rankwise.artifacts.factors import SparsePart
        from rankwise.decompose._metric import FITTED_IN

        shape = tuple(whole.shape)
        shares = [
            1 - self.spacing * k for k in range(1, round((1 - self.least) / self.spacing) + 1)
        ]
        levels = sorted({n for share in shares if (n := self._entries(shape, rank, share)) > 0})
        quick, target = metric.to(FITTED_IN), whole.to(FITTED_IN)
        values, mask = target, torch.ones_like(target)
        dropped: list[Tensor] = []
        refits = target.new_empty(sum(levels))
        remaining = whole.numel()
        for level, refit in zip(reversed(levels), reversed(refits.split(levels)), strict=True):
            for left in range(self.rounds - 1, -1, -1):
                count = remaining - (remaining - level) // (left + 1)
                gone = _least(values.square() * quick.released, mask, remaining - count)
                mask.view(-1)[gone] = 0
                values = quick.fit(target, values * mask, mask, self.iterations)
                dropped.append(gone)
                remaining = count
            torch.masked_select(values, mask.bool(), out=refit)
        dropped.append(_least(values.square() * quick.released, mask, remaining))
        places = torch.cat(dropped).flip(0)
        for level, refit in zip(levels, refits.split(levels), strict=True):
            _arrange(refit, places[:level], whole.numel())
        part = SparsePart(
            places,
            whole.flatten()[places],
            whole.new_zeros(len(places)),
            torch.tensor([[rank, n] for n in _schedule(levels, whole.numel())]),
            torch.tensor(levels) if levels else None,
            refits if levels else None,
        )
        del quick, target, values, mask, dropped  # prices are of the part alone
        return _priced(part, whole, metric)


def _least(saliency: Tensor, mask: Tensor, count: int) -> Tensor:
    """Return the places of the ``count`` least salient entries in the mask, rising [count]."""
    from rankwise.linalg import factorisations

    held = mask.flatten().nonzero()[:, 0]
    found = held[saliency.flatten()[held].argsort(stable=True)[:count]]
    return factorisations.narrow_indices(found, mask.numel())


def _arrange(values: Tensor, places: Tensor, numbers: int) -> None:
    """Put ``values`` [n], one for each of ``places`` [n] in rising order, in the order of ``places``, in place."""
    import torch

    held = torch.zeros(numbers, dtype=torch.bool, device=values.device)
    held[places] = True
    whole = values.new_empty(numbers)
    whole[held] = values
    torch.index_select(whole, 0, places, out=values)


def _schedule(levels: list[int], whole: int) -> list[int]:
    """Return numbers of entries: the levels, `STEPS` to each from the one below, and all."""
    ends = [0, *levels]
    between = [
        low + (high - low) * step // STEPS
        for low, high in pairwise(ends)
        for step in range(1, STEPS + 1)
    ]
    return sorted({*between, whole} - {0})


def _priced(part: SparsePart, whole: Tensor, metric: KroneckerMetric) -> SparsePart:
    """Return the part with magnitudes whose squared tails are the predicted losses along the ladder.

    Exact at the corners of the losses' convex hull, on the straight line between.
    """
    import torch

    from rankwise.budget.costs import hull_slopes

    shape = whole.shape[0], whole.shape[1]
    counts = [0, *part.ladder[:, 1].tolist()]
    losses = [metric.loss(whole - part.dense(count, shape)) for count in counts]
    slopes = torch.from_numpy(hull_slopes(np.array(counts, dtype=float), np.array(losses)))
    sizes = slopes.neg().clamp_min(0).sqrt()
    magnitudes = sizes.repeat_interleave(torch.tensor(counts).diff()).to(whole.device)
    return replace(part, magnitudes=magnitudes)
