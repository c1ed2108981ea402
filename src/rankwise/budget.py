"""The budget: what a matrix costs at a rank, and how shares become ranks that meet ``keep``.

``keep`` = parameters that remain / parameters before, over the linears of the decoder blocks, biases
counted. This module is the only place where that is computed.
"""

import math
from dataclasses import dataclass

import numpy as np

from rankwise.errors import RankwiseError

Ranks = dict[str, int | None]
"""Linear → rank; ``None``: left dense."""


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

    @property
    def break_even(self) -> float:
        """Rank at which two factors hold as many numbers as the weight: out·in / (out + in)."""
        return math.prod(self.shape) / sum(self.shape)

    def parameters(self, rank: int | None) -> int:
        """Return weights and bias that remain at ``rank``, or of the dense linear."""
        out, _ = self.shape
        if rank is None:
            return math.prod(self.shape) + out * self.bias
        return rank * sum(self.shape) + out * self.factored_bias

    def steps(self, multiple: int, floor: float) -> list[int]:
        """Return the ranks to choose from: multiples from the floor on that are cheaper than dense."""
        if self.max_rank == 0:
            return []
        first = max(1, math.ceil(floor * self.break_even / multiple)) * multiple
        ranks = list(range(first, self.max_rank + 1, multiple)) or [self.max_rank]
        return [rank for rank in ranks if self.parameters(rank) < self.parameters(None)]


def total(matrices: dict[str, Matrix], ranks: Ranks | None = None) -> int:
    """Return the parameters of all matrices at these ranks, or of all of them dense."""
    return sum(m.parameters(None if ranks is None else ranks[name]) for name, m in matrices.items())


def keep_reached(matrices: dict[str, Matrix], ranks: Ranks) -> float:
    """Return parameters that remain / parameters before [-]."""
    return total(matrices, ranks) / total(matrices)


def spend(
    matrices: dict[str, Matrix], keep: float, shares: dict[str, float], multiple: int, floor: float
) -> Ranks:
    """Map relative ``shares`` onto the budget exactly: the largest t with all ranks t·share affordable.

    Every rank step of a matrix happens at the t where ``t · share`` reaches it, the step from the
    last rank to dense at ``t · share = 1``. The steps of all matrices are sorted by t and taken while
    they can be paid. So the budget is missed by less than one step, scaling all shares changes
    nothing, and more budget never lowers a rank. Matrices that are not in ``shares`` stay dense.
    Raises RankwiseError where the floor alone costs more than the budget. Cost: one sort.
    """
    budget = keep * total(matrices)
    ranks: Ranks = dict.fromkeys(matrices)
    when, what, price = [], [], []
    for name, matrix in matrices.items():
        choices: list[int | None] = [*matrix.steps(multiple, floor)]
        if name not in shares or not choices:
            continue
        ranks[name] = choices[0]
        for before, after in zip(choices, [*choices[1:], None], strict=True):
            reached = 1.0 if after is None else after / matrix.break_even
            when.append(reached / shares[name])
            what.append((name, after))
            price.append(matrix.parameters(after) - matrix.parameters(before))
    spent = total(matrices, ranks)
    if spent > budget:
        raise RankwiseError(
            f"keep {keep} asked, but the floor ({floor} of each break-even rank, multiples of {multiple}, matrices left "
            f"dense) alone keeps {spent / total(matrices):.4f}; raise keep or lower allocate.….floor or .multiple"
        )
    order = np.argsort(np.array(when), kind="stable")
    affordable = spent + np.cumsum(np.array(price)[order]) <= budget
    count = int(np.argmin(affordable)) if not affordable.all() else len(order)
    for index in order[:count]:
        name, rank = what[index]
        ranks[name] = rank
    return ranks
