"""Eigenvectors of large positive semi-definite matrices, for half the time where float32 is enough.

An eigensolver in float32 is off by some 1e-7 of the *largest* eigenvalue. Activations have a few
directions that are a million times the others, beside which these would drown. So the few are found
first, in float64, and taken out; what is left has eigenvalues of one size, for which float32 does: an error E
turns the first r eigenvectors by E over the gap to the others, which costs its square.
"""

import torch
from torch import Tensor

LARGE = 1024
"""From this size on; below, the solver in float64 takes little."""
BLOCK, STEPS = 64, 6
"""Directions that are looked for beforehand, at most, and products with the matrix that they get."""
ENOUGH = 2
"""Vectors a direction; of fewer the smaller eigenvalues are nothing, or damping alone, and float32 does not do."""
ROUNDING = torch.finfo(torch.float32).eps
ABOVE = 100
"""Roundings of the largest eigenvalue that the smaller half of them must reach on average; else all is done in float64."""


def eigenpairs(matrix: Tensor, samples: int) -> tuple[Tensor, Tensor]:
    """Return eigenvalues [n], ascending, and eigenvectors [n, n] of a positive semi-definite ``matrix`` [n, n].

    ``samples`` says of how many vectors it is the moment. From `LARGE` on, of float64: what a projection on the last r of them leaves, r up to n/2, is the least
    that there is to 1e-4 of it; they are orthonormal to 1e-5.
    """
    size = len(matrix)
    if size < LARGE or samples < ENOUGH * size or matrix.dtype != torch.float64:
        return torch.linalg.eigh(matrix)
    values, vectors, following = _dominant(matrix)
    if not bool(following > 0):  # a few directions are all there is
        return torch.linalg.eigh(matrix)
    found, others = torch.linalg.eigh(_rest(matrix, vectors, following))
    found, others = found[len(values) :].double(), others[:, len(values) :]
    if not bool(found[: size // 2].mean() > ABOVE * ROUNDING):
        return torch.linalg.eigh(matrix)
    every = torch.cat([others.double(), vectors], 1)
    others = every[:, : len(found)]
    # A millionth of a direction that is a million times as large counts.
    others.addmm_(vectors, vectors.T @ others, alpha=-1)
    return torch.cat([found * following, values]), every


def _dominant(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the largest eigenvalues [k], ascending, their vectors [n, k], and about the next eigenvalue.

    By subspace iteration; of its pairs those that are as near to exact as float32 is in what the next one
    leaves, k from 0 on.
    """
    seeded = torch.Generator().manual_seed(0)
    start = torch.randn(len(matrix), BLOCK, generator=seeded, dtype=matrix.dtype)
    image = matrix @ start.to(matrix.device)
    for _ in range(STEPS):
        basis = torch.linalg.qr(image)[0]
        image = matrix @ basis
    values, turned = torch.linalg.eigh(basis.T @ image)
    vectors, image = basis @ turned, image @ turned
    off = (image - vectors * values).norm(dim=0).flip(0)
    worst, values = off.cummax(0).values, values.flip(0)
    least = torch.finfo(matrix.dtype).eps * len(matrix) ** 0.5 * values[0]
    near = worst[:-1] <= ROUNDING * values[1:] + least
    count = int(near.long().cumprod(0).sum())
    return values[:count].flip(0), vectors[:, BLOCK - count :], values[count]


def _rest(matrix: Tensor, vectors: Tensor, unit: Tensor) -> Tensor:
    """Return (I − V Vᵀ) M (I − V Vᵀ) / ``unit`` − V Vᵀ in float32, V ``vectors`` [n, k] orthonormal.

    So those directions have the least of all eigenvalues, and the others are orthogonal to them.
    """
    image = matrix @ vectors
    image -= vectors @ (vectors.T @ image) / 2
    rest = torch.addmm(matrix, image, vectors.T, alpha=-1).addmm_(vectors, image.T, alpha=-1)
    return rest.div_(unit).addmm_(vectors, vectors.T, alpha=-1).float()
