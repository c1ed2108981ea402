"""The budget: what a matrix costs at a choice, and how wishes become choices that meet ``keep``.

``keep`` = parameters that remain / parameters before, over the linears of the decoder blocks, biases
and the indices of sparse parts counted. This module is the only place where that is computed.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rankwise.errors import RankwiseError


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
Moments = Callable[["Matrix", list[Choice]], NDArray[np.float64]]
"""When each choice after the first is reached, as budget is added; see `spend`."""


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
    entries: tuple[int, ...] = ()
    """[max_rank + 1]: sparse entries that go with each rank; empty: no sparse part."""
    value_bits: int = 32
    """Size of a stored number [bits]; what an index costs is counted in such numbers."""

    @property
    def break_even(self) -> float:
        """Rank at which two factors hold as many numbers as the weight: out·in / (out + in)."""
        return math.prod(self.shape) / sum(self.shape)

    def parameters(self, choice: Choice) -> int:
        """Return the numbers that remain: factors, bias, sparse values and indices; or the dense linear."""
        out, _ = self.shape
        if choice is None:
            return math.prod(self.shape) + out * self.bias
        numbers = choice.rank * sum(self.shape) + out * self.factored_bias + choice.entries
        return numbers + self.index_cost(choice.entries)

    def index_cost(self, entries: int) -> int:
        """Return what the places of sparse entries cost, in numbers: the smaller of bitmask and CSR."""
        if not entries:
            return 0
        return math.ceil(
            min(bitmask_bits(self.shape), csr_bits(self.shape, entries)) / self.value_bits
        )

    def kept(self, rank: int) -> Kept:
        """Return the choice that goes with ``rank``."""
        return Kept(rank, self.entries[rank] if self.entries else 0)

    def steps(self, multiple: int, floor: float) -> list[Kept]:
        """Return the choices: multiples from the floor on whose factors are cheaper than dense."""
        if self.max_rank == 0:
            return []
        first = max(1, math.ceil(floor * self.break_even / multiple)) * multiple
        ranks = list(range(first, self.max_rank + 1, multiple)) or [self.max_rank]
        kept = [self.kept(rank) for rank in ranks]
        return [choice for choice in kept if self.parameters(choice) < self.parameters(None)]


def bitmask_bits(shape: tuple[int, int]) -> int:
    """Return the size of one bit an entry, rows padded to bytes [bits]."""
    out, columns = shape
    return out * math.ceil(columns / 8) * 8


def csr_bits(shape: tuple[int, int], entries: int) -> int:
    """Return the size of CSR's indices: a column an entry (16 bits where they suffice), 32 bits a row."""
    out, columns = shape
    return entries * (16 if columns <= 2**15 else 32) + (out + 1) * 32


def total(matrices: dict[str, Matrix], choices: Choices | None = None) -> int:
    """Return the parameters of all matrices at these choices, or of all of them dense."""
    return sum(
        m.parameters(None if choices is None else choices[name]) for name, m in matrices.items()
    )


def keep_reached(matrices: dict[str, Matrix], choices: Choices) -> float:
    """Return parameters that remain / parameters before [-]."""
    return total(matrices, choices) / total(matrices)


def by_share(share: float) -> Moments:
    """Return moments at which t·``share`` of the break-even rank is reached, dense at t·share = 1."""

    def moments(matrix: Matrix, choices: list[Choice]) -> NDArray[np.float64]:
        reached = [1.0 if c is None else c.rank / matrix.break_even for c in choices[1:]]
        return np.array(reached) / share

    return moments


def by_measure(measure: Callable[[Choice], float]) -> Moments:
    """Return moments that are a rising measure of the choice before: it is left when t passes that.

    With the energy share kept as the measure, all matrices end with the same share, at least.
    """

    def moments(_matrix: Matrix, choices: list[Choice]) -> NDArray[np.float64]:
        return np.maximum.accumulate(np.array([measure(choice) for choice in choices[:-1]]))

    return moments


def by_loss(loss: Callable[[Choice], float]) -> Moments:
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


def spend(
    matrices: dict[str, Matrix],
    keep: float,
    moments: dict[str, Moments],
    multiple: int,
    floor: float,
) -> Choices:
    """Meet the budget exactly: take the steps of all matrices in the order of their moments.

    Every matrix starts at its floor. The steps of all matrices, up to the one to dense, are sorted by
    moment and taken while they can be paid. So the budget is missed by less than one step, and more
    budget never lowers a rank. Matrices that are not in ``moments`` stay dense. Raises RankwiseError where the floor alone costs more than the budget. Cost: one sort.
    """
    budget = keep * total(matrices)
    choices: Choices = dict.fromkeys(matrices)
    when: list[NDArray[np.float64]] = []
    what: list[tuple[str, Choice]] = []
    for name, matrix in matrices.items():
        ladder: list[Choice] = [*matrix.steps(multiple, floor)]
        if name not in moments or not ladder:
            continue
        ladder.append(None)
        choices[name] = ladder[0]
        when.append(moments[name](matrix, ladder))
        what += [(name, choice) for choice in ladder[1:]]
    spent = total(matrices, choices)
    if spent > budget:
        raise RankwiseError(
            f"keep {keep} asked, but the floor ({floor} of each break-even rank, multiples of {multiple}, matrices left "
            f"dense) alone keeps {spent / total(matrices):.4f}; raise keep or lower allocate.….floor or .multiple"
        )
    order: list[int] = np.argsort(np.concatenate(when), kind="stable").tolist() if when else []
    for name, choice in (what[index] for index in order):
        price = matrices[name].parameters(choice) - matrices[name].parameters(choices[name])
        if spent + price > budget:
            break
        choices[name] = choice
        spent += price
    return choices
