"""The cost of a matrix at each choice, and the moments at which its choices are reached.

``keep`` = parameters that remain / parameters before, over the linears of the decoder layers, including
biases and the indices of sparse parts. Only this module computes keep. `rankwise.budget.spending`
charges a step to the budget (`Budget.price`), in bytes `rankwise.checkpoint.byte_budget` does.
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
    """The remaining parts of a factored linear: its first components and its first nonzeros."""

    rank: int
    """Number of components [-]."""
    entries: int = 0
    """Number of nonzeros of the sparse part, for methods that have one [-]."""


Choice = Kept | None
"""A choice for one linear; ``None``: it stays dense."""
Choices = dict[str, Choice]
"""Linear → its choice."""
Breakpoints = Callable[["Matrix", list[Choice]], NDArray[np.float64]]
"""Function to the moments at which a rising budget reaches each choice after the first (`rankwise.budget.spending.spend`)."""


@dataclass(frozen=True)
class Matrix:
    """One linear as the budget sees it."""

    shape: tuple[int, int]
    """[out, in]."""
    max_rank: int
    """Largest rank of its factors; 0: it can only stay dense."""
    bias: bool = False
    """Whether the dense linear has a bias [out]."""
    factored_bias: bool = False
    """Whether the factored linear has a bias [out]."""
    ladder: tuple[Kept, ...] = ()
    """Schedule of (rank, nonzeros) of factors with a sparse part, non-decreasing; empty: every rank is a choice."""
    value_bits: int = 32
    """Size of a stored number, the unit in which indices are counted [bits]."""

    @property
    def break_even(self) -> float:
        """Rank at which two factors hold as many numbers as the weight: out·in / (out + in)."""
        return math.prod(self.shape) / sum(self.shape)

    def parameters(self, choice: Choice, *, indices: bool = True) -> int:
        """Return the count of remaining numbers: factors, bias, nonzeros and their indices; or the dense linear.

        Without ``indices`` this is the published accounting, in which a nonzero costs only its value.
        """
        out, _ = self.shape
        if choice is None:
            return math.prod(self.shape) + out * self.bias
        numbers = choice.rank * sum(self.shape) + out * self.factored_bias + choice.entries
        return numbers + self.index_cost(choice.entries) * indices

    def index_cost(self, nonzeros: int) -> int:
        """Return the index storage of nonzeros, counted in numbers: the smaller of bitmask and CSR."""
        return math.ceil(index_bits(self.shape, nonzeros)[1] / self.value_bits)

    def equivalent_rank(self, choice: Kept) -> float:
        """Return the rank at which factors without a sparse part hold as many numbers as ``choice``."""
        sparse = choice.entries + self.index_cost(choice.entries)
        return choice.rank + sparse / sum(self.shape)

    def affordable(self, rank: int, numbers: float, counts: range) -> int:
        """Return the largest of ``counts`` of nonzeros that ``numbers`` pay for next to ``rank``.

        Returns the range's start where they pay for no count.
        """
        count = bisect_right(counts, numbers, key=lambda n: self.parameters(Kept(rank, n)))
        return counts[max(0, count - 1)]

    def steps(self, multiple: int, floor: float) -> list[Kept]:
        """Return the choices: rank multiples, from the floor on, whose factors are cheaper than dense.

        Returns no choice where the matrix has no such rank: it stays dense. A sparse part counts towards
        the floor with the rank that its numbers would buy. Raises RankwiseError where no rank of a
        schedule is a multiple of ``multiple``.
        """
        if self.max_rank == 0:
            return []
        choices = self.ladder or tuple(Kept(rank) for rank in range(1, self.max_rank + 1))
        allowed = [choice for choice in choices if choice.rank and choice.rank % multiple == 0]
        if self.ladder and not allowed:
            raise RankwiseError(
                f"ranks in multiples of {multiple} asked, the factors with a sparse part have {choices[0].rank} to "
                f"{choices[-1].rank}; make allocate.….multiple a divisor of decompose.….multiple"
            )
        least = floor * self.break_even
        allowed = [choice for choice in allowed if self.equivalent_rank(choice) >= least]
        return [choice for choice in allowed if self.parameters(choice) < self.parameters(None)]


def total(matrices: dict[str, Matrix], choices: Choices | None = None) -> int:
    """Return the parameters of all matrices at ``choices``, or without ``choices`` those of the dense model."""
    return sum(
        m.parameters(None if choices is None else choices[name]) for name, m in matrices.items()
    )


def keep_reached(matrices: dict[str, Matrix], choices: Choices) -> float:
    """Return parameters that remain / parameters before [-]."""
    return total(matrices, choices) / total(matrices)


def keep_index_free(matrices: dict[str, Matrix], choices: Choices) -> float:
    """Return `keep_reached` as papers on sparse parts count it: values without index storage [-]."""
    remain = sum(m.parameters(choices[name], indices=False) for name, m in matrices.items())
    return remain / total(matrices)


def by_share(share: float) -> Breakpoints:
    """Return breakpoints at the moments t where t·``share`` of the break-even rank reaches a choice.

    Dense is reached at t·share = 1. A sparse part counts with the rank that its numbers would buy.
    """

    def moments(matrix: Matrix, choices: list[Choice]) -> NDArray[np.float64]:
        reached = [
            1.0 if c is None else matrix.equivalent_rank(c) / matrix.break_even for c in choices[1:]
        ]
        return np.array(reached) / share

    return moments


def by_measure(measure: Callable[[Choice], float]) -> Breakpoints:
    """Return breakpoints at the measure of each choice: a matrix moves to the next choice when t passes it.

    The moments never fall. With the kept energy share as the measure, all matrices keep at least the
    same share.
    """

    def moments(_matrix: Matrix, choices: list[Choice]) -> NDArray[np.float64]:
        return np.maximum.accumulate(np.array([measure(choice) for choice in choices[:-1]]))

    return moments


def by_loss(loss: Callable[[Choice], float]) -> Breakpoints:
    """Return breakpoints at minus the loss saved per parameter, on the lower convex hull of (cost, loss).

    Steps taken in this order minimise the sum of losses at every budget that corners of the hull can
    meet: the Lagrangian ``min Σ loss + λ·cost`` for λ falling from infinity (methods.md §7). Choices
    between two corners share the slope, so that a budget between the corners can be met too.
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
