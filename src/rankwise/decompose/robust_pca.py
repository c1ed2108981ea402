"""CAP's first stage: a low-rank and a sparse matrix whose sum is the weight, without data."""

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
    lam/mu``; ``Y ← Y + mu (W − L − S)``. mu starts at out·in/(4 ‖W‖_1) and is multiplied by ``growth`` an iteration.
    At the end the sum becomes exact: S stays, and the components are those of W − S. The residual of ADMM
    (in the notes: ``residual``, ``converged``) becomes a tail of small components.

    The schedule orders components (cost out + in, gain sigma²) and nonzeros (cost 1 and a column index,
    gain value²) by gain per parameter. Rank r has the nonzeros that gain at least as much per parameter as
    component r + 1. Gains are ‖·‖_F² of the dropped part, added as if the two parts were orthogonal.

    Not published, so chosen here: the mu schedule, the stopping rule, and the schedule of (rank, nonzeros).
    The latter replaces CAP's second stage with allocators other than `policy_gradient`.
    Cost: one SVD of [out, in] in float64 an iteration.

    Use it where there is no calibration text, or with `policy_gradient` for CAP.
    """

    summary: ClassVar[str] = (
        "``min ‖L‖_* + lam ‖S‖_1`` with ``L + S = W``, lam = 1/sqrt(max(out, in)) (CAP, arXiv 2505.03801, stage 1)."
    )
    moments: ClassVar[RequiredStatistics] = RequiredStatistics.CHANNELS

    tolerance: Annotated[float, Field(gt=0, lt=1)] = 1e-4
    """Converged where ``‖W − L − S‖_F`` is below this share of ``‖W‖_F`` [-]."""
    iterations: Annotated[int, Field(ge=1)] = 100
    """Most iterations; CAP reports 10 as enough [-]."""
    growth: Annotated[float, Field(ge=1)] = 1.0
    """Factor on mu an iteration; above 1 it ends sooner, but possibly not at the minimum [-]."""

    def __call__(self, weight: Tensor, inputs: InputStatistics, rank: int) -> Factors:
        """Factor ``weight`` [out, in]; ``inputs`` is not used."""
        from rankwise.artifacts.factors import Factors
        from rankwise.linalg import factorisations

        sparse_matrix, notes = self._separate(weight)
        u, s, vh = factorisations.svd(weight - sparse_matrix)
        root = s[:rank].sqrt()
        sparse = _schedule(sparse_matrix, s, rank)
        return Factors(u[:, :rank] * root, vh[:rank] * root[:, None], s, notes=notes, sparse=sparse)

    def _separate(self, weight: Tensor) -> tuple[Tensor, dict[str, float | bool]]:
        """Return S [out, in], and the notes: iterations, residual, and whether it converged."""
        import torch

        from rankwise.linalg import factorisations

        lam = max(weight.shape) ** -0.5
        size = weight.norm().clamp_min(torch.finfo(weight.dtype).tiny)
        mu = weight.numel() / (4 * weight.abs().sum().clamp_min(torch.finfo(weight.dtype).tiny))
        sparse, dual = torch.zeros_like(weight), torch.zeros_like(weight)
        count, residual = 0, 1.0
        while count < self.iterations and residual > self.tolerance:
            u, s, vh = factorisations.svd(weight - sparse + dual / mu)
            low = (u * (s - 1 / mu).clamp_min(0)) @ vh
            sparse = torch.nn.functional.softshrink(weight - low + dual / mu, float(lam / mu))
            residual_matrix = weight - low - sparse
            dual = dual + mu * residual_matrix
            mu = mu * self.growth
            count, residual = count + 1, float(residual_matrix.norm() / size)
        return sparse, {
            "iterations": count,
            "residual": residual,
            "converged": residual <= self.tolerance,
        }


def _schedule(sparse: Tensor, spectrum: Tensor, rank: int) -> SparsePart:
    """Return the nonzeros of S [out, in], largest first, with their number at each rank up to ``rank``."""
    import torch

    from rankwise.artifacts.factors import SparsePart
    from rankwise.hub.places import column_bits
    from rankwise.linalg import factorisations

    out, columns = sparse.shape
    indices, values, sizes = factorisations.nonzeros_by_size(sparse)
    # An index is counted in values of 32 bits, whatever the model's: only the order depends on it.
    gains = sizes.square() / (1 + column_bits(columns) / 32)
    bars = torch.cat([spectrum.square() / (out + columns), spectrum.new_zeros(1)])[: rank + 1]
    counts = torch.searchsorted(-gains, -bars, right=True)
    schedule = torch.stack([torch.arange(rank + 1, device=counts.device), counts], 1)
    return SparsePart(indices, values, sizes, schedule)
