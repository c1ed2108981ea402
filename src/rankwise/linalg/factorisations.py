"""Matrix factorisations that decomposers share: functions from tensors to tensors, in float64."""

import torch
from torch import Tensor

from rankwise.linalg.eigen import LARGE, eigenpairs
from rankwise.linalg.symmetric import symmetric_product

CONDITION = 1e5
"""Most ratio of a Cholesky factor's diagonal at which it is precise enough: 1e-16 · 1e10 is below float32's precision [-]."""


def damp(matrix: Tensor, damping: float) -> Tensor:
    """Return a symmetric ``matrix`` [d, d] plus ``damping`` × its mean diagonal on the diagonal."""
    symmetric = (matrix + matrix.T) / 2
    return symmetric + damping * symmetric.diagonal().mean() * torch.eye(
        len(matrix), dtype=matrix.dtype, device=matrix.device
    )


def whitening_root(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return L [d, d] and λ [d] of a positive semi-definite C [d, d]: ``C = L Lᵀ``, ``L⁻¹ = (L / λ)ᵀ``.

    It uses eigenvalues (λ, ascending) rather than Cholesky, so that a rank-deficient C is no error.
    Eigenvalues below the rounding error, also negative ones, are raised to the rounding error.
    """
    values, vectors = torch.linalg.eigh(matrix)
    tiny = torch.finfo(values.dtype).tiny
    values = values.clamp_min(max(float(values[-1]) * torch.finfo(values.dtype).eps, tiny))
    return vectors * values.sqrt(), values


def square_roots(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return the symmetric square root of a positive definite ``matrix`` [d, d], and its inverse."""
    values, vectors = torch.linalg.eigh(matrix)
    root = values.clamp_min(values[-1] * torch.finfo(values.dtype).eps).sqrt()
    return (vectors * root) @ vectors.T, (vectors / root) @ vectors.T


def svd(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return U [m, k], s [k] descending, Vᵀ [k, n] of ``matrix`` [m, n], with fixed signs."""
    u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
    signs = _signs(u)
    return u * signs, s, vh * signs[:, None]


def low_rank(matrix: Tensor, rank: int) -> Tensor:
    """Return the nearest matrix [m, n] of ``rank``, from the eigenvectors of the smaller Gram matrix.

    It is a projection, so it is exact for the larger singular values although the Gram matrix squares them.
    """
    if matrix.shape[0] > matrix.shape[1]:
        return low_rank(matrix.T, rank).T
    top = torch.linalg.eigh(matrix @ matrix.T)[1][:, -rank:]
    return top @ (top.T @ matrix)


def nonzeros_by_size(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the nonzeros of ``matrix`` [m, n], largest first: indices, values, absolute values.

    An index is row·n + column (`narrow_indices`); nonzeros of equal size are in the order of their indices.
    """
    flat = matrix.flatten()
    indices = flat.nonzero()[:, 0]
    indices = indices[flat[indices].abs().argsort(descending=True, stable=True)]
    values = flat[indices]
    return narrow_indices(indices, len(flat)), values, values.abs()


def narrow_indices(indices: Tensor, size: int) -> Tensor:
    """Return indices into a matrix of ``size`` numbers as int32, or as int64 where int32 is too small."""
    return indices.to(torch.int32 if size <= torch.iinfo(torch.int32).max else torch.int64)


def principal_eigenvectors(moment: Tensor, rank: int, samples: int) -> tuple[Tensor, Tensor]:
    """Return the first eigenvectors of a positive semi-definite matrix, and the square roots of all its eigenvalues.

    ``moment`` [k, k] is that of ``samples`` vectors. Directions [k, rank] have fixed signs; the spectrum
    [k] is descending.
    """
    values, vectors = eigenpairs(moment, samples)
    directions = vectors[:, -rank:].flip(1)
    return directions.mul_(_signs(directions)), values.flip(0).clamp_min(0).sqrt()


def left_vectors(
    matrix: Tensor, moment: Tensor, rank: int, samples: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the first eigenvectors U [m, rank] of ``A C Aᵀ``, ``Uᵀ A`` [rank, n], and the square roots of all eigenvalues [n].

    ``matrix`` is A [m, n], m ≥ n; ``moment`` is C [n, n], positive semi-definite, that of ``samples`` vectors.
    With A = Q R, Q orthonormal: ``U = Q P``, P the eigenvectors of ``R C Rᵀ``. This eigenproblem has the
    smaller size n and needs no root of C. R is a Cholesky factor of AᵀA where A's condition number allows
    (`CONDITION`), else that of a Householder QR.
    """
    lower, failed = torch.linalg.cholesky_ex(symmetric_product(matrix.T, matrix))
    scales = lower.diagonal()
    if bool(failed) or not bool(scales.min() * CONDITION > scales.max()):
        basis, upper = torch.linalg.qr(matrix)
        directions, spectrum = principal_eigenvectors(
            symmetric_product(upper @ moment, upper.T), rank, samples
        )
        return basis @ directions, multiply_rounded(directions.T, upper), spectrum
    directions, spectrum = principal_eigenvectors(
        symmetric_product(lower.T @ moment, lower), rank, samples
    )
    coordinates = torch.linalg.solve_triangular(lower.T, directions, upper=True)
    return matrix @ coordinates, multiply_rounded(directions.T, lower.T), spectrum


def projection_errors(matrix: Tensor, parts: Tensor) -> Tensor:
    """Return ‖A‖_F², then ‖A − U_r U_rᵀ A‖_F² for the first r of k orthonormal directions U, r = 1 … k.

    ``matrix`` is A [m, n], ``parts`` is Uᵀ A [k, n]: ``‖A − U_r U_rᵀ A‖² = ‖A‖² − Σᵢ ‖uᵢᵀ A‖²``.
    """
    total = matrix.square().sum()
    return torch.cat([total[None], total - parts.square().sum(1).cumsum(0)]).clamp_min(0)


def multiply_rounded(left: Tensor, right: Tensor) -> Tensor:
    """Return ``left @ right``, computed in float32 from `LARGE` on: for factors, which files hold in at most float32."""
    if left.shape[1] < LARGE:
        return left @ right
    return (left.float() @ right.float()).to(left.dtype)


def _signs(vectors: Tensor) -> Tensor:
    """Return ±1 per column [k]: the sign that makes its largest entry positive."""
    largest = vectors.abs().argmax(0)
    signs = vectors.gather(0, largest[None])[0].sign()
    return torch.where(signs == 0, torch.ones_like(signs), signs)
