"""Tensors in, tensors out: the factorisations that decomposers share, in float64."""

import torch
from torch import Tensor


def damped(matrix: Tensor, damping: float) -> Tensor:
    """Return a symmetric ``matrix`` [d, d] plus ``damping`` × its mean diagonal on the diagonal."""
    symmetric = (matrix + matrix.T) / 2
    return symmetric + damping * symmetric.diagonal().mean() * torch.eye(
        len(matrix), dtype=matrix.dtype, device=matrix.device
    )


def square_root(matrix: Tensor) -> Tensor:
    """Return the symmetric square root [d, d] of a positive semi-definite ``matrix`` [d, d].

    By eigenvalues rather than Cholesky, so that rank deficiency is no failure; eigenvalues that
    rounding made negative count as zero.
    """
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * values.clamp_min(0).sqrt()) @ vectors.T


def roots(matrix: Tensor) -> tuple[Tensor, Tensor]:
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


def entries(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the entries of ``matrix`` [m, n] that are not zero, largest first: places, values, sizes.

    Places are row·n + column, in int32 where they fit; equal sizes stand in the order of their places.
    """
    flat = matrix.flatten()
    places = flat.nonzero()[:, 0]
    places = places[flat[places].abs().argsort(descending=True, stable=True)]
    values = flat[places]
    short = len(flat) <= torch.iinfo(torch.int32).max
    return places.to(torch.int32 if short else torch.int64), values, values.abs()


def left_vectors(weight: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Return the principal directions of y = W x: U [out, k] and spectrum s [k], k = min(out, in).

    U are the eigenvectors of Cov(y) = W C Wᵀ, s the square roots of its eigenvalues, descending.
    ``weight`` [out, in], ``covariance`` C [in, in] positive definite where out > in. Works on the
    smaller side: an eigenproblem of size min(out, in) (methods.md §6.3): for out > in, with
    C = L Lᵀ, U are the left singular vectors of W L, found from (W L)ᵀ (W L) [in, in].
    """
    rows, columns = weight.shape
    if rows <= columns:
        values, vectors = torch.linalg.eigh(weight @ covariance @ weight.T)
        spectrum = values.flip(0).clamp_min(0).sqrt()
        directions = vectors.flip(1)
    else:
        scaled = weight @ square_root(covariance)
        values, vectors = torch.linalg.eigh(scaled.T @ scaled)
        spectrum = values.flip(0).clamp_min(0).sqrt()
        # QR rather than a division by the spectrum: orthonormal however small the last values are.
        directions, triangle = torch.linalg.qr(scaled @ vectors.flip(1))
        directions = directions * triangle.diagonal().sign()
    return directions * _signs(directions), spectrum


def _signs(vectors: Tensor) -> Tensor:
    """Return ±1 per column so that its entry of largest size becomes positive [k]."""
    largest = vectors.abs().argmax(0)
    signs = vectors.gather(0, largest[None])[0].sign()
    return torch.where(signs == 0, torch.ones_like(signs), signs)
