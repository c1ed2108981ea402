"""Are two runs different, or is it noise? Both were measured on the same windows and items: pairs.

Every window and every item was seen by both, and most of what varies between items is the items. So
differences are taken item by item and only they are resampled: the interval of a difference is far
narrower than the two scores' own errors suggest.

    difference of a mean   percentile bootstrap of the items' differences, run less reference
    of the average         the same, items drawn anew inside every task, then the mean over tasks
    of right and wrong     McNemar's exact test: of the items on which the two disagree, does either
                           have more than half (two-sided binomial, p = 1/2)?

What is resampled is the test text and the items. The calibration text, seeds and the choice of a run
among many are not: an interval says nothing of them.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from rankwise.errors import RankwiseError
from rankwise.params.stages import Report
from rankwise.records.items import Items
from rankwise.records.pairs import Difference, Pair, TaskPair

AT_ONCE = 100
"""Resamples held in memory at a time."""


def pair_runs(run: Items, reference: Items, given: Report) -> Pair:
    """Compare two runs on everything that both were measured on.

    Raises RankwiseError where a text or task of one name holds other windows or items in the other.
    Cost: ``given.resamples`` means of every text and every task.
    """
    texts = {
        role: [_differences(text.losses, reference.texts[role].losses)]
        for role, text in run.texts.items()
        if _same("text", role, run, reference, "texts")
    }
    tasks = {
        name: _differences(task.acc, reference.tasks[name].acc)
        for name, task in run.tasks.items()
        if _same("task", name, run, reference, "tasks")
    }
    return Pair(
        reference=reference.run,
        losses={role: bootstrap_interval(losses, given) for role, losses in texts.items()},
        tasks={name: _task(differences, given) for name, differences in tasks.items()},
        average=bootstrap_interval(list(tasks.values()), given) if tasks else None,
    )


def bootstrap_interval(samples: Sequence[np.ndarray], given: Report) -> Difference:
    """Return the mean over ``samples`` of their means, and its bootstrap interval.

    Each of ``samples`` [items] holds paired differences, two at least, and is resampled by itself.
    The draw depends on ``given.seed`` and the numbers of items alone.
    """
    from scipy.stats import bootstrap

    def statistic(*parts: np.ndarray, axis: int) -> Any:
        return np.mean([part.mean(axis=axis) for part in parts], axis=0)

    found = bootstrap(
        samples,
        statistic,
        n_resamples=given.resamples,
        batch=AT_ONCE,
        confidence_level=given.confidence,
        method="percentile",
        rng=np.random.default_rng(given.seed),
    )
    low, high = found.confidence_interval
    return Difference(mean=float(statistic(*samples, axis=0)), low=float(low), high=float(high))


def mcnemar(gained: int, lost: int) -> float:
    """Return the exact two-sided p-value of McNemar's test; 1 where the two never disagree."""
    from scipy.stats import binomtest

    return float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0


def _task(differences: np.ndarray, given: Report) -> TaskPair:
    gained, lost = int((differences > 0).sum()), int((differences < 0).sum())
    return TaskPair(
        acc=bootstrap_interval([differences], given),
        gained=gained,
        lost=lost,
        p=mcnemar(gained, lost),
    )


def _differences(run: Sequence[float], reference: Sequence[float]) -> np.ndarray:
    return np.asarray(run, dtype=np.float64) - np.asarray(reference, dtype=np.float64)


def _same(kind: str, name: str, run: Items, reference: Items, field: str) -> bool:
    """Tell whether both have it; refuse another text or task of the same name."""
    ours, theirs = getattr(run, field)[name], getattr(reference, field).get(name)
    if theirs is not None and theirs.sha256 != ours.sha256:
        raise RankwiseError(
            f"{kind} '{name}': runs '{run.run}' and '{reference.run}' were measured on other "
            f"{'windows' if kind == 'text' else 'items'}, which do not pair; evaluate both again"
        )
    return theirs is not None
