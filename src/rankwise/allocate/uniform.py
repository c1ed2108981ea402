"""Uniform allocation: every matrix keeps the same share of its break-even rank."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rankwise.allocate.base import Allocator

if TYPE_CHECKING:
    from rankwise.allocate.problem import Choices, Problem


class Uniform(Allocator):
    """Every compressible matrix keeps the same share of its break-even rank.

    Matrices that the decomposer leaves dense also count against the budget, so that the others keep less.

    Use it as the baseline, or where all layers must have the same shapes.
    """

    summary: ClassVar[str] = (
        "Every compressible matrix keeps the same share of its break-even rank."
    )

    def __call__(self, problem: Problem) -> Choices:
        """Return the choices of equal shares. Cost: one sort of all rank steps."""
        return problem.by_shares(dict.fromkeys(problem.names, 1.0), self)
