"""Symmetric matrices in about half their memory: `Panels` for running sums, `Triangle` for files."""

import math
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from rankwise.linalg import symmetric


@dataclass(frozen=True)
class Panels:
    """A symmetric matrix [d, d] in panels: some rows, up to the end of their diagonal block (`symmetric.panels`).

    A pass adds products of tall matrices to it in place.
    """

    parts: list[Tensor]

    @classmethod
    def zeros(cls, size: int, dtype: torch.dtype, device: torch.device) -> Self:
        """Return a matrix [size, size] of zeros."""
        ends = [(rows.stop - rows.start, upto.stop) for rows, upto in symmetric.panels(size)]
        return cls([torch.zeros(*shape, dtype=dtype, device=device) for shape in ends])

    def add_gram(self, rows: Tensor) -> None:
        """Add ``rowsᵀ rows``, ``rows`` [tokens, d]."""
        for part, (panel, columns) in zip(self.parts, symmetric.panels(len(self)), strict=True):
            part.add_(rows[:, panel].T @ rows[:, columns])

    def __len__(self) -> int:
        """Return d."""
        return self.parts[-1].shape[1]

    def unpack(self) -> Tensor:
        """Return a new full matrix [d, d]."""
        matrix = self.parts[-1].new_empty(len(self), len(self))
        for part, block in zip(self.parts, symmetric.panels(len(self)), strict=True):
            matrix[block] = part
        return symmetric.mirror_lower(matrix)

    def diagonal(self) -> Tensor:
        """Return the diagonal [d]."""
        starts = [part.shape[1] - len(part) for part in self.parts]
        return torch.cat([p.diagonal(start) for p, start in zip(self.parts, starts, strict=True)])

    def to(self, device: torch.device) -> "Panels":
        """Return the same matrix on another device."""
        return Panels([part.to(device) for part in self.parts])


@dataclass(frozen=True)
class Triangle:
    """A symmetric matrix [d, d] as its upper triangle.

    The triangle of a file stays memory-mapped, so that code that unpacks one matrix after the other
    holds one full matrix at a time.
    """

    values: Tensor
    """[d·(d + 1)/2]: the upper triangle, row by row."""

    def __post_init__(self) -> None:
        """Raise ValueError where the number of values is not that of a triangle."""
        if self.values.shape != (len(self) * (len(self) + 1) // 2,):
            raise ValueError(f"numbers of shape {list(self.values.shape)} are no triangle")

    @classmethod
    def of(cls, matrix: "Symmetric") -> "Triangle":
        """Return the triangle of a symmetric matrix [d, d]."""
        if isinstance(matrix, Triangle):
            return matrix
        return cls(torch.cat([row[index:] for index, row in enumerate(whole(matrix))]))

    def __len__(self) -> int:
        """Return d."""
        return (math.isqrt(8 * self.values.numel() + 1) - 1) // 2

    def unpack(self) -> Tensor:
        """Return a new full matrix [d, d]."""
        width = len(self)
        matrix = self.values.new_empty(width, width)
        for index, row in enumerate(self.values.split(list(range(width, 0, -1)))):
            matrix[index, index:] = row
        return symmetric.mirror_lower(matrix.T)

    def diagonal(self) -> Tensor:
        """Return the diagonal [d]."""
        rows = torch.arange(len(self), device=self.values.device)
        return self.values[rows * len(self) - rows * (rows - 1) // 2]

    def to(self, device: torch.device) -> "Triangle":
        """Return the same matrix on another device."""
        return Triangle(self.values.to(device))


Symmetric = Tensor | Panels | Triangle
"""A symmetric matrix [d, d]: full, in panels (running sums) or as a triangle (files)."""


def whole(matrix: Symmetric) -> Tensor:
    """Return the full matrix [d, d] of a symmetric matrix; a tensor is returned without a copy."""
    return matrix if isinstance(matrix, Tensor) else matrix.unpack()


def is_finite(matrix: Symmetric) -> bool:
    """Return whether every stored number of a symmetric matrix is finite."""
    if isinstance(matrix, Panels):
        return all(symmetric.is_finite(part) for part in matrix.parts)
    return symmetric.is_finite(matrix.values if isinstance(matrix, Triangle) else matrix)


def add_packed(matrix: Symmetric, other: Symmetric) -> Symmetric:
    """Return the sum of two matrices; it overwrites the first, unless both are triangles of files."""
    if isinstance(matrix, Panels) and isinstance(other, Panels):
        for part, more in zip(matrix.parts, other.parts, strict=True):
            part.add_(more)
        return matrix
    if isinstance(matrix, Triangle) and isinstance(other, Triangle):
        return Triangle(matrix.values + other.values)
    return whole(matrix).add_(whole(other))


def tensors_on(holder: Any, device: torch.device) -> dict[str, Any]:
    """Return the tensors among an object's fields on ``device``."""
    movable = Tensor | Panels | Triangle
    return {k: v.to(device) for k, v in vars(holder).items() if isinstance(v, movable)}
