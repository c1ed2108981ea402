"""Spending a budget: steps of all matrices in one order, each taken where it can be paid."""

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
    """What all linears may cost together, counted in numbers; a subclass may count otherwise."""

    matrices: dict[str, Matrix]
    """Every linear of the decoder layers, those that can only stay dense included."""
    target: Target
    """As it was asked for."""
    rest: int = 0
    """What the target counts besides the linears: the other parameters of the model [-]."""

    loose: ClassVar[bool] = False
    """Whether prices are upper bounds, so that all together may cost less than their sum."""

    @property
    def limit(self) -> int:
        """What the linears may cost, the largest whole number within the target."""
        if self.target.kind == "keep":
            return math.floor(Fraction(str(self.target.value)) * total(self.matrices))
        return int(self.target.value) - self.rest

    @property
    def numbers(self) -> float:
        """The numbers that the linears may hold, for methods that divide them up beforehand [-]."""
        return float(self.limit)

    def price(self, name: str, choice: Choice) -> int:
        """Return what one linear costs at a choice."""
        return self.matrices[name].parameters(choice)

    def cost(self, choices: Choices) -> int:
        """Return what all linears cost."""
        return self.bound(choices)

    def bound(self, choices: Choices) -> int:
        """Return the sum of the prices: the cost, or where prices are `loose`, never less than it."""
        return sum(self.price(name, choice) for name, choice in choices.items())

    def pays(self, choices: Choices) -> bool:
        """Tell whether these choices are within the budget."""
        return self.bound(choices) <= self.limit or (
            self.loose and self.cost(choices) <= self.limit
        )

    def reached(self, choices: Choices) -> int | float:
        """Return what choices come to, in what the target is in."""
        if self.target.kind == "keep":
            return self.cost(choices) / total(self.matrices)
        return self.cost(choices) + self.rest

    def ladder(self, name: str, multiple: int, floor: float) -> list[Choice]:
        """Return the choices of a linear that cost less than dense, then dense; empty: dense is all."""
        dense = self.price(name, None)
        steps = self.matrices[name].steps(multiple, floor)
        found: list[Choice] = [choice for choice in steps if self.price(name, choice) < dense]
        return [*found, None] if found else []

    def partly(self, name: str, before: Kept, after: Choice, left: int) -> Kept:
        """Return ``before`` with as many entries of ``after`` as are paid by what is ``left``.

        Where the step to ``after`` is too dear as a whole: entries can be bought one by one.
        """
        ladder = self.matrices[name].ladder
        if not ladder:
            return before
        most = ladder[-1].entries if after is None else after.entries
        entries = range(before.entries, max(most, before.entries) + 1)
        paid = self.price(name, before)
        count = bisect_right(
            entries, paid + left, key=lambda n: self.price(name, Kept(before.rank, n))
        )
        return Kept(before.rank, entries[max(0, count - 1)])

    def untied(self) -> Self:
        """Return the same budget over matrices whose entries are not tied to ranks by a ladder."""
        free = {name: replace(matrix, ladder=()) for name, matrix in self.matrices.items()}
        return replace(self, matrices=free)

    def floor_too_dear(self, choices: Choices, multiple: int, floor: float) -> RankwiseError:
        """Return the refusal of a budget that the least choices exceed."""
        least = self.target.shown(self.reached(choices))
        return RankwiseError(
            f"{self.target} asked, but the floor ({floor} of each break-even rank, multiples of {multiple}, matrices "
            f"left dense) alone comes to {least}; raise {self.target.kind} or lower allocate.….floor or .multiple"
        )


def spend(budget: Budget, moments: dict[str, Breakpoints], multiple: int, floor: float) -> Choices:
    """Spend the budget: take the steps of all matrices in the order of their moments.

    Every matrix starts at its floor. The steps of all matrices, up to the one to dense, are sorted by
    moment and taken where they can be paid (`fill`), so that what is left pays for no further step of
    any matrix. Matrices that are not in ``moments`` stay dense. Raises RankwiseError where the floor
    alone costs more than the budget. Cost: one sort, one pass.
    """
    choices: Choices = dict.fromkeys(budget.matrices)
    when: list[np.ndarray] = []
    what: list[tuple[str, Choice]] = []
    for name in budget.matrices:
        ladder = budget.ladder(name, multiple, floor) if name in moments else []
        if not ladder:
            continue
        choices[name] = ladder[0]
        when.append(moments[name](budget.matrices[name], ladder))
        what += [(name, choice) for choice in ladder[1:]]
    if not budget.pays(choices):
        raise budget.floor_too_dear(choices, multiple, floor)
    order = np.argsort(np.concatenate(when), kind="stable").tolist() if when else []
    return fill(budget, choices, (what[index] for index in order))


def fill(budget: Budget, choices: Choices, steps: Iterable[tuple[str, Choice]]) -> Choices:
    """Return choices after all ``steps`` (linear, next choice) that can be paid, in their order.

    Of a step that cannot, the sparse entries that can are bought (`Budget.partly`); that matrix takes
    no later step, since those cost more, and the others go on. So in the end no matrix's next step
    can be paid.

    Up to the first step that cannot be paid, more budget takes more steps and lowers no rank. What is
    bought of the remainder may go to another matrix when there is more of it: a rule that never lowered
    a rank and always left less than the cheapest step would have to buy the cheapest step as soon as it
    is paid for, at every budget, in no order but that of prices.
    """
    choices, bound, over = dict(choices), budget.bound(choices), set[str]()
    for name, choice in steps:
        if name in over:
            continue
        before, paid = choices[name], budget.price(name, choices[name])
        dearer = bound + budget.price(name, choice) - paid
        if dearer <= budget.limit or (budget.loose and budget.pays({**choices, name: choice})):
            choices[name], bound = choice, dearer
            continue
        over.add(name)
        if before is not None:
            choices[name] = budget.partly(name, before, choice, budget.limit - bound)
            bound += budget.price(name, choices[name]) - paid
    return choices
