"""Low rank plus sparse of the input-scaled weight, by alternation (OATS): SSLC's implementable neighbour."""

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
    """``W D ≈ L + S``, D = diag(E[x²])^(1/2); in turn ``L = SVD_r(W D − S)``, ``S = top k of each row of W D − L``.

    OATS (arXiv 2409.13652), which stands in for SSLC (arXiv 2510.26446). The result is (L + S) D⁻¹.
    The measure is ``‖(W − Ŵ) D‖_F²``: the mean squared error of the outputs if inputs were uncorrelated.

    The alternation needs rank and entries: those that spend ``keep`` of the matrix, ``kappa`` of that on
    rank. At that ``keep`` the ladder is OATS; below it is nested (as many entries a rank, the largest
    first), above it only the rank grows, so that full rank is W exactly.

    Deviations: the places of entries count against ``keep``; after the last iteration the components
    are taken once more from W D − S, which can only lower the error; a small relative damping keeps
    D⁻¹ finite for dead channels (recorded). Cost: an eigenproblem of size min(out, in) an iteration, and
    one SVD of [out, in], in float64.

    Use it where no backward pass can be had and a sparse part is no hindrance: next to ours in all our tables.
    """

    moments: ClassVar[RequiredStatistics] = RequiredStatistics.CHANNELS

    keep: Annotated[float, Field(gt=0, lt=1)] = 0.8
    """Share of the matrix's parameters for which rank and entries are fitted to each other [-]."""
    kappa: float = 0.25
    """Share of the budget for rank, the rest is the sparse part's; OATS: 0.25 to 0.3 [-]."""
    iterations: Annotated[int, Field(ge=1)] = 80
    """Alternations; OATS: 80 [-]."""
    damping: Annotated[float, Field(gt=0, lt=1)] = 1e-6
    """Added to E[x²] of every channel, relative to the mean over channels [-]."""
    multiple: Annotated[int, Field(ge=1)] = 8
    """The fitted rank is a multiple of this where there is room for one, as the allocator's ranks are [-]."""
    value_bits: Annotated[int, Field(ge=8, le=64)] = 32
    """Size of a stored number, which an index is paid in; 16 for a model in 16 bits [bits]."""

    @field_validator("kappa")
    @classmethod
    def _leaves_both_a_share(cls, kappa: float) -> float:
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
        # Inputs that are zero throughout say nothing: then the weight itself is approximated.
        scale = (power + self.damping * mean).sqrt() if mean > 0 else power + 1
        fitted, entries = self._sizes(weight.shape[0], weight.shape[1])
        scaled = weight * scale
        apart = self._alternate(scaled, fitted, entries)
        places, values, sizes = factorisations.nonzeros_by_size(apart)
        u, s, vh = factorisations.svd(scaled - apart)
        root = s[:rank].sqrt()
        counts = (torch.arange(rank + 1) / fitted).clamp_max(1).mul(len(places)).round().long()
        ladder = torch.stack([torch.arange(rank + 1), counts], 1)
        sparse = SparsePart(places, values / scale[places % len(scale)], sizes, ladder)
        return Factors(
            u[:, :rank] * root,
            vh[:rank] * root[:, None] / scale,
            s,
            notes={"damping": self.damping, "rank": fitted, "entries": len(places)},
            sparse=sparse,
        )

    def _sizes(self, out: int, columns: int) -> tuple[int, int]:
        """Return the rank and the entries that spend ``keep`` of a matrix [out, in], places paid for."""
        from rankwise.budget.costs import Matrix

        numbers = self.keep * out * columns
        rank = int(self.kappa * numbers / (out + columns))
        rank = rank // self.multiple * self.multiple or max(1, rank)
        matrix = Matrix((out, columns), rank, value_bits=self.value_bits)
        return rank, matrix.affordable(rank, numbers, range(out * columns + 1))

    def _alternate(self, scaled: Tensor, rank: int, entries: int) -> Tensor:
        """Return S [out, in] after the alternations: ``entries`` // out in every row."""
        import torch

        from rankwise.linalg import factorisations

        apart = torch.zeros_like(scaled)
        for _ in range(self.iterations):
            rest = scaled - factorisations.low_rank(scaled - apart, rank)
            largest = rest.abs().topk(entries // len(rest), dim=1).indices
            apart = torch.zeros_like(rest).scatter(1, largest, rest.gather(1, largest))
        return apart
