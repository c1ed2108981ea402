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
    squared tail of the spectrum S is the mean squared error of the outputs that is left.

    Deviations from the paper: output covariance follows from the pooled *input* covariance where that
    is no larger, ``Cov(y) = W Cov(x) Wᵀ``, exactly (pooling is linear in the groups' covariances); the
    eigenproblem is of size min(out, in); every group counts, merged exactly (the authors' code drops a last
    partial group and under-counts the means); a small relative damping, recorded.
    Cost: an eigenproblem of size min(out, in) in float64; where out > in, a Cholesky factor of size [in], too.

    Use it with a search (`gp`, `hyperopt`), as Bolaco does; at equal shares it is about level with `whitened_svd`.
    """

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
