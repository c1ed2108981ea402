"""Roots, symmetric products and left vectors against ten-line references."""

import pytest
import torch

from rankwise.linalg import factorisations, symmetric
from rankwise.linalg.packed import Panels, Triangle, add_packed, is_finite, whole


def test_whitening_is_a_root_of_the_moment_and_its_inverse():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(50, 8, generator=generator, dtype=torch.float64)
    x = x * torch.logspace(0, -2, 8, dtype=torch.float64) + 1
    c = x.T @ x
    root, values = factorisations.whitening_root(c)
    torch.testing.assert_close(root @ root.T, c)
    torch.testing.assert_close((root / values).T @ root, torch.eye(8, dtype=c.dtype))


@pytest.mark.parametrize("size", [3, symmetric.PANEL, symmetric.PANEL + 1, 2 * symmetric.PANEL + 7])
def test_half_of_a_symmetric_product_is_enough(size):
    a = torch.randn(size, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(size))
    product = symmetric.symmetric_product(a, a.T)
    torch.testing.assert_close(product, a @ a.T)
    assert torch.equal(product, product.T)
    sums = Panels.zeros(size, torch.float64, torch.device("cpu"))
    for rows in a.T.split(7):
        sums.add_gram(rows)
    assert len(sums) == size
    torch.testing.assert_close(sums.unpack(), a @ a.T)
    assert torch.equal(sums.unpack(), sums.unpack().T)
    assert torch.equal(sums.diagonal(), sums.unpack().diagonal())
    assert torch.equal(Triangle.of(sums).unpack(), sums.unpack())
    assert is_finite(sums)
    twice = 2 * sums.unpack()
    assert torch.equal(whole(add_packed(sums, sums)), twice)
    sums.parts[-1][0, 0] = torch.nan
    assert not is_finite(sums)


@pytest.mark.parametrize("least", [1.0, 1e-3, 1e-7, 0.0])
def test_left_vectors_of_weights_near_and_far_from_singular(least):
    """On either way to the orthonormal basis of W: its least singular value is ``least``, the largest 1."""
    g = torch.Generator().manual_seed(7)
    u, v, w = (
        torch.linalg.qr(torch.randn(n, 6, dtype=torch.float64, generator=g))[0] for n in (15, 6, 6)
    )
    matrix = u * torch.logspace(0, -1, 6, dtype=torch.float64) @ v.T
    matrix -= (1 - least) * torch.outer(matrix @ w[:, 0], w[:, 0])
    moment = w * torch.tensor([1.0, 5.0, 4.0, 3.0, 2.0, 1.0], dtype=torch.float64) @ w.T
    directions, parts, spectrum = factorisations.left_vectors(matrix, moment, 4, 100)
    torch.testing.assert_close(parts, directions.T @ matrix)
    values, vectors = torch.linalg.eigh(matrix @ moment @ matrix.T)
    torch.testing.assert_close(spectrum, values.flip(0)[:6].clamp_min(0).sqrt(), atol=1e-7, rtol=0)
    torch.testing.assert_close(directions.T @ directions, torch.eye(4, dtype=torch.float64))
    top = vectors.flip(1)[:, :4]
    torch.testing.assert_close(directions @ directions.T, top @ top.T)
