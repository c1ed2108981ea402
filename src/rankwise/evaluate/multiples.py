"""The rank multiple that makes factored linears faster on this device, found by timing them."""

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
"""Share of the time that a multiple must save at least to be recommended [-]."""
REPEATS = 5


@torch.no_grad()
def find_helpful_multiple(model: Any, tokens: int) -> int | None:
    """Return the smallest rank multiple that saves at least `GAIN` of the time per rank, else None.

    Times both products of every kind of factored linear (shape and rank) for ``tokens`` inputs: with
    ranks as they are, and rounded to the nearest multiple. The criterion is the time per rank, because
    rounding also changes the sum of the ranks. Cost: some passes over the model's linears.
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
    """Return the median time of all linears of these ``kinds``, divided by the sum of their ranks [s]."""
    jobs, ranks = [], 0
    for (columns, out, rank), count in kinds.items():
        rounded = max(1, round(rank / multiple)) * multiple
        x, right, left = (
            torch.randn(shape, dtype=like.dtype, device=like.device)
            for shape in ((tokens, columns), (rounded, columns), (out, rounded))
        )
        jobs.append((count, partial(_multiply_factors, x, right, left)))
        ranks += count * rounded
    durations = interleave([partial(time_calls, job, like.device) for _, job in jobs], REPEATS)
    total = sum(count * median(times) for (count, _), times in zip(jobs, durations, strict=True))
    return total / ranks


def _multiply_factors(x: Tensor, right: Tensor, left: Tensor) -> Tensor:
    return functional.linear(functional.linear(x, right), left)
