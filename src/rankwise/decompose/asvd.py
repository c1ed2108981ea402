"""ASVD: SVD of the weight with its columns scaled by how large their inputs are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from rankwise.decompose.base import Decomposer
from rankwise.methods.required_statistics import RequiredStatistics

if TYPE_CHECKING:
    from torch import Tensor

    from rankwise.artifacts.factors import Factors
    from rankwise.artifacts.statistics import InputStatistics


class ASVD(Decomposer):
    """Activation-aware SVD (arXiv 2312.05821, §3.1): ``W D = U S Vᵀ``, ``D = diag(E|x_j|)^alpha``.

    Factors ``U_r S_r^½`` and ``S_r^½ V_rᵀ D⁻¹``. The spectrum is that of ``W D``: its squared tail is
    ``‖(W − W_r) D‖_F²``, which is not the error of the outputs (correlations of inputs are left out).
    Deviations: channels whose scale is below ``floor`` of the largest count as that large (the
    authors add 1e-6 to every scale); how many they were stands in the notes. The authors' search of
    ranks by layer sensitivity is left to an allocator. Cost: one SVD of [out, in] in float64.

    Use it to set published figures beside others; `whitened_svd` costs little more and is better in all our tables.
    """

    moments: ClassVar[RequiredStatistics] = RequiredStatistics.CHANNELS

    alpha: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Exponent of the mean absolute input; 0 is the plain SVD [-]."""
    floor: Annotated[float, Field(gt=0, lt=1)] = 1e-6
    """Least scale of a channel, relative to the largest [-]."""

    def __call__(self, weight: Tensor, inputs: InputStatistics, rank: int) -> Factors:
        """Factor ``weight`` [out, in] scaled by the mean absolute value of its inputs."""
        from rankwise.artifacts.factors import Factors
        from rankwise.linalg import factorisations

        scale = inputs.mean_absolute**self.alpha
        # A site without any input: all scalings are equally good, 1 is the plain SVD.
        least = self.floor * float(scale.max()) or 1.0
        floored = int((scale < least).sum())
        scale = scale.clamp_min(least)
        u, s, vh = factorisations.svd(weight * scale)
        root = s[:rank].sqrt()
        return Factors(
            u[:, :rank] * root,
            vh[:rank] * root[:, None] / scale,
            s,
            notes={"alpha": self.alpha, "floor": self.floor, "floored_channels": floored},
        )
