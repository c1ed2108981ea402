"""CAP's first stage: a low-rank and a sparse matrix whose sum is the weight; no data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from rankwise.decompose.base import Decomposer
from rankwise.methods.required_statistics import RequiredStatistics

if TYPE_CHECKING:
    from torch import Tensor

    from rankwise.artifacts.factors import Factors, SparsePart
    from rankwise.artifacts.statistics import InputStatistics


class RobustPCA(Decomposer):
    """``min ‖L‖_* + lam ‖S‖_1`` with ``L + S = W``, lam = 1/sqrt(max(out, in)) (CAP, arXiv 2505.03801, stage 1).

    ADMM: ``L ← shrink of the singular values of W − S + Y/mu by 1/mu``; ``S ← shrink of W − L + Y/mu by
    lam/mu``; ``Y ← Y + mu (W − L − S)``; mu is out·in/(4 ‖W‖_1), constant unless ``growth`` says so. The sum is made exact
    at the end: S stays, and the components are those of W − S, so that what ADMM left over (recorded:
    ``residual``, ``converged``) becomes a tail of small components.

    The ladder: components (cost out + in, gain sigma²) and entries (cost 1 and a column index, gain
    value²) in the order of gain per parameter; rank r goes with the entries that gain at least as much
    per parameter as component r + 1. Gains are ‖·‖_F² of what is dropped, added up as though the two
    parts were orthogonal.

    Not published, so chosen: the mu schedule, the stopping rule, and this ladder, which stands in for
    CAP's second stage where another allocator than `policy_gradient` is used.
    Cost: one SVD of [out, in] in float64 an iteration.

    Use it where there is no calibration text, or with `policy_gradient` for CAP.
    """

    moments: ClassVar[RequiredStatistics] = RequiredStatistics.CHANNELS

    tolerance: Annotated[float, Field(gt=0, lt=1)] = 1e-4
    """Converged where ``‖W − L − S‖_F`` is below this share of ``‖W‖_F`` [-]."""
    iterations: Annotated[int, Field(ge=1)] = 100
    """Most iterations; CAP finds 10 enough [-]."""
    growth: Annotated[float, Field(ge=1)] = 1.0
    """Factor on mu an iteration; above 1 it ends sooner, but need not end at the minimum [-]."""

    def __call__(self, weight: Tensor, inputs: InputStatistics, rank: int) -> Factors:
        """Factor ``weight`` [out, in]; ``inputs`` is not used."""
        from rankwise.artifacts.factors import Factors
        from rankwise.linalg import factorisations

        apart, notes = self._separate(weight)
        u, s, vh = factorisations.svd(weight - apart)
        root = s[:rank].sqrt()
        sparse = _schedule(apart, s, rank)
        return Factors(u[:, :rank] * root, vh[:rank] * root[:, None], s, notes=notes, sparse=sparse)

    def _separate(self, weight: Tensor) -> tuple[Tensor, dict[str, float | bool]]:
        """Return S [out, in] and what became of the iterations."""
        import torch

        from rankwise.linalg import factorisations

        lam = max(weight.shape) ** -0.5
        size = weight.norm().clamp_min(torch.finfo(weight.dtype).tiny)
        mu = weight.numel() / (4 * weight.abs().sum().clamp_min(torch.finfo(weight.dtype).tiny))
        apart, dual = torch.zeros_like(weight), torch.zeros_like(weight)
        count, residual = 0, 1.0
        while count < self.iterations and residual > self.tolerance:
            u, s, vh = factorisations.svd(weight - apart + dual / mu)
            low = (u * (s - 1 / mu).clamp_min(0)) @ vh
            apart = torch.nn.functional.softshrink(weight - low + dual / mu, float(lam / mu))
            rest = weight - low - apart
            dual = dual + mu * rest
            mu = mu * self.growth
            count, residual = count + 1, float(rest.norm() / size)
        return apart, {
            "iterations": count,
            "residual": residual,
            "converged": residual <= self.tolerance,
        }


def _schedule(apart: Tensor, spectrum: Tensor, rank: int) -> SparsePart:
    """Return the entries of S [out, in], largest first, and how many go with each rank up to ``rank``."""
    import torch

    from rankwise.artifacts.factors import SparsePart
    from rankwise.hub.places import column_bits
    from rankwise.linalg import factorisations

    out, columns = apart.shape
    places, values, sizes = factorisations.nonzeros_by_size(apart)
    # An index weighs against values of 32 bits here: only the order depends on it.
    gains = sizes.square() / (1 + column_bits(columns) / 32)
    bars = torch.cat([spectrum.square() / (out + columns), spectrum.new_zeros(1)])[: rank + 1]
    counts = torch.searchsorted(-gains, -bars, right=True)
    ladder = torch.stack([torch.arange(rank + 1, device=counts.device), counts], 1)
    return SparsePart(places, values, sizes, ladder)
