"""One energy share for all matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rankwise.allocate.base import Allocator
from rankwise.methods.measure import Measure

if TYPE_CHECKING:
    from rankwise.allocate.problem import Choices, Problem


class Energy(Allocator):
    """Every matrix keeps the same share of its own energy, the sum of its squared spectrum.

    ``r(e) = min{r : Σ_{i≤r} σ_i² ≥ e · Σ σ_i²}`` with one e for all, the largest that the budget pays
    (methods.md §3.2, taken over the whole model). What σ means is the decomposer's to say. Energy is
    relative to each matrix: how much a matrix matters is not asked. Cost: one sort of all rank steps.

    Use it as a quick baseline: ahead of `uniform` on the small real-English model at keep 0.8 and 0.6, far behind it on
    the embedded one.
    """

    @property
    def requires(self) -> Measure:
        """A share of energy is one of squared sizes."""
        return Measure.SIZE

    def __call__(self, problem: Problem) -> Choices:
        """Return the ranks of one energy share."""
        measures = {name: candidate.energy for name, candidate in problem.candidates.items()}
        return problem.at_one_level(measures, self)
