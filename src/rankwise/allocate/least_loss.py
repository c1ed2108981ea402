"""Allocation of least predicted loss, in closed form."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rankwise.allocate.base import Allocator
from rankwise.methods.measure import Measure

if TYPE_CHECKING:
    from rankwise.allocate.problem import Choices, Problem


class LeastLoss(Allocator):
    """Minimise the sum of all matrices' predicted losses under the budget (methods.md §7, ours).

    ``min_r Σ_m loss_m(r_m) + lambda · Σ_m cost_m(r_m)``, with dense as one of the choices: exact on the
    convex hull of each matrix's (cost, loss). ``loss_m(r)`` is the squared tail of the decomposer's
    spectrum. It is comparable between matrices only where it predicts the change of the model's loss
    (`Measure.LOSS`). With any other decomposer the sum adds absolute errors of outputs or weights, which
    matter differently to the model's loss; such runs are refused unless ``any_measure`` is set. Without a
    ``floor`` such sums can make the result worse (Swift-SVD: methods.md §5).
    Cost: one sort of all rank steps.

    Use it with `kfac` and `kfac_sparse`: it needs no trials, and searches around its result found nothing better.
    """

    summary: ClassVar[str] = (
        "Minimise the sum of all matrices' predicted losses under the budget (methods.md §7, ours)."
    )

    any_measure: bool = False
    """Whether to allow sums of measures other than the model's loss (an ablation)."""

    @property
    def requires(self) -> Measure:
        """LOSS, because the method adds losses of all matrices; SIZE with ``any_measure``."""
        return Measure.SIZE if self.any_measure else Measure.LOSS

    def __call__(self, problem: Problem) -> Choices:
        """Return the choices of least total predicted loss."""
        losses = {name: candidate.loss for name, candidate in problem.candidates.items()}
        return problem.minimise(losses, self)
