"""PGSVD's allocation: one relative tolerance of the weights' error for all matrices."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from rankwise.allocate.base import Allocator

if TYPE_CHECKING:
    from rankwise.allocate.problem import Candidate, Choices, Problem
    from rankwise.budget.costs import Choice


class Pareto(Allocator):
    """``r = min{r : ‖W − W_r‖_F / ‖W‖_F ≤ eps}``, one eps for all (PGSVD, arXiv 2510.05544).

    The error is that of the weights themselves whatever the decomposer measures, so with ``svd`` this
    is ``energy``. Deviation: the paper bisects eps; here the steps of all matrices are taken in the
    order of the tolerance at which they come, which is the same. Cost: one sort of all rank steps.

    Use it with `whitened_svd` where no trial can be afforded: far ahead of `uniform` on the small real-English model, about
    level with it on the embedded one.
    """

    def __call__(self, problem: Problem) -> Choices:
        """Return the ranks of the least tolerance that the budget pays."""

        def accuracy(candidate: Candidate, choice: Choice) -> float:
            return -candidate.weight_error(choice)

        measures = {name: partial(accuracy, c) for name, c in problem.candidates.items()}
        return problem.at_one_level(measures, self)
