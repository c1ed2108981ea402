"""PGSVD's allocation: one relative error of the weights for all matrices."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar

from rankwise.allocate.base import Allocator

if TYPE_CHECKING:
    from rankwise.allocate.problem import Candidate, Choices, Problem
    from rankwise.budget.costs import Choice


class Pareto(Allocator):
    """``r = min{r : ‖W − W_r‖_F / ‖W‖_F ≤ eps}``, one eps for all (PGSVD, arXiv 2510.05544).

    The error is that of the weights themselves, whatever the decomposer measures; with ``svd`` this equals
    ``energy``. Deviation: the paper bisects eps. Here the steps of all matrices are taken in the order of
    the eps at which they become due, which gives the same result. Cost: one sort of all rank steps.

    Use it with `whitened_svd` where trials cost too much: much better than `uniform` on the small real-English model,
    about as good on the embedded one.
    """

    summary: ClassVar[str] = (
        "``r = min{r : ‖W − W_r‖_F / ‖W‖_F ≤ eps}``, one eps for all (PGSVD, arXiv 2510.05544)."
    )

    def __call__(self, problem: Problem) -> Choices:
        """Return the choices at the least eps that the budget pays for."""

        def accuracy(candidate: Candidate, choice: Choice) -> float:
            return -candidate.weight_error(choice)

        measures = {name: partial(accuracy, c) for name, c in problem.candidates.items()}
        return problem.at_one_level(measures, self)
