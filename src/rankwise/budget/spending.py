"""Spends a budget: takes the steps of all matrices in one order, each where the budget pays for it."""

import math
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import ClassVar, Self

import numpy as np

from rankwise.budget.costs import Breakpoints, Choice, Choices, Kept, Matrix, total
from rankwise.errors import RankwiseError
from rankwise.params.target import Target


@dataclass(frozen=True)
class Budget:
    """The most that all linears may cost together, counted in numbers; a subclass may use another unit."""

    matrices: dict[str, Matrix]
    """Every linear of the decoder layers, those that can only stay dense included."""
    target: Target
    """The target of params.yaml."""
    rest: int = 0
    """Cost of what the target counts besides the linears: the other parameters of the model [-]."""

    loose: ClassVar[bool] = False
    """Whether prices are upper bounds, so that the cost may be below their sum."""

    @property
    def limit(self) -> int:
        """The most that the linears may cost: the largest integer within the target."""
        if self.target.kind == "keep":
            return math.floor(Fraction(str(self.target.value)) * total(self.matrices))
        return int(self.target.value) - self.rest

    @property
    def numbers(self) -> float:
        """Count of numbers that the linears may hold, for methods that divide them in advance [-]."""
        return float(self.limit)

    def price(self, name: str, choice: Choice) -> int:
        """Return the cost of one linear at a choice."""
        return self.matrices[name].parameters(choice)

    def cost(self, choices: Choices) -> int:
        """Return the cost of all linears."""
        return self.bound(choices)

    def bound(self, choices: Choices) -> int:
        """Return the sum of the prices: the cost, or an upper bound of it where prices are `loose`."""
        return sum(self.price(name, choice) for name, choice in choices.items())

    def pays(self, choices: Choices) -> bool:
        """Return whether these choices are within the budget."""
        return self.bound(choices) <= self.limit or (
            self.loose and self.cost(choices) <= self.limit
        )

    def reached(self, choices: Choices) -> int | float:
        """Return the cost of ``choices`` in the unit of the target."""
        if self.target.kind == "keep":
            return self.cost(choices) / total(self.matrices)
        return self.cost(choices) + self.rest

    def schedule(self, name: str, multiple: int, floor: float) -> list[Choice]:
        """Return the choices of a linear that cost less than dense, then dense; empty: it can only stay dense."""
        dense = self.price(name, None)
        steps = self.matrices[name].steps(multiple, floor)
        cheaper: list[Choice] = [choice for choice in steps if self.price(name, choice) < dense]
        return [*cheaper, None] if cheaper else []

    def extend_partly(self, name: str, before: Kept, after: Choice, remainder: int) -> Kept:
        """Return ``before`` with as many nonzeros of ``after`` as ``remainder`` pays for.

        It is for a step to ``after`` that the budget cannot pay completely, because nonzeros can be
        bought one by one.
        """
        schedule = self.matrices[name].ladder
        if not schedule:
            return before
        most = schedule[-1].entries if after is None else after.entries
        counts = range(before.entries, max(most, before.entries) + 1)
        paid = self.price(name, before)
        count = bisect_right(
            counts, paid + remainder, key=lambda n: self.price(name, Kept(before.rank, n))
        )
        return Kept(before.rank, counts[max(0, count - 1)])

    def untied(self) -> Self:
        """Return the same budget over matrices without a schedule that ties nonzeros to ranks."""
        free = {name: replace(matrix, ladder=()) for name, matrix in self.matrices.items()}
        return replace(self, matrices=free)

    def floor_too_dear(self, choices: Choices, multiple: int, floor: float) -> RankwiseError:
        """Return the error for a budget that the floor, ``choices``, exceeds."""
        least = self.target.shown(self.reached(choices))
        return RankwiseError(
            f"{self.target} asked, but the floor ({floor} of each break-even rank, multiples of {multiple}, matrices "
            f"left dense) alone comes to {least}; raise {self.target.kind} or lower allocate.….floor or .multiple"
        )


def spend(budget: Budget, moments: dict[str, Breakpoints], multiple: int, floor: float) -> Choices:
    """Return the choices that spend the budget: take the steps of all matrices in the order of their moments.

    Every matrix starts at its floor. The function sorts the steps of all matrices, including the one to
    dense, by moment and takes those that the budget pays for (`fill`). The remainder then pays for no
    further step of any matrix. Matrices that are not in ``moments`` stay dense. Raises RankwiseError
    where the floor alone costs more than the budget. Cost: one sort, one pass.
    """
    choices: Choices = dict.fromkeys(budget.matrices)
    times: list[np.ndarray] = []
    steps: list[tuple[str, Choice]] = []
    for name in budget.matrices:
        schedule = budget.schedule(name, multiple, floor) if name in moments else []
        if not schedule:
            continue
        choices[name] = schedule[0]
        times.append(moments[name](budget.matrices[name], schedule))
        steps += [(name, choice) for choice in schedule[1:]]
    if not budget.pays(choices):
        raise budget.floor_too_dear(choices, multiple, floor)
    order = np.argsort(np.concatenate(times), kind="stable").tolist() if times else []
    return fill(budget, choices, (steps[index] for index in order))


def fill(budget: Budget, choices: Choices, steps: Iterable[tuple[str, Choice]]) -> Choices:
    """Return ``choices`` after all ``steps`` (linear, next choice) that the budget pays for, in their order.

    Of a step that it cannot pay for, the function buys as many nonzeros as it can (`Budget.extend_partly`).
    That matrix takes no later step, because later steps cost more; the others continue. At the end the
    budget pays for no matrix's next step.

    Up to the first unpaid step, a larger budget takes more steps and lowers no rank. After it, a larger
    remainder may go to another matrix. Avoiding that, while leaving less than the cheapest step, would
    require taking the steps in the order of their prices alone.
    """
    choices, bound, exhausted = dict(choices), budget.bound(choices), set[str]()
    for name, choice in steps:
        if name in exhausted:
            continue
        current, price = choices[name], budget.price(name, choices[name])
        new_bound = bound + budget.price(name, choice) - price
        if new_bound <= budget.limit or (budget.loose and budget.pays({**choices, name: choice})):
            choices[name], bound = choice, new_bound
            continue
        exhausted.add(name)
        if current is not None:
            choices[name] = budget.extend_partly(name, current, choice, budget.limit - bound)
            bound += budget.price(name, choices[name]) - price
    return choices
