"""All components and sparse entries of a model in one list: costs, chances, masks, selection."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rankwise.budget.costs import Choice, Choices, Kept, total
from rankwise.budget.spending import Budget, fill
from rankwise.errors import RankwiseError
from rankwise.hub.places import column_bits

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from rankwise.allocate.base import Allocator
    from rankwise.allocate.problem import Masks, Problem

    Values = NDArray[np.float64]
    Mask = NDArray[np.bool_]

HALVINGS = 50
"""Steps of a bisection."""


@dataclass(frozen=True)
class Pool:
    """The candidates of a whole model; the arrays [n] hold a matrix's components, then its entries."""

    costs: Values
    """[n]: out + in for a component; 1 and a column index of CSR for an entry [-]."""
    sizes: Values
    """[n]: value per root of cost, 1 for the root mean square number of its matrix [-]."""
    parts: dict[str, tuple[slice, slice]]
    """Linear → its components, its entries."""
    fixed: int
    """Parameters that no candidate changes: linears without factors, biases of factored ones."""
    whole: int
    """Parameters of the dense model's linears."""
    numbers: float
    """What the candidates may cost together."""

    @classmethod
    def of(cls, problem: Problem) -> Pool:
        """Return the candidates of a problem; refuses factors that do not say what a component is worth."""
        costs, sizes, parts, begin = [], [], {}, 0
        fixed, whole = total(problem.matrices), total(problem.matrices)
        for name, candidate in problem.candidates.items():
            matrix = problem.matrices[name]
            out, columns = matrix.shape
            rank = matrix.max_rank
            spectrum = np.asarray(candidate.spectrum, dtype=np.float64)
            if len(spectrum) < rank:
                raise RankwiseError(
                    f"{name}: policy_gradient draws single components by their size, but the factors of rank {rank} come "
                    f"with a spectrum of {len(spectrum)} values; choose a decomposer that has one for every component"
                )
            entries = np.zeros(0) if candidate.magnitudes is None else candidate.magnitudes
            values = [spectrum[:rank], np.asarray(entries, dtype=np.float64)]
            prices = [out + columns, 1 + column_bits(columns) / matrix.value_bits]
            mean = (spectrum @ spectrum + values[1] @ values[1]) / (out * columns)
            for value, price in zip(values, prices, strict=True):
                costs.append(np.full(len(value), float(price)))
                sizes.append(value / np.sqrt(price * (mean or 1.0)))
            middle = begin + rank
            parts[name] = slice(begin, middle), slice(middle, middle + len(entries))
            begin = middle + len(entries)
            fixed += out * matrix.factored_bias - matrix.parameters(None)
        flat = [np.concatenate([*group, np.zeros(0)]) for group in (costs, sizes)]
        return cls(flat[0], flat[1], parts, fixed, whole, problem.budget.numbers - fixed)

    def share(self, chances: Values | Mask) -> float:
        """Return the share of the model's parameters that stays, in expectation or under a mask [-]."""
        return (self.fixed + float(self.costs @ chances)) / self.whole

    def start(self, sharpness: float) -> Values:
        """Return the first chances: sizes to a power, scaled until the expected cost is the budget."""
        powers = self.sizes**sharpness
        scale = _bisect(lambda log: self._cost(powers * np.exp(log)) <= self.numbers, 60.0, -60.0)
        return np.clip(powers * np.exp(scale), 0, 1)

    def project(self, chances: Values) -> Values:
        """Return the nearest chances in {0 ≤ s ≤ 1, cost·s ≤ K}: clip(s − tau·cost, 0, 1)."""
        if self._cost(chances) <= self.numbers:
            return np.clip(chances, 0, 1)
        most = float((np.abs(chances) / self.costs).max())
        tau = _bisect(lambda tau: self._cost(chances - tau * self.costs) <= self.numbers, 0.0, most)
        return np.clip(chances - tau * self.costs, 0, 1)

    def masks(self, drawn: Mask) -> Masks:
        """Return a mask over all candidates as masks of components and entries, linear by linear."""
        return {name: (drawn[a], drawn[b]) for name, (a, b) in self.parts.items()}

    def select(self, problem: Problem, chances: Values, limits: Allocator) -> Choices:
        """Take candidates by falling chance, then size, until the next one cannot be paid for.

        A matrix keeps as many components, in multiples and from the floor on, and as many entries as
        were taken of it; dense where that costs as much as the dense weight, the rest of them last. What
        is left then goes to ranks in the same order, where it pays for one.
        """
        place = np.empty(len(chances))
        place[np.lexsort((-self.sizes, -chances))] = np.arange(len(chances), dtype=np.float64)
        budget = problem.budget.untied()
        orders = [
            _Order(
                name,
                budget,
                budget.schedule(name, limits.multiple, limits.floor),
                limits.multiple,
                np.sort(place[components]),
                np.sort(place[entries]),
            )
            for name, (components, entries) in self.parts.items()
        ]
        # Behind all candidates come the steps to dense, in the order in which matrices were used up.
        orders.sort(key=lambda order: order.components[-1])
        ends = range(len(place) + 1, len(place) + len(orders) + 1)

        def choices(time: int) -> Choices:
            found = {o.name: o.at(time, end) for o, end in zip(orders, ends, strict=True)}
            return dict.fromkeys(problem.matrices) | found

        if not budget.pays(choices(0)):
            raise budget.floor_too_dear(choices(0), limits.multiple, limits.floor)
        dear = bisect_right(range(ends.stop), 0, key=lambda t: not budget.pays(choices(t)))
        taken = choices(dear - 1)
        steps = sorted(
            (step for o, end in zip(orders, ends, strict=True) for step in o.after(taken, end)),
            key=lambda step: step[0],
        )
        return fill(budget, taken, ((name, choice) for _, name, choice in steps))

    def _cost(self, chances: Values) -> float:
        return float(self.costs @ np.clip(chances, 0, 1))


@dataclass(frozen=True)
class _Order:
    """When a matrix's candidates come: the places of its components and entries in the order of all."""

    name: str
    budget: Budget
    steps: list[Choice]
    """Its choices without entries, dense the last; the first one is the floor."""
    multiple: int
    components: Values
    entries: Values

    def at(self, time: int, end: int) -> Choice:
        """Return what the matrix keeps of the first ``time`` candidates; dense from ``end`` on."""
        if not self.steps or self.steps[0] is None or time >= end:
            return None
        taken = int(np.searchsorted(self.components, time)) // self.multiple * self.multiple
        kept = Kept(max(taken, self.steps[0].rank), int(np.searchsorted(self.entries, time)))
        return kept if self._below_dense(kept) else None

    def after(self, taken: Choices, end: int) -> list[tuple[float, str, Choice]]:
        """Return the ranks above what is ``taken``, with the same entries, and dense: place, name, choice."""
        kept = taken[self.name]
        if kept is None:
            return []
        found: list[tuple[float, str, Choice]] = []
        for rank in range(kept.rank + self.multiple, len(self.components) + 1, self.multiple):
            choice = Kept(rank, kept.entries)
            if self._below_dense(choice):
                found.append((float(self.components[rank - 1]), self.name, choice))
        return [*found, (float(end), self.name, None)]

    def _below_dense(self, choice: Choice) -> bool:
        return self.budget.price(self.name, choice) < self.budget.price(self.name, None)


def _bisect(holds: Callable[[float], bool], worse: float, better: float) -> float:
    """Return the value nearest ``worse`` at which ``holds``, given that it does at ``better``."""
    for _ in range(HALVINGS):
        middle = (worse + better) / 2
        if holds(middle):
            better = middle
        else:
            worse = middle
    return better
