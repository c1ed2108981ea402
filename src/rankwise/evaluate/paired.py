"""Paired comparison of two runs: bootstrap intervals and McNemar's test on shared windows and items.

Both runs were measured on the same windows and items, and most of the variance is between items. This
module therefore resamples the differences item by item. The interval of a difference is far narrower
than the standard errors of the two scores suggest.

    difference of a mean   percentile bootstrap of the items' differences, run less reference
    of the average         the same, items resampled inside every task, then the mean over tasks
    of right and wrong     McNemar's exact test: of the items on which the two disagree, does either
                           have more than half (two-sided binomial, p = 1/2)?

The bootstrap resamples the test text and the items. An interval does not cover the calibration text,
the seeds, or the choice of one run among many.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from rankwise.errors import RankwiseError
from rankwise.params.report import Report
from rankwise.records.items import Items
from rankwise.records.pairs import Difference, Pair, TaskPair

AT_ONCE = 100
"""Resamples held in memory at a time."""


def pair_runs(run: Items, reference: Items, settings: Report) -> Pair:
    """Compare two runs on every text and task that both were measured on.

    Raises RankwiseError where a text or task of one name has other windows or items in the reference.
    Cost: ``settings.resamples`` means of every text and every task.
    """
    texts = {
        role: [_subtract_items(text.losses, reference.texts[role].losses)]
        for role, text in run.texts.items()
        if _is_shared("text", role, run, reference, "texts")
    }
    tasks = {
        name: _subtract_items(task.acc, reference.tasks[name].acc)
        for name, task in run.tasks.items()
        if _is_shared("task", name, run, reference, "tasks")
    }
    return Pair(
        reference=reference.run,
        losses={role: bootstrap_interval(losses, settings) for role, losses in texts.items()},
        tasks={name: _compare_task(differences, settings) for name, differences in tasks.items()},
        average=bootstrap_interval(list(tasks.values()), settings) if tasks else None,
    )


def bootstrap_interval(samples: Sequence[np.ndarray], settings: Report) -> Difference:
    """Return the mean over ``samples`` of their means, and its bootstrap interval.

    Each of ``samples`` [items] holds at least two paired differences and is resampled on its own. The
    draw depends only on ``settings.seed`` and the numbers of items.
    """
    from scipy.stats import bootstrap

    def statistic(*parts: np.ndarray, axis: int) -> Any:
        return np.mean([part.mean(axis=axis) for part in parts], axis=0)

    result = bootstrap(
        samples,
        statistic,
        n_resamples=settings.resamples,
        batch=AT_ONCE,
        confidence_level=settings.confidence,
        method="percentile",
        rng=np.random.default_rng(settings.seed),
    )
    low, high = result.confidence_interval
    return Difference(mean=float(statistic(*samples, axis=0)), low=float(low), high=float(high))


def mcnemar(gained: int, lost: int) -> float:
    """Return the exact two-sided p-value of McNemar's test; 1 where the two never disagree."""
    from scipy.stats import binomtest

    return float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0


def _compare_task(differences: np.ndarray, settings: Report) -> TaskPair:
    gained, lost = int((differences > 0).sum()), int((differences < 0).sum())
    return TaskPair(
        acc=bootstrap_interval([differences], settings),
        gained=gained,
        lost=lost,
        p=mcnemar(gained, lost),
    )


def _subtract_items(run: Sequence[float], reference: Sequence[float]) -> np.ndarray:
    return np.asarray(run, dtype=np.float64) - np.asarray(reference, dtype=np.float64)


def _is_shared(kind: str, name: str, run: Items, reference: Items, field: str) -> bool:
    """Tell whether both runs have this text or task; refuse one of the same name with other content."""
    ours, theirs = getattr(run, field)[name], getattr(reference, field).get(name)
    if theirs is not None and theirs.sha256 != ours.sha256:
        raise RankwiseError(
            f"{kind} '{name}': runs '{run.run}' and '{reference.run}' were measured on other "
            f"{'windows' if kind == 'text' else 'items'}, which do not pair; evaluate both again"
        )
    return theirs is not None
