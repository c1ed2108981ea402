"""Uniform allocation: every matrix keeps the same share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rankwise.allocate.base import Allocator

if TYPE_CHECKING:
    from rankwise.allocate.problem import Choices, Problem


class Uniform(Allocator):
    """Every compressible matrix keeps the same share of its break-even rank.

    Matrices that the decomposer leaves dense still count: the others then keep less.

    Use it as the baseline, or where all layers shall stay alike.
    """

    def __call__(self, problem: Problem) -> Choices:
        """Return equal shares. Cost: one sort of all rank steps."""
        return problem.by_shares(dict.fromkeys(problem.names, 1.0), self)
