"""Plain truncated SVD of the weights, without data."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rankwise.decompose.base import Decomposer
from rankwise.methods.required_statistics import RequiredStatistics

if TYPE_CHECKING:
    from torch import Tensor

    from rankwise.artifacts.factors import Factors
    from rankwise.artifacts.statistics import InputStatistics


class SVD(Decomposer):
    """The best rank-r approximation of W itself, ``W ≈ U_r S_r V_rᵀ`` (Eckart–Young).

    The singular values are split evenly between the two factors. The spectrum is that of W: its
    squared tail is ``‖W − W_r‖_F²``. Cost: one SVD of [out, in] in float64.

    Use it as the baseline that needs no data: it ignores the inputs, and it is the worst in all our tables.
    """

    summary: ClassVar[str] = (
        "The best rank-r approximation of W itself, ``W ≈ U_r S_r V_rᵀ`` (Eckart–Young)."
    )
    moments: ClassVar[RequiredStatistics] = RequiredStatistics.CHANNELS

    def __call__(self, weight: Tensor, inputs: InputStatistics, rank: int) -> Factors:
        """Factor ``weight`` [out, in]; ``inputs`` is not used."""
        from rankwise.artifacts.factors import Factors
        from rankwise.linalg import factorisations

        u, s, vh = factorisations.svd(weight)
        root = s[:rank].sqrt()
        return Factors(u[:, :rank] * root, vh[:rank] * root[:, None], s)
