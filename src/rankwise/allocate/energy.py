"""Allocation by one energy share for all matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rankwise.allocate.base import Allocator
from rankwise.methods.measure import Measure

if TYPE_CHECKING:
    from rankwise.allocate.problem import Choices, Problem


class Energy(Allocator):
    """Every matrix keeps the same share of its own energy, the sum of its squared spectrum.

    ``r(e) = min{r : Σ_{i≤r} σ_i² ≥ e · Σ σ_i²}`` with one e for all, the largest that the budget pays for
    (methods.md §3.2, over the whole model). The decomposer defines σ. Energy is relative to each matrix:
    the method ignores how much a matrix matters to the model. Cost: one sort of all rank steps.

    Use it as a quick baseline: better than `uniform` on the small real-English model at keep 0.8 and 0.6, much worse on
    the embedded one.
    """

    summary: ClassVar[str] = (
        "Every matrix keeps the same share of its own energy, the sum of its squared spectrum."
    )

    @property
    def requires(self) -> Measure:
        """SIZE: an energy share needs the sizes of components."""
        return Measure.SIZE

    def __call__(self, problem: Problem) -> Choices:
        """Return the choices at one energy share."""
        measures = {name: candidate.energy for name, candidate in problem.candidates.items()}
        return problem.at_one_level(measures, self)
