"""Which rank multiple would make factored linears faster here: decided by timing them."""

from collections import Counter
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from rankwise.evaluate.speed import interleave, time_calls
from rankwise.hub.linears import LowRankLinear

MULTIPLES = (8, 16, 32, 64)
GAIN = 0.05
"""Least share of the time that a multiple must save to be named [-]."""
REPEATS = 5


@torch.no_grad()
def find_helpful_multiple(model: Any, tokens: int) -> int | None:
    """Return the smallest rank multiple at which a rank costs `GAIN` less time than now, None if there is none.

    Times both products of every kind of factored linear (shape and rank) for ``tokens`` inputs, with
    ranks as they are and rounded to the nearest multiple; what counts is the time a rank, since rounding
    also changes how many there are. Cost: some passes over the model's linears.
    """
    linears = [m for m in model.modules() if isinstance(m, LowRankLinear)]
    kinds = Counter((m.in_features, m.out_features, m.rank) for m in linears)
    if not kinds:
        return None
    like = linears[0].left.weight
    now = _time_ranks(kinds, 1, tokens, like)
    for multiple in MULTIPLES:
        aligned = all(rank % multiple == 0 for _, _, rank in kinds)
        if not aligned and _time_ranks(kinds, multiple, tokens, like) < (1 - GAIN) * now:
            return multiple
    return None


def _time_ranks(
    kinds: Counter[tuple[int, int, int]], multiple: int, tokens: int, like: Tensor
) -> float:
    """Return the median time of all these linears, divided by the sum of their ranks [s]."""
    jobs, ranks = [], 0
    for (columns, out, rank), count in kinds.items():
        rounded = max(1, round(rank / multiple)) * multiple
        x, right, left = (
            torch.randn(shape, dtype=like.dtype, device=like.device)
            for shape in ((tokens, columns), (rounded, columns), (out, rounded))
        )
        jobs.append((count, partial(_product, x, right, left)))
        ranks += count * rounded
    taken = interleave([partial(time_calls, job, like.device) for _, job in jobs], REPEATS)
    spent = sum(count * median(some) for (count, _), some in zip(jobs, taken, strict=True))
    return spent / ranks


def _product(x: Tensor, right: Tensor, left: Tensor) -> Tensor:
    return functional.linear(functional.linear(x, right), left)
