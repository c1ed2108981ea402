"""What factors offer, and the matrix that each choice stands for."""

from rankwise.budget.costs import Kept


def choices(factors):
    """All that the factors offer, the least first."""
    if factors.sparse is None:
        return [Kept(rank) for rank in range(1, factors.max_rank + 1)]
    return list(factors.sparse.choices())


def approximation(factors, kept):
    """What stands for the weight at a choice."""
    low = factors.left[:, : kept.rank] @ factors.right[: kept.rank]
    if factors.sparse is None:
        return low
    return low + factors.sparse.dense(kept.entries, factors.shape)
