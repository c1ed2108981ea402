"""MGAA: shares of sublayers by how much they change the hidden state; equal energy shares inside each."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
from pydantic import Field

from rankwise.allocate.base import Allocator
from rankwise.budget.costs import by_measure, total
from rankwise.errors import RankwiseError
from rankwise.methods.measure import Measure

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rankwise.allocate.problem import Choices, Problem
    from rankwise.budget.costs import Breakpoints, Choice, Matrix

LEAST = 1e-9
"""Least importance, above zero so that shares of sublayers that change nothing are defined [-]."""


class MGAA(Allocator):
    """Multi-granular adaptive allocation (arXiv 2507.03294; we only had the abstract: methods.md §3).

    Between sublayers (attention and MLP of each layer): kept share ∝ ``(1 − mean cos(h, h'))^t``, h the
    hidden state before the sublayer and h' after it, residual included. Shares are at most 1 and at least
    ``floor``; the surplus above 1 goes to the others. Inside a sublayer: one energy share for all its
    matrices, the largest that the sublayer's budget pays for. We found no published formula of the shares:
    the power and t are our reading. A sublayer's budget counts the matrices with factors; others stay
    dense and lower the budget of all.

    All sublayer budgets fill at the same rate, each in its own order of energy, until the total budget is
    spent. After the first step that the budget cannot pay for, the remainder goes to steps that it can.
    Cost: one sort.

    Use it with `whitened_svd` where a backward pass is not possible; on the small real-English model it was worse than
    `uniform` at keep 0.6 and 0.5.
    """

    summary: ClassVar[str] = (
        "Multi-granular adaptive allocation (arXiv 2507.03294, read as an abstract: methods.md §3)."
    )
    statistics: ClassVar[bool] = True

    t: Annotated[float, Field(ge=0)] = 0.5
    """Exponent of the importance; 0 gives all sublayers the same share [-]."""

    @property
    def requires(self) -> Measure:
        """SIZE: energy shares inside a sublayer need the sizes of components."""
        return Measure.SIZE

    def __call__(self, problem: Problem) -> Choices:
        """Return choices of equal energy share inside sublayers, and shares by similarity between them."""
        members: dict[tuple[int, str], list[str]] = {}
        for name, candidate in problem.candidates.items():
            members.setdefault((candidate.layer, candidate.sublayer), []).append(name)
        importance = []
        for layer, sublayer in members:
            if (layer, sublayer) not in problem.similarity:
                raise RankwiseError(
                    f"mgaa: the statistics hold no similarity of layer {layer}, sublayer {sublayer}; gather those of every layer"
                )
            importance.append(max(1 - problem.similarity[layer, sublayer], LEAST))
        sizes = [total({n: problem.matrices[n] for n in names}) for names in members.values()]
        budget = problem.budget.numbers - (total(problem.matrices) - sum(sizes))
        shares = between(np.array(importance) ** self.t, np.array(sizes), budget, self.floor)
        moments: dict[str, Breakpoints] = {}
        for names, size, share in zip(members.values(), sizes, shares, strict=True):
            moments |= self._sublayer_breakpoints(problem, names, size * share)
        return problem.spend(moments, self)

    def _sublayer_breakpoints(
        self, problem: Problem, names: list[str], budget: float
    ) -> dict[str, Breakpoints]:
        """Return breakpoints at the share of the sublayer's budget that is spent after each step."""
        steps: list[tuple[float, str, int]] = []
        spent = 0
        for name in names:
            matrix = problem.matrices[name]
            schedule = problem.budget.schedule(name, self.multiple, self.floor) or [None]
            costs = [matrix.parameters(choice) for choice in schedule]
            spent += costs[0]
            moments = by_measure(problem.candidates[name].energy)(matrix, schedule)
            prices = np.diff(costs).tolist()
            steps += zip(moments.tolist(), [name] * len(moments), prices, strict=True)
        steps.sort(key=lambda step: step[0])
        shares: dict[str, list[float]] = {name: [] for name in names}
        running_costs = accumulate((price for _, _, price in steps), initial=spent)
        for (_, name, _), cost in zip(steps, list(running_costs)[1:], strict=True):
            shares[name].append(cost / budget)
        return {name: _constant_breakpoints(np.array(parts)) for name, parts in shares.items()}


def between(
    weights: NDArray[np.float64], sizes: NDArray[np.float64], budget: float, floor: float
) -> NDArray[np.float64]:
    """Return shares ``clip(c · weights, floor, 1)`` [n] with c such that ``Σ sizes · shares = budget``.

    Clipping at 1 gives the surplus to the others. Bisection finds c, because the sum rises with c. A budget
    below the floor gives the floor; spending it then raises the error.
    """
    low, high = 0.0, 1 / weights.min()
    for _ in range(100):
        middle = (low + high) / 2
        if (sizes * np.clip(middle * weights, floor, 1)).sum() < budget:
            low = middle
        else:
            high = middle
    return np.clip(high * weights, floor, 1)


def _constant_breakpoints(values: NDArray[np.float64]) -> Breakpoints:
    def moments(_matrix: Matrix, _choices: list[Choice]) -> NDArray[np.float64]:
        return values

    return moments
