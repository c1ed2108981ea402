"""Bolaco's decomposition: principal components of the outputs, from pooled covariance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from rankwise.decompose.base import Decomposer
from rankwise.methods.required_statistics import RequiredStatistics

if TYPE_CHECKING:
    from torch import Tensor

    from rankwise.artifacts.factors import Factors
    from rankwise.artifacts.statistics import InputStatistics


class PooledPCA(Decomposer):
    """The best affine rank-r approximation of the outputs y = W x (Bolaco, arXiv 2405.10616, §3.1).

    With ``Cov(y) = U S² Uᵀ`` and ``mu = E[y]``: ``y ≈ U_r (U_rᵀ W x) + (I − U_r U_rᵀ) mu``. The
    squared tail of the spectrum S is the mean squared error of the outputs.

    Deviations from the paper: where the inputs are no larger than the outputs, the output covariance comes
    from the pooled *input* covariance, ``Cov(y) = W Cov(x) Wᵀ``. This is exact, because pooling is linear in
    the pools' covariances. The eigenproblem has size min(out, in). All pools count and merge exactly
    (the authors' code drops a last partial group and under-counts the means). A small relative damping is
    added (recorded in the notes).
    Cost: an eigenproblem of size min(out, in) in float64; where out > in, also a Cholesky factor of size in.

    Use it with a search (`gp`, `hyperopt`), as Bolaco does; at equal shares it is about as good as `whitened_svd`.
    """

    summary: ClassVar[str] = (
        "The best affine rank-r approximation of the outputs y = W x (Bolaco, arXiv 2405.10616, §3.1)."
    )
    bias: ClassVar[bool] = True
    moments: ClassVar[RequiredStatistics] = RequiredStatistics.SMALLER

    dense: tuple[str, ...] = ("v",)
    damping: Annotated[float, Field(ge=0, lt=1)] = 1e-6
    """Added to the covariance's diagonal, relative to its mean [-]."""

    def __call__(self, weight: Tensor, inputs: InputStatistics, rank: int) -> Factors:
        """Factor ``weight`` [out, in] by the pooled covariance of its inputs."""
        from rankwise.artifacts.factors import Factors
        from rankwise.decompose._principal import principal_outputs
        from rankwise.linalg import factorisations

        left, right, spectrum = principal_outputs(weight, inputs, self.damping, rank, centred=True)
        return Factors(
            left,
            right,
            spectrum,
            weight_errors=factorisations.projection_errors(weight, right),
            offset=weight @ inputs.mean,
            codes=right @ inputs.mean,
            notes={"damping": self.damping},
        )
