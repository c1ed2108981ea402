"""Symmetric matrices stored as one triangle."""

import pytest
import torch

from rankwise.linalg.packed import Triangle, add_packed, whole


@pytest.mark.parametrize("width", [1, 2, 7, 8])
def test_triangles_come_back(width):
    g = torch.Generator().manual_seed(width)
    x = torch.randn(width, width, dtype=torch.float64, generator=g)
    matrix = x + x.T
    triangle = Triangle.of(matrix)
    assert len(triangle) == width
    assert len(triangle.values) == width * (width + 1) // 2
    assert torch.equal(triangle.unpack(), matrix)
    assert torch.equal(triangle.diagonal(), matrix.diagonal())
    assert torch.equal(whole(add_packed(triangle, triangle)), 2 * matrix)
    assert torch.equal(triangle.unpack(), matrix)  # a sum leaves what a file maps as it was


@pytest.mark.parametrize("shape", [(2,), (5,), (3, 2)])
def test_numbers_that_are_no_triangle_are_refused(shape):
    with pytest.raises(ValueError, match="no triangle"):
        Triangle(torch.zeros(shape))
