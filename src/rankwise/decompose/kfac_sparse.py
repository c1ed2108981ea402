"""Low rank plus sparse of least predicted loss in a Kronecker-factored metric (K-FAC); ours."""

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
"""Share of the matrix's parameters for which the low-rank part is fitted, the middle of the usual budgets [-]."""
ALTERNATIONS = 5
"""Alternations between low-rank and sparse part, to fit the low-rank part [-]."""
STEPS = 4
"""Choices of the schedule from one level to the next [-]."""


class KFACSparse(Decomposer):
    """``W ≈ L + S`` of least predicted loss ``½ tr(G (W − L − S) C (W − L − S)ᵀ)`` [nats/token].

    C = E[x xᵀ] [in, in] of the inputs and G = E[g gᵀ] [out, out] of the loss's gradients at the outputs are
    those of `kfac`. Both are damped; the notes record the damping. Where out > in only the diagonal of G is
    used, so that no statistics are larger than [in, in]. C is needed even where the outputs are the smaller
    side: 8·in² bytes a site (1 GB for a down-projection of LLaMA-2-7B), half of that on disk. Source: ours.
    It is the optimal brain surgeon (Hassibi & Stork 1993) for the Kronecker metric of K-FAC; SparseGPT
    (arXiv 2301.00774) is the case G = 1.

    1. L has a small fixed rank. It alternates between the best L in the metric (SVD of ``G^½ (W − S) C^½``)
       and S, the entries of W − L of largest ``G_ii C_jj s²``.
    2. From all of R = W − L, it drops entries in rounds: those of least saliency
       ``s²/([G⁻¹]_ii [C⁻¹]_jj)``, the loss of dropping one when all others compensate. After each round it
       refits the remaining entries: conjugate gradients on ``min tr(G (R − S) C (R − S)ᵀ)``.
    3. It stores the values at every level ``1 − k·spacing`` of the matrix's parameters, and predicts the
       loss at and between the levels. The result is a schedule of (rank, nonzeros), whose predicted losses
       `allocate.least_loss` can compare between matrices.

    At 7B and 16 bits the default levels take about 9 times the layer's weights on disk; raise ``spacing``
    to store less. Cost: (levels · rounds · iterations) products of [out, out, in] and [out, in, in] in
    float32, the rest in float64. Memory: some twenty times the weight in float64, four of them for the
    stored levels.

    Use it first, with the allocator `least_loss`: it has the least loss at every budget of our tables. A checkpoint with
    a sparse part is smaller on disk but no faster.
    """

    summary: ClassVar[str] = (
        "``W ≈ L + S`` of least predicted loss ``½ tr(G (W − L − S) C (W − L − S)ᵀ)`` [nats/token]."
    )
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
    """The lowest level; below it nonzeros are dropped without a refit [-]."""
    rounds: Annotated[int, Field(ge=1)] = 2
    """Rounds of dropping and refitting from one level to the next [-]."""
    iterations: Annotated[int, Field(ge=1)] = 20
    """Conjugate-gradient steps in a round [-]."""
    value_bits: Annotated[int, Field(ge=8, le=64)] = 32
    """Size of a stored number, the unit in which indices are counted; 16 for a model in 16 bits [bits]."""

    @property
    def ranks(self) -> int | None:
        """The divisor of its one rank, ``multiple``."""
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
        sparse = self._sparse_part(weight - left @ right, metric, right.shape[0])
        return Factors(
            left,
            right,
            spectrum / 2**0.5,
            notes={"damping": self.damping, "gradient_damping": self.gradient_damping},
            sparse=sparse,
        )

    def _rank(self, weight: Tensor, most: int) -> int:
        """Return the rank of L: the multiple nearest to its share, at least one multiple, at most ``most``."""
        break_even = weight.numel() / sum(weight.shape)
        multiples = max(1, round(self.rank_share * break_even / self.multiple))
        return min(most, multiples * self.multiple)

    def _affordable_nonzeros(self, shape: tuple[int, ...], rank: int, level: float) -> int:
        """Return the number of nonzeros that a share ``level`` of the matrix's parameters pays for, next to L."""
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
        """Return left [out, r], right [r, in], and the spectrum of the whitened L, zero after r."""
        import torch

        from rankwise.linalg import factorisations

        nonzeros = self._affordable_nonzeros(tuple(weight.shape), rank, FITTED_AT)
        outputs, inverse = metric.output_roots()
        inputs, values = whitening
        sparse = weight.new_zeros(weight.shape)
        for iteration in range(ALTERNATIONS + 1):
            u, s, vh = factorisations.svd(outputs @ (weight - sparse) @ inputs)
            left = inverse @ (u[:, :rank] * s[:rank].sqrt())
            right = (vh[:rank] * s[:rank, None].sqrt()) @ (inputs / values).T
            if iteration < ALTERNATIONS:
                residual = weight - left @ right
                indices = (residual.square() * metric.diagonal).flatten().topk(nonzeros).indices
                sparse = torch.zeros_like(residual).flatten()
                sparse[indices] = residual.flatten()[indices]
                sparse = sparse.view_as(residual)
        s[rank:] = 0
        return left, right, s

    def _sparse_part(self, residual: Tensor, metric: KroneckerMetric, rank: int) -> SparsePart:
        """Return the nonzeros of ``residual`` = W − L, the last dropped first, with their values at every level."""
        import torch

        from rankwise.artifacts.factors import SparsePart
        from rankwise.decompose._metric import FITTED_IN

        shape = tuple(residual.shape)
        shares = [
            1 - self.spacing * k for k in range(1, round((1 - self.least) / self.spacing) + 1)
        ]
        levels = sorted(
            {n for share in shares if (n := self._affordable_nonzeros(shape, rank, share)) > 0}
        )
        fit_metric, target = metric.to(FITTED_IN), residual.to(FITTED_IN)
        values, mask = target, torch.ones_like(target)
        dropped: list[Tensor] = []
        refits = target.new_empty(sum(levels))
        remaining = residual.numel()
        for level, refit in zip(reversed(levels), reversed(refits.split(levels)), strict=True):
            for rounds_left in range(self.rounds - 1, -1, -1):
                count = remaining - (remaining - level) // (rounds_left + 1)
                lowest = _select_least_salient(
                    values.square() * fit_metric.released, mask, remaining - count
                )
                mask.view(-1)[lowest] = 0
                values = fit_metric.fit(target, values * mask, mask, self.iterations)
                dropped.append(lowest)
                remaining = count
            torch.masked_select(values, mask.bool(), out=refit)
        dropped.append(
            _select_least_salient(values.square() * fit_metric.released, mask, remaining)
        )
        indices = torch.cat(dropped).flip(0)
        for level, refit in zip(levels, refits.split(levels), strict=True):
            _reorder(refit, indices[:level], residual.numel())
        part = SparsePart(
            indices,
            residual.flatten()[indices],
            residual.new_zeros(len(indices)),
            torch.tensor([[rank, n] for n in _schedule(levels, residual.numel())]),
            torch.tensor(levels) if levels else None,
            refits if levels else None,
        )
        del fit_metric, target, values, mask, dropped  # the predicted losses need only the part
        return _set_magnitudes(part, residual, metric)


def _select_least_salient(saliency: Tensor, mask: Tensor, count: int) -> Tensor:
    """Return the indices [count] of the ``count`` least salient entries in the mask, by rising saliency."""
    from rankwise.linalg import factorisations

    kept_indices = mask.flatten().nonzero()[:, 0]
    least = kept_indices[saliency.flatten()[kept_indices].argsort(stable=True)[:count]]
    return factorisations.narrow_indices(least, mask.numel())


def _reorder(values: Tensor, indices: Tensor, size: int) -> None:
    """Reorder ``values`` [n] in place, from the order of rising indices to that of ``indices`` [n]."""
    import torch

    mask = torch.zeros(size, dtype=torch.bool, device=values.device)
    mask[indices] = True
    by_index = values.new_empty(size)
    by_index[mask] = values
    torch.index_select(by_index, 0, indices, out=values)


def _schedule(levels: list[int], size: int) -> list[int]:
    """Return the schedule's numbers of nonzeros: `STEPS` equal steps to each level, then all ``size`` entries."""
    ends = [0, *levels]
    between = [
        low + (high - low) * step // STEPS
        for low, high in pairwise(ends)
        for step in range(1, STEPS + 1)
    ]
    return sorted({*between, size} - {0})


def _set_magnitudes(part: SparsePart, residual: Tensor, metric: KroneckerMetric) -> SparsePart:
    """Return the part with magnitudes whose squared tails are the predicted losses along the schedule.

    They are exact at the corners of the losses' convex hull, and interpolate linearly between them.
    """
    import torch

    from rankwise.budget.costs import hull_slopes

    shape = residual.shape[0], residual.shape[1]
    counts = [0, *part.ladder[:, 1].tolist()]
    losses = [metric.loss(residual - part.dense(count, shape)) for count in counts]
    slopes = torch.from_numpy(hull_slopes(np.array(counts, dtype=float), np.array(losses)))
    sizes = slopes.neg().clamp_min(0).sqrt()
    magnitudes = sizes.repeat_interleave(torch.tensor(counts).diff()).to(residual.device)
    return replace(part, magnitudes=magnitudes)
