"""The allocation of least predicted loss, in closed form."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rankwise.allocate.base import Allocator
from rankwise.methods.measure import Measure

if TYPE_CHECKING:
    from rankwise.allocate.problem import Choices, Problem


class LeastLoss(Allocator):
    """Minimise the sum of all matrices' predicted losses under the budget (methods.md §7, ours).

    ``min_r Σ_m loss_m(r_m) + lambda · Σ_m cost_m(r_m)``, dense being one of the choices: exact on the
    convex hull of each matrix's (cost, loss). ``loss_m(r)`` is the squared tail of the decomposer's
    spectrum. Only where that predicts the change of the model's loss (`Measure.LOSS`) is it one currency;
    with any other decomposer, absolute errors of outputs or weights are added up whose weight in the
    model's loss differs, and the answer is what that sum makes of it: refused unless ``any_measure``
    says that it is meant. Without a ``floor`` such sums can hurt (Swift-SVD: methods.md §5).
    Cost: one sort of all rank steps.

    Use it with `kfac` and `kfac_sparse`: no trial is needed, and searches around it found nothing better.
    """

    any_measure: bool = False
    """Whether sums of other measures than the model's loss are meant (an ablation); else refused."""

    @property
    def requires(self) -> Measure:
        """Losses of all matrices are added up."""
        return Measure.SIZE if self.any_measure else Measure.LOSS

    def __call__(self, problem: Problem) -> Choices:
        """Return the choices of least total predicted loss."""
        losses = {name: candidate.loss for name, candidate in problem.candidates.items()}
        return problem.minimise(losses, self)
