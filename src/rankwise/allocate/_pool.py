"""All components and nonzeros of a model in one list: costs, probabilities, masks, selection."""

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
    """The candidates of a whole model: in the arrays [n], each matrix's components, then its nonzeros."""

    costs: Values
    """[n]: out + in for a component; 1 plus a column index of CSR for a nonzero [-]."""
    sizes: Values
    """[n]: value per square root of cost, in units of the root mean square of its matrix [-]."""
    parts: dict[str, tuple[slice, slice]]
    """Linear → slices of its components and of its nonzeros."""
    fixed: int
    """Parameters that no candidate changes: linears without factors, biases of factored linears."""
    dense_parameters: int
    """Parameters of the dense model's linears."""
    numbers: float
    """Most total cost of the candidates [-]."""

    @classmethod
    def of(cls, problem: Problem) -> Pool:
        """Return the candidates of a problem; raises RankwiseError where a spectrum is shorter than the rank."""
        costs, sizes, parts, begin = [], [], {}, 0
        fixed, dense_parameters = total(problem.matrices), total(problem.matrices)
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
            magnitudes = np.zeros(0) if candidate.magnitudes is None else candidate.magnitudes
            values = [spectrum[:rank], np.asarray(magnitudes, dtype=np.float64)]
            prices = [out + columns, 1 + column_bits(columns) / matrix.value_bits]
            mean = (spectrum @ spectrum + values[1] @ values[1]) / (out * columns)
            for value, price in zip(values, prices, strict=True):
                costs.append(np.full(len(value), float(price)))
                sizes.append(value / np.sqrt(price * (mean or 1.0)))
            middle = begin + rank
            parts[name] = slice(begin, middle), slice(middle, middle + len(magnitudes))
            begin = middle + len(magnitudes)
            fixed += out * matrix.factored_bias - matrix.parameters(None)
        flat = [np.concatenate([*group, np.zeros(0)]) for group in (costs, sizes)]
        return cls(flat[0], flat[1], parts, fixed, dense_parameters, problem.budget.numbers - fixed)

    def share(self, chances: Values | Mask) -> float:
        """Return the share of the model's parameters that remains, in expectation or under a mask [-]."""
        return (self.fixed + float(self.costs @ chances)) / self.dense_parameters

    def start(self, sharpness: float) -> Values:
        """Return the initial probabilities: sizes to a power, scaled until the expected cost is the budget."""
        powers = self.sizes**sharpness
        scale = _bisect(lambda log: self._cost(powers * np.exp(log)) <= self.numbers, 60.0, -60.0)
        return np.clip(powers * np.exp(scale), 0, 1)

    def project(self, chances: Values) -> Values:
        """Return the nearest probabilities in {0 ≤ s ≤ 1, cost·s ≤ K}: clip(s − tau·cost, 0, 1)."""
        if self._cost(chances) <= self.numbers:
            return np.clip(chances, 0, 1)
        most = float((np.abs(chances) / self.costs).max())
        tau = _bisect(lambda tau: self._cost(chances - tau * self.costs) <= self.numbers, 0.0, most)
        return np.clip(chances - tau * self.costs, 0, 1)

    def masks(self, drawn: Mask) -> Masks:
        """Return a mask over all candidates as each linear's masks of components and nonzeros."""
        return {name: (drawn[a], drawn[b]) for name, (a, b) in self.parts.items()}

    def select(self, problem: Problem, chances: Values, limits: Allocator) -> Choices:
        """Return choices that take candidates by falling probability, then size, until the budget is spent.

        A matrix keeps as many components (in multiples, from the floor on) and nonzeros as are taken of
        it. It becomes dense where these cost as much as the dense weight. The remainder then buys further
        ranks in the same order, and last the steps to dense, where it pays for them.
        """
        positions = np.empty(len(chances))
        positions[np.lexsort((-self.sizes, -chances))] = np.arange(len(chances), dtype=np.float64)
        budget = problem.budget.untied()
        orders = [
            _Order(
                name,
                budget,
                budget.schedule(name, limits.multiple, limits.floor),
                limits.multiple,
                np.sort(positions[components]),
                np.sort(positions[nonzeros]),
            )
            for name, (components, nonzeros) in self.parts.items()
        ]
        # The steps to dense come after all candidates, in the order of each matrix's last component.
        orders.sort(key=lambda order: order.components[-1])
        ends = range(len(positions) + 1, len(positions) + len(orders) + 1)

        def choices(time: int) -> Choices:
            factored = {o.name: o.choice_at(time, end) for o, end in zip(orders, ends, strict=True)}
            return dict.fromkeys(problem.matrices) | factored

        if not budget.pays(choices(0)):
            raise budget.floor_too_dear(choices(0), limits.multiple, limits.floor)
        first_unpaid = bisect_right(range(ends.stop), 0, key=lambda t: not budget.pays(choices(t)))
        paid = choices(first_unpaid - 1)
        steps = sorted(
            (
                step
                for o, end in zip(orders, ends, strict=True)
                for step in o.steps_after(paid, end)
            ),
            key=lambda step: step[0],
        )
        return fill(budget, paid, ((name, choice) for _, name, choice in steps))

    def _cost(self, chances: Values) -> float:
        return float(self.costs @ np.clip(chances, 0, 1))


@dataclass(frozen=True)
class _Order:
    """The positions of one matrix's components and nonzeros in the order of all candidates."""

    name: str
    budget: Budget
    steps: list[Choice]
    """Its choices without nonzeros, from the floor to dense."""
    multiple: int
    components: Values
    nonzeros: Values

    def choice_at(self, time: int, end: int) -> Choice:
        """Return the choice for the matrix's share of the first ``time`` candidates; dense from ``end`` on."""
        if not self.steps or self.steps[0] is None or time >= end:
            return None
        rank = int(np.searchsorted(self.components, time)) // self.multiple * self.multiple
        choice = Kept(max(rank, self.steps[0].rank), int(np.searchsorted(self.nonzeros, time)))
        return choice if self._below_dense(choice) else None

    def steps_after(self, choices: Choices, end: int) -> list[tuple[float, str, Choice]]:
        """Return the steps above ``choices``, with the same nonzeros, then dense: position, name, choice."""
        current = choices[self.name]
        if current is None:
            return []
        steps: list[tuple[float, str, Choice]] = []
        for rank in range(current.rank + self.multiple, len(self.components) + 1, self.multiple):
            choice = Kept(rank, current.entries)
            if self._below_dense(choice):
                steps.append((float(self.components[rank - 1]), self.name, choice))
        return [*steps, (float(end), self.name, None)]

    def _below_dense(self, choice: Choice) -> bool:
        return self.budget.price(self.name, choice) < self.budget.price(self.name, None)


def _bisect(holds: Callable[[float], bool], worse: float, better: float) -> float:
    """Return the value nearest to ``worse`` at which ``holds`` is true; it must be true at ``better``."""
    for _ in range(HALVINGS):
        middle = (worse + better) / 2
        if holds(middle):
            better = middle
        else:
            worse = middle
    return better
