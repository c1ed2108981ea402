"""SVD-LLM's truncation-aware SVD: the least output error at every rank, without a bias."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from rankwise.decompose.base import Decomposer
from rankwise.methods.required_statistics import RequiredStatistics

if TYPE_CHECKING:
    from torch import Tensor

    from rankwise.artifacts.factors import Factors
    from rankwise.artifacts.statistics import InputStatistics


class WhitenedSVD(Decomposer):
    """SVD of ``W S`` with ``S Sᵀ = E[x xᵀ]`` (SVD-LLM, arXiv 2403.07378, §3.1), S undone on the right.

    ``U_r S_r V_rᵀ S⁻¹ = U_r U_rᵀ W``, so the eigenvectors U of ``W E[x xᵀ] Wᵀ`` are enough
    (Swift-SVD, arXiv 2604.01609). The squared tail of the spectrum is the mean squared error of the
    outputs, uncentred. Deviations: eigenvectors replace a Cholesky factor and its inverse; a test checks
    that the optimum is the same, and it needs no full rank. A small relative damping (recorded in the notes)
    replaces the authors' shift by the least eigenvalue after a failure. The singular values stay with the
    right factor.
    Cost: an eigenproblem of size min(out, in) in float64; where out > in, also a Cholesky factor of size in.

    Use it for plain low rank without biases where a backward pass is not possible.
    """

    summary: ClassVar[str] = (
        "SVD of ``W S`` with ``S Sᵀ = E[x xᵀ]`` (SVD-LLM, arXiv 2403.07378, §3.1), S undone on the right."
    )
    moments: ClassVar[RequiredStatistics] = RequiredStatistics.SMALLER

    damping: Annotated[float, Field(ge=0, lt=1)] = 1e-6
    """Added to the second moment's diagonal, relative to its mean [-]."""

    def __call__(self, weight: Tensor, inputs: InputStatistics, rank: int) -> Factors:
        """Factor ``weight`` [out, in] by the uncentred second moment of its inputs."""
        from rankwise.artifacts.factors import Factors
        from rankwise.decompose._principal import principal_outputs
        from rankwise.linalg import factorisations

        left, right, spectrum = principal_outputs(weight, inputs, self.damping, rank, centred=False)
        errors = factorisations.projection_errors(weight, right)
        notes = {"damping": self.damping}
        return Factors(left, right, spectrum, weight_errors=errors, notes=notes)
