"""MGAA: shares of sublayers by how much they change the hidden state, equal energy inside each."""

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
"""Least importance: a sublayer that changes nothing still has an order among the others."""


class MGAA(Allocator):
    """Multi-granular adaptive allocation (arXiv 2507.03294, read as an abstract: methods.md §3).

    Between sublayers (attention and MLP of each layer): kept share ∝ ``(1 − mean cos(h, h'))^t``, h the
    hidden state before the sublayer and h' behind it, residual included; shares end at 1, what is over
    goes to the others, and at ``floor``. Inside a sublayer: one energy share for all its matrices, the
    largest that the sublayer's budget pays. The formula of the shares is not published where we could
    read it: the power and t are our reading. A sublayer's budget counts the matrices with factors;
    others stay dense and lower the budget of all.

    All budgets are filled side by side, each in its own order of energy, until the whole is spent; what the
    first step that cannot be paid leaves goes to those that can. Cost: one sort.

    Use it with `whitened_svd` where no backward pass can be had; on the small real-English model it was behind `uniform`
    at keep 0.6 and 0.5.
    """

    statistics: ClassVar[bool] = True

    t: Annotated[float, Field(ge=0)] = 0.5
    """Exponent of the importance; 0 gives all sublayers the same share [-]."""

    @property
    def requires(self) -> Measure:
        """Inside a sublayer energy decides."""
        return Measure.SIZE

    def __call__(self, problem: Problem) -> Choices:
        """Return choices of equal energy inside sublayers, shares between them by similarity."""
        members: dict[tuple[int, str], list[str]] = {}
        for name, candidate in problem.candidates.items():
            members.setdefault((candidate.layer, candidate.sublayer), []).append(name)
        importance = []
        for layer, sublayer in members:
            if (layer, sublayer) not in problem.similarity:
                raise RankwiseError(
                    f"mgaa: the statistics say nothing of layer {layer}, sublayer {sublayer}; give those of every block"
                )
            importance.append(max(1 - problem.similarity[layer, sublayer], LEAST))
        sizes = [total({n: problem.matrices[n] for n in names}) for names in members.values()]
        budget = problem.budget.numbers - (total(problem.matrices) - sum(sizes))
        shares = between(np.array(importance) ** self.t, np.array(sizes), budget, self.floor)
        moments: dict[str, Breakpoints] = {}
        for names, size, share in zip(members.values(), sizes, shares, strict=True):
            moments |= self._filling(problem, names, size * share)
        return problem.spend(moments, self)

    def _filling(self, problem: Problem, names: list[str], budget: float) -> dict[str, Breakpoints]:
        """Return moments: the part of the sublayer's budget that is spent behind each step."""
        steps: list[tuple[float, str, int]] = []
        spent = 0
        for name in names:
            matrix = problem.matrices[name]
            ladder = problem.budget.schedule(name, self.multiple, self.floor) or [None]
            costs = [matrix.parameters(choice) for choice in ladder]
            spent += costs[0]
            when = by_measure(problem.candidates[name].energy)(matrix, ladder)
            prices = np.diff(costs).tolist()
            steps += zip(when.tolist(), [name] * len(when), prices, strict=True)
        steps.sort(key=lambda step: step[0])
        filled: dict[str, list[float]] = {name: [] for name in names}
        reached = accumulate((price for _, _, price in steps), initial=spent)
        for (_, name, _), cost in zip(steps, list(reached)[1:], strict=True):
            filled[name].append(cost / budget)
        return {name: _at(np.array(parts)) for name, parts in filled.items()}


def between(
    weights: NDArray[np.float64], sizes: NDArray[np.float64], budget: float, floor: float
) -> NDArray[np.float64]:
    """Return shares ``clip(c · weights, floor, 1)`` with c such that ``Σ sizes · shares = budget``, [n].

    Clipping at 1 hands the surplus on to the others. Bisection: the sum rises with c. A budget under the
    floor gives the floor, which is refused where it is spent.
    """
    low, high = 0.0, 1 / weights.min()
    for _ in range(100):
        middle = (low + high) / 2
        if (sizes * np.clip(middle * weights, floor, 1)).sum() < budget:
            low = middle
        else:
            high = middle
    return np.clip(high * weights, floor, 1)


def _at(values: NDArray[np.float64]) -> Breakpoints:
    def moments(_matrix: Matrix, _choices: list[Choice]) -> NDArray[np.float64]:
        return values

    return moments
