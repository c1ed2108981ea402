"""What a matrix costs at a choice, and when the steps between its choices are due.

``keep`` = parameters that remain / parameters before, over the linears of the decoder layers, biases
and the indices of sparse parts counted. This module is the only place where that is computed; how it
is spent is in `rankwise.budget.spending`.
"""

import math
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rankwise.errors import RankwiseError
from rankwise.hub.places import index_bits


@dataclass(frozen=True)
class Kept:
    """What remains of a linear that is not left dense: its first components, its first entries."""

    rank: int
    entries: int = 0
    """Entries of the sparse part, for methods that have one [-]."""


Choice = Kept | None
"""``None``: the linear is left dense."""
Choices = dict[str, Choice]
"""Linear → what remains of it."""
Breakpoints = Callable[["Matrix", list[Choice]], NDArray[np.float64]]
"""When each choice after the first is reached, as budget is added; see `rankwise.budget.spending.spend`."""


@dataclass(frozen=True)
class Matrix:
    """One linear as the budget sees it."""

    shape: tuple[int, int]
    """[out, in]."""
    max_rank: int
    """Largest rank that its factors hold; 0: it can only stay dense."""
    bias: bool = False
    """Whether the dense linear has a bias [out]."""
    factored_bias: bool = False
    """Whether the factored linear has a bias [out]."""
    ladder: tuple[Kept, ...] = ()
    """For factors with a sparse part: choices, none below the one before; empty: every rank is one."""
    value_bits: int = 32
    """Size of a stored number [bits]; what an index costs is counted in such numbers."""

    @property
    def break_even(self) -> float:
        """Rank at which two factors hold as many numbers as the weight: out·in / (out + in)."""
        return math.prod(self.shape) / sum(self.shape)

    def parameters(self, choice: Choice, *, indices: bool = True) -> int:
        """Return the numbers that remain: factors, bias, sparse values and indices; or the dense linear.

        Without ``indices`` it is the published accounting, in which a sparse entry costs its value alone.
        """
        out, _ = self.shape
        if choice is None:
            return math.prod(self.shape) + out * self.bias
        numbers = choice.rank * sum(self.shape) + out * self.factored_bias + choice.entries
        return numbers + self.index_cost(choice.entries) * indices

    def index_cost(self, entries: int) -> int:
        """Return what the places of sparse entries cost, in numbers: the smaller of bitmask and CSR."""
        return math.ceil(index_bits(self.shape, entries)[1] / self.value_bits)

    def equivalent_rank(self, choice: Kept) -> float:
        """Return the rank at which factors alone hold as many numbers as factors and sparse part."""
        sparse = choice.entries + self.index_cost(choice.entries)
        return choice.rank + sparse / sum(self.shape)

    def affordable(self, rank: int, numbers: float, entries: range) -> int:
        """Return the most of ``entries`` (a range of counts) that ``numbers`` pay for beside ``rank``.

        That is the range's start where they pay for none of them.
        """
        count = bisect_right(entries, numbers, key=lambda n: self.parameters(Kept(rank, n)))
        return entries[max(0, count - 1)]

    def steps(self, multiple: int, floor: float) -> list[Kept]:
        """Return the choices: rank multiples from the floor on whose factors are cheaper than dense.

        None at all where the matrix has no such rank: it stays dense. A sparse part counts towards the
        floor with the rank that its numbers would buy. Raises RankwiseError where no rank of a ladder
        is such a multiple.
        """
        if self.max_rank == 0:
            return []
        whole = self.ladder or tuple(Kept(rank) for rank in range(1, self.max_rank + 1))
        kept = [choice for choice in whole if choice.rank and choice.rank % multiple == 0]
        if self.ladder and not kept:
            raise RankwiseError(
                f"ranks in multiples of {multiple} asked, the factors with a sparse part have {whole[0].rank} to "
                f"{whole[-1].rank}; make allocate.….multiple a divisor of decompose.….multiple"
            )
        least = floor * self.break_even
        kept = [choice for choice in kept if self.equivalent_rank(choice) >= least]
        return [choice for choice in kept if self.parameters(choice) < self.parameters(None)]


def total(matrices: dict[str, Matrix], choices: Choices | None = None) -> int:
    """Return the parameters of all matrices at these choices, or of all of them dense."""
    return sum(
        m.parameters(None if choices is None else choices[name]) for name, m in matrices.items()
    )


def keep_reached(matrices: dict[str, Matrix], choices: Choices) -> float:
    """Return parameters that remain / parameters before [-]."""
    return total(matrices, choices) / total(matrices)


def keep_index_free(matrices: dict[str, Matrix], choices: Choices) -> float:
    """Return the same as papers on sparse parts count it: values alone, their places for nothing [-]."""
    remain = sum(m.parameters(choices[name], indices=False) for name, m in matrices.items())
    return remain / total(matrices)


def by_share(share: float) -> Breakpoints:
    """Return moments at which t·``share`` of the break-even rank is reached, dense at t·share = 1.

    A sparse part counts with the rank that its numbers would buy.
    """

    def moments(matrix: Matrix, choices: list[Choice]) -> NDArray[np.float64]:
        reached = [
            1.0 if c is None else matrix.equivalent_rank(c) / matrix.break_even for c in choices[1:]
        ]
        return np.array(reached) / share

    return moments


def by_measure(measure: Callable[[Choice], float]) -> Breakpoints:
    """Return moments that are a rising measure of the choice before: it is left when t passes that.

    With the energy share kept as the measure, all matrices end with the same share, at least.
    """

    def moments(_matrix: Matrix, choices: list[Choice]) -> NDArray[np.float64]:
        return np.maximum.accumulate(np.array([measure(choice) for choice in choices[:-1]]))

    return moments


def by_loss(loss: Callable[[Choice], float]) -> Breakpoints:
    """Return minus the loss saved per parameter on the lower convex hull of (cost, loss).

    Taken in that order, steps minimise the sum of losses at every budget that the hull's corners
    can meet: the Lagrangian ``min Σ loss + λ·cost`` for λ falling from infinity (methods.md §7).
    Choices between two corners of the hull share the slope, so that the budget can be met on the way.
    """

    def moments(matrix: Matrix, choices: list[Choice]) -> NDArray[np.float64]:
        cost = np.array([float(matrix.parameters(choice)) for choice in choices])
        return hull_slopes(cost, np.array([loss(choice) for choice in choices]))

    return moments


def hull_slopes(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the slope of the lower convex hull of points (``x`` rising, ``y``) at each step [n − 1]."""
    corners: list[int] = []
    for index in range(len(x)):
        while len(corners) > 1:
            a, b = corners[-2:]
            if (y[b] - y[a]) * (x[index] - x[b]) < (y[index] - y[b]) * (x[b] - x[a]):
                break
            corners.pop()
        corners.append(index)
    slopes = np.diff(y[corners]) / np.diff(x[corners])
    return np.repeat(slopes, np.diff(corners))
