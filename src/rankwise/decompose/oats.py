"""OATS: low rank plus sparse of the input-scaled weight, by alternation; the implementable relative of SSLC."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field, field_validator

from rankwise.decompose.base import Decomposer
from rankwise.methods.required_statistics import RequiredStatistics

if TYPE_CHECKING:
    from torch import Tensor

    from rankwise.artifacts.factors import Factors
    from rankwise.artifacts.statistics import InputStatistics


class OATS(Decomposer):
    """``W D ≈ L + S``, D = diag(E[x²])^(1/2), alternating ``L = SVD_r(W D − S)`` and ``S = top k of each row of W D − L``.

    OATS (arXiv 2409.13652), used in place of SSLC (arXiv 2510.26446). The result is (L + S) D⁻¹.
    The measure is ``‖(W − Ŵ) D‖_F²``: the mean squared error of the outputs if inputs were uncorrelated.

    The alternation needs a rank and a number of nonzeros. They spend the share ``keep`` of the matrix, and
    ``kappa`` of that on the rank. At that ``keep`` the schedule is OATS. Below it the schedule is nested:
    equally many nonzeros a rank, the largest first. Above it only the rank grows, so that full rank is
    exactly W.

    Deviations: the indices of nonzeros count against ``keep``. After the last iteration the method computes
    the components once more from W D − S, which can only lower the error. A small relative damping keeps
    D⁻¹ finite for dead channels (recorded in the notes). Cost: an eigenproblem of size min(out, in) an
    iteration, and one SVD of [out, in], in float64.

    Use it where a backward pass is not possible and a sparse part is acceptable: second to ours in all our tables.
    """

    summary: ClassVar[str] = (
        "``W D ≈ L + S``, D = diag(E[x²])^(1/2); in turn ``L = SVD_r(W D − S)``, ``S = top k of each row of W D − L``."
    )
    moments: ClassVar[RequiredStatistics] = RequiredStatistics.CHANNELS

    keep: Annotated[float, Field(gt=0, lt=1)] = 0.8
    """Share of the matrix's parameters for which rank and nonzeros are fitted together [-]."""
    kappa: float = 0.25
    """Share of the budget for the rank; the rest is for the sparse part; OATS: 0.25 to 0.3 [-]."""
    iterations: Annotated[int, Field(ge=1)] = 80
    """Alternations; OATS: 80 [-]."""
    damping: Annotated[float, Field(gt=0, lt=1)] = 1e-6
    """Added to E[x²] of every channel, relative to the mean over channels [-]."""
    multiple: Annotated[int, Field(ge=1)] = 8
    """The fitted rank is a multiple of this, as the allocator's ranks are, unless it would be 0 [-]."""
    value_bits: Annotated[int, Field(ge=8, le=64)] = 32
    """Size of a stored number, the unit in which indices are counted; 16 for a model in 16 bits [bits]."""

    @field_validator("kappa")
    @classmethod
    def _refuse_empty_share(cls, kappa: float) -> float:
        if not 0 < kappa < 1:
            raise ValueError(
                f"the sparse part's share of the budget is 1 − kappa = {1 - kappa:g}, which must lie between 0 and 1, "
                "both excluded; give a kappa between 0 and 1 (OATS: 0.25)"
            )
        return kappa

    def __call__(self, weight: Tensor, inputs: InputStatistics, rank: int) -> Factors:
        """Factor ``weight`` [out, in] by the second moments of its inputs."""
        import torch

        from rankwise.artifacts.factors import Factors, SparsePart
        from rankwise.linalg import factorisations

        power = inputs.mean_square
        mean = power.mean()
        # Where all inputs are zero there is no scale, so the method approximates the weight itself.
        scale = (power + self.damping * mean).sqrt() if mean > 0 else power + 1
        fitted, nonzeros = self._sizes(weight.shape[0], weight.shape[1])
        scaled = weight * scale
        sparse_matrix = self._alternate(scaled, fitted, nonzeros)
        indices, values, sizes = factorisations.nonzeros_by_size(sparse_matrix)
        u, s, vh = factorisations.svd(scaled - sparse_matrix)
        root = s[:rank].sqrt()
        counts = (torch.arange(rank + 1) / fitted).clamp_max(1).mul(len(indices)).round().long()
        schedule = torch.stack([torch.arange(rank + 1), counts], 1)
        sparse = SparsePart(indices, values / scale[indices % len(scale)], sizes, schedule)
        return Factors(
            u[:, :rank] * root,
            vh[:rank] * root[:, None] / scale,
            s,
            notes={"damping": self.damping, "rank": fitted, "entries": len(indices)},
            sparse=sparse,
        )

    def _sizes(self, out: int, columns: int) -> tuple[int, int]:
        """Return the rank and the number of nonzeros that spend ``keep`` of a matrix [out, in], indices included."""
        from rankwise.budget.costs import Matrix

        numbers = self.keep * out * columns
        rank = int(self.kappa * numbers / (out + columns))
        rank = rank // self.multiple * self.multiple or max(1, rank)
        matrix = Matrix((out, columns), rank, value_bits=self.value_bits)
        return rank, matrix.affordable(rank, numbers, range(out * columns + 1))

    def _alternate(self, scaled: Tensor, rank: int, nonzeros: int) -> Tensor:
        """Return S [out, in] after the alternations, with ``nonzeros`` // out nonzeros in every row."""
        import torch

        from rankwise.linalg import factorisations

        sparse = torch.zeros_like(scaled)
        for _ in range(self.iterations):
            residual = scaled - factorisations.low_rank(scaled - sparse, rank)
            largest = residual.abs().topk(nonzeros // len(residual), dim=1).indices
            sparse = torch.zeros_like(residual).scatter(1, largest, residual.gather(1, largest))
        return sparse
