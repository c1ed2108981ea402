"""Principal directions of a linear's outputs, from an eigenproblem on its smaller side."""

from torch import Tensor

from rankwise.artifacts.statistics import InputStatistics
from rankwise.linalg import factorisations


def principal_outputs(
    weight: Tensor,
    inputs: InputStatistics,
    damping: float,
    rank: int,
    *,
    centred: bool,
    scale: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the principal directions of y = W x: U [out, rank], Uᵀ W [rank, in], and spectrum s [min(out, in)] descending.

    U are the first eigenvectors of Cov(y) = W C Wᵀ, and s the square roots of all its eigenvalues. C is
    the damped covariance of x where ``centred``, else its damped second moment. With ``scale`` A
    [out, out], the directions are those of A y instead of y, and the second result is Uᵀ A W.
    ``weight`` [out, in]. Cost: one eigenproblem of size min(out, in) (methods.md).
    """
    out, columns = weight.shape
    scaled = weight if scale is None else scale @ weight
    if out > columns:
        moment = factorisations.damp(inputs.moment(centred=centred), damping)
        return factorisations.left_vectors(scaled, moment, rank, inputs.tokens)
    moment = inputs.output_moment(weight, damping, centred=centred)
    if scale is not None:
        moment = scale @ moment @ scale
    directions, spectrum = factorisations.principal_eigenvectors(moment, rank, inputs.tokens)
    return directions, factorisations.multiply_rounded(directions.T, scaled), spectrum
