"""Tensors in, tensors out: the factorisations that decomposers share, in float64."""

from collections.abc import Iterator

import torch
from torch import Tensor

from rankwise.linalg.eigen import LARGE, eigenpairs

PANEL = 512
"""Rows of a symmetric product that are multiplied at once; fewer are no faster."""
CONDITION = 1e5
"""Up to this ratio of a Cholesky factor's diagonal, its square is no loss: 1e-16 · 1e10 is below a float32's precision."""


def damp(matrix: Tensor, damping: float) -> Tensor:
    """Return a symmetric ``matrix`` [d, d] plus ``damping`` × its mean diagonal on the diagonal."""
    symmetric = (matrix + matrix.T) / 2
    return symmetric + damping * symmetric.diagonal().mean() * torch.eye(
        len(matrix), dtype=matrix.dtype, device=matrix.device
    )


def whitening_root(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return L [d, d] and λ [d] of a positive semi-definite C [d, d]: ``C = L Lᵀ``, ``L⁻¹ = (L / λ)ᵀ``.

    By eigenvalues (λ, ascending) rather than Cholesky, so that rank deficiency is no failure: those
    that rounding made negative count as the least that the precision tells from zero.
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
    """Return the nearest matrix [m, n] of ``rank``, by the eigenvectors of the smaller Gram matrix.

    A projection, so exact for the larger singular values though the Gram matrix squares them.
    """
    if matrix.shape[0] > matrix.shape[1]:
        return low_rank(matrix.T, rank).T
    top = torch.linalg.eigh(matrix @ matrix.T)[1][:, -rank:]
    return top @ (top.T @ matrix)


def nonzeros_by_size(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the entries of ``matrix`` [m, n] that are not zero, largest first: places, values, sizes.

    Places are row·n + column (`narrow_indices`); equal sizes stand in the order of their places.
    """
    flat = matrix.flatten()
    places = flat.nonzero()[:, 0]
    places = places[flat[places].abs().argsort(descending=True, stable=True)]
    values = flat[places]
    return narrow_indices(places, len(flat)), values, values.abs()


def narrow_indices(places: Tensor, numbers: int) -> Tensor:
    """Return places in a matrix of so many ``numbers`` in int32, or int64 where it asks for them."""
    return places.to(torch.int32 if numbers <= torch.iinfo(torch.int32).max else torch.int64)


def principal_eigenvectors(moment: Tensor, rank: int, samples: int) -> tuple[Tensor, Tensor]:
    """Return the first eigenvectors of a positive semi-definite matrix and the roots of all its eigenvalues.

    ``moment`` [k, k] of ``samples`` vectors; directions [k, rank] with fixed signs, spectrum [k] descending.
    """
    values, vectors = eigenpairs(moment, samples)
    directions = vectors[:, -rank:].flip(1)
    return directions.mul_(_signs(directions)), values.flip(0).clamp_min(0).sqrt()


def left_vectors(
    matrix: Tensor, moment: Tensor, rank: int, samples: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the first ``rank`` eigenvectors U [m, rank] of ``A C Aᵀ``, ``Uᵀ A`` [rank, n], and the roots of all eigenvalues [n].

    ``matrix`` A [m, n], m ≥ n; ``moment`` C [n, n] positive semi-definite, of ``samples`` vectors. With A = Q R, Q orthonormal:
    ``U = Q P``, P the eigenvectors of ``R C Rᵀ``, a problem of the smaller size n that needs no root of C.
    R is a Cholesky factor of AᵀA where A's condition allows (`CONDITION`), else Householder's.
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
    solved = torch.linalg.solve_triangular(lower.T, directions, upper=True)
    return matrix @ solved, multiply_rounded(directions.T, lower.T), spectrum


def projection_errors(matrix: Tensor, parts: Tensor) -> Tensor:
    """Return ‖A‖_F², then what is left of it behind the first r of orthonormal directions U, r = 1 … k.

    ``matrix`` A [m, n], ``parts`` Uᵀ A [k, n]: ``‖A − U_r U_rᵀ A‖² = ‖A‖² − Σᵢ ‖uᵢᵀ A‖²``.
    """
    whole = matrix.square().sum()
    return torch.cat([whole[None], whole - parts.square().sum(1).cumsum(0)]).clamp_min(0)


def is_finite(tensor: Tensor) -> bool:
    """Tell whether every number is one. Their sum tells in one pass, unless it is too large itself."""
    return bool(tensor.sum().isfinite()) or bool(tensor.isfinite().all())


def multiply_rounded(left: Tensor, right: Tensor) -> Tensor:
    """Return ``left @ right``, where it is large multiplied in float32: for factors, which no file holds in more."""
    if left.shape[1] < LARGE:
        return left @ right
    return (left.float() @ right.float()).to(left.dtype)


def symmetric_product(left: Tensor, right: Tensor) -> Tensor:
    """Return ``left @ right`` [d, d], a product that is symmetric: about half of it is multiplied."""
    size = len(left)
    found = left.new_empty(size, size)
    for rows, upto in panels(size):
        found[rows, upto] = left[rows] @ right[:, upto]
    return mirror_lower(found)


def mirror_lower(lower: Tensor) -> Tensor:
    """Make a matrix [d, d] symmetric, in place, by what stands below its diagonal."""
    for rows, _ in panels(len(lower)):
        block = lower[rows, rows]
        lower[rows, rows] = block.tril() + block.tril(-1).T
        lower[: rows.start, rows] = lower[rows, : rows.start].T
    return lower


def panels(size: int) -> Iterator[tuple[slice, slice]]:
    """Yield rows of a symmetric matrix, `PANEL` at a time, and the columns up to the end of their diagonal block."""
    for begin in range(0, size, PANEL):
        end = min(begin + PANEL, size)
        yield slice(begin, end), slice(end)


def _signs(vectors: Tensor) -> Tensor:
    """Return ±1 per column so that its entry of largest size becomes positive [k]."""
    largest = vectors.abs().argmax(0)
    signs = vectors.gather(0, largest[None])[0].sign()
    return torch.where(signs == 0, torch.ones_like(signs), signs)
