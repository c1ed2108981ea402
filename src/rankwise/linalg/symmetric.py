"""Products that are symmetric, half of them multiplied, and checks of numbers."""

from collections.abc import Iterator

from torch import Tensor

PANEL = 512
"""Rows of a symmetric product that are multiplied at once; fewer are no faster [-]."""


def is_finite(tensor: Tensor) -> bool:
    """Return whether every number is finite. The sum decides in one pass, unless it overflows itself."""
    return bool(tensor.sum().isfinite()) or bool(tensor.isfinite().all())


def symmetric_product(left: Tensor, right: Tensor) -> Tensor:
    """Return ``left @ right`` [d, d], a product known to be symmetric: it computes about half of it."""
    size = len(left)
    product = left.new_empty(size, size)
    for rows, upto in panels(size):
        product[rows, upto] = left[rows] @ right[:, upto]
    return mirror_lower(product)


def mirror_lower(lower: Tensor) -> Tensor:
    """Make a matrix [d, d] symmetric in place: copy the part below its diagonal above it."""
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
