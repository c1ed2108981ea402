"""Eigenvectors of large positive semi-definite matrices, in half the time where float32 is enough.

An eigensolver in float32 has errors of some 1e-7 of the *largest* eigenvalue. Activations have a few
directions that are a million times as large as the others, so the error would hide the others. This
module therefore computes the few dominant directions first, in float64, and removes them. The remaining
eigenvalues have similar sizes, for which float32 is precise enough: an error E rotates the first r
eigenvectors by E over the gap to the others, and costs the square of that.
"""

import torch
from torch import Tensor

LARGE = 1024
"""Least matrix size for float32; below it the solver in float64 is fast enough."""
BLOCK, STEPS = 64, 6
"""Most dominant directions, and steps of the subspace iteration [-]."""
ENOUGH = 2
"""Least samples per direction for float32: with fewer, the small eigenvalues are zero or damping alone [-]."""
ROUNDING = torch.finfo(torch.float32).eps
ABOVE = 100
"""Least mean of the smaller half of the eigenvalues, in roundings of the largest; below it all is computed in float64 [-]."""


def eigenpairs(matrix: Tensor, samples: int) -> tuple[Tensor, Tensor]:
    """Return eigenvalues [n], ascending, and eigenvectors [n, n] of a positive semi-definite ``matrix`` [n, n].

    ``samples`` is the number of vectors whose moment the matrix is. For float64 matrices from `LARGE` on,
    the result is approximate: the residual of a projection on the last r eigenvectors, r up to n/2, is
    within 1e-4 (relative) of the least, and the vectors are orthonormal to 1e-5.
    """
    size = len(matrix)
    if size < LARGE or samples < ENOUGH * size or matrix.dtype != torch.float64:
        return torch.linalg.eigh(matrix)
    dominant_values, dominant, next_value = _dominant_eigenpairs(matrix)
    if not bool(next_value > 0):  # the matrix has no more than these few directions
        return torch.linalg.eigh(matrix)
    values, vectors = torch.linalg.eigh(_deflate(matrix, dominant, next_value))
    values, vectors = values[len(dominant_values) :].double(), vectors[:, len(dominant_values) :]
    if not bool(values[: size // 2].mean() > ABOVE * ROUNDING):
        return torch.linalg.eigh(matrix)
    all_vectors = torch.cat([vectors.double(), dominant], 1)
    vectors = all_vectors[:, : len(values)]
    # Project again in float64: a millionth of a direction a million times as large would count.
    vectors.addmm_(dominant, dominant.T @ vectors, alpha=-1)
    return torch.cat([values * next_value, dominant_values]), all_vectors


def _dominant_eigenpairs(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the largest eigenvalues [k], ascending, their vectors [n, k], and approximately the next eigenvalue.

    Subspace iteration. It returns only pairs whose error is below float32's rounding of the next
    eigenvalue; k may be 0.
    """
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(len(matrix), BLOCK, generator=generator, dtype=matrix.dtype)
    image = matrix @ start.to(matrix.device)
    for _ in range(STEPS):
        basis = torch.linalg.qr(image)[0]
        image = matrix @ basis
    values, rotation = torch.linalg.eigh(basis.T @ image)
    vectors, image = basis @ rotation, image @ rotation
    residuals = (image - vectors * values).norm(dim=0).flip(0)
    largest_residuals, values = residuals.cummax(0).values, values.flip(0)
    tolerance = torch.finfo(matrix.dtype).eps * len(matrix) ** 0.5 * values[0]
    converged = largest_residuals[:-1] <= ROUNDING * values[1:] + tolerance
    count = int(converged.long().cumprod(0).sum())
    return values[:count].flip(0), vectors[:, BLOCK - count :], values[count]


def _deflate(matrix: Tensor, vectors: Tensor, unit: Tensor) -> Tensor:
    """Return (I − V Vᵀ) M (I − V Vᵀ) / ``unit`` − V Vᵀ in float32, V ``vectors`` [n, k] orthonormal.

    The directions V then have the smallest eigenvalue, and the other eigenvectors are orthogonal to them.
    """
    image = matrix @ vectors
    image -= vectors @ (vectors.T @ image) / 2
    deflated = torch.addmm(matrix, image, vectors.T, alpha=-1).addmm_(vectors, image.T, alpha=-1)
    return deflated.div_(unit).addmm_(vectors, vectors.T, alpha=-1).float()
