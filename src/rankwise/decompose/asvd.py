"""ASVD: SVD of the weight with each column scaled by the mean absolute value of its input."""

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

    The factors are ``U_r S_r^½`` and ``S_r^½ V_rᵀ D⁻¹``. The spectrum is that of ``W D``: its squared tail
    is ``‖(W − W_r) D‖_F²``. This is not the error of the outputs, because it ignores correlations of inputs.
    Deviations: a scale below ``floor`` times the largest is raised to that value (the authors add 1e-6
    to every scale); the notes record how many were raised. The authors search ranks by layer sensitivity;
    here an allocator chooses them. Cost: one SVD of [out, in] in float64.

    Use it to compare with published figures; `whitened_svd` costs little more and is better in all our tables.
    """

    summary: ClassVar[str] = (
        "Activation-aware SVD (arXiv 2312.05821, §3.1): ``W D = U S Vᵀ``, ``D = diag(E|x_j|)^alpha``."
    )
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
        # Without any input all scales are equally good; 1 gives the plain SVD.
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
