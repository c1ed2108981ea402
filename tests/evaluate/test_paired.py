"""Paired differences against independent computations, and what an interval is for: coverage."""

import math

import numpy as np
import pytest

from rankwise.errors import RankwiseError
from rankwise.evaluate.paired import bootstrap_interval, mcnemar, pair_runs
from rankwise.params.report import Report
from rankwise.records.items import Items, TaskItems, TextItems

GIVEN = Report(resamples=500)


def items(run: str, losses: list[float], acc: list[bool], sha: str = "a") -> Items:
    return Items(
        run=run,
        texts={"test": TextItems(sha256=sha, losses=losses)},
        tasks={"one": TaskItems(sha256=sha, acc=acc), "two": TaskItems(sha256="b", acc=acc[::-1])},
    )


def test_mcnemar_by_hand() -> None:
    assert mcnemar(0, 0) == 1
    assert mcnemar(3, 3) == 1
    for gained, lost in ((1, 8), (8, 1), (0, 5), (12, 4)):
        n, k = gained + lost, min(gained, lost)
        tail = sum(math.comb(n, i) for i in range(k + 1)) / 2**n
        assert mcnemar(gained, lost) == pytest.approx(min(1, 2 * tail), rel=1e-12)


def test_interval_is_that_of_a_plain_bootstrap() -> None:
    rng = np.random.default_rng(3)
    values = rng.normal(0.1, 1, 200)
    means = [rng.choice(values, 200).mean() for _ in range(20_000)]
    found = bootstrap_interval([values], GIVEN.model_copy(update={"resamples": 20_000}))
    assert found.mean == pytest.approx(values.mean(), rel=1e-12)
    assert (found.low, found.high) == pytest.approx(np.quantile(means, (0.025, 0.975)), abs=0.005)
    assert bootstrap_interval([values], GIVEN) == bootstrap_interval([values], GIVEN)
    assert bootstrap_interval([values], GIVEN) != bootstrap_interval(
        [values], GIVEN.model_copy(update={"seed": 1})
    )


def test_tasks_are_resampled_apart() -> None:
    """The spread inside a task counts, the one between tasks does not; each task weighs the same."""
    found = bootstrap_interval([np.zeros(9), np.ones(400)], GIVEN)
    assert (found.mean, found.low, found.high) == (0.5, 0.5, 0.5)


def test_ninety_five_of_a_hundred_intervals_hold_the_truth() -> None:
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(200):
        difference = rng.choice([-1.0, 0.0, 1.0], size=150, p=[0.1, 0.75, 0.15])
        found = bootstrap_interval([difference], GIVEN.model_copy(update={"resamples": 200}))
        held += found.low <= 0.05 <= found.high
    assert 178 <= held <= 199


def test_pairs() -> None:
    dense = items("dense", [1.0, 2.0, 3.0], [True, False, True, True])
    run = items("run", [1.5, 2.5, 3.5], [False, False, True, True])
    found = pair_runs(run, dense, GIVEN)
    assert found.losses["test"].model_dump() == {"mean": 0.5, "low": 0.5, "high": 0.5}
    assert not found.losses["test"].noise
    assert (found.tasks["one"].gained, found.tasks["one"].lost, found.tasks["one"].p) == (0, 1, 1)
    assert found.tasks["one"].acc.mean == -0.25
    assert found.average is not None
    assert found.average.mean == -0.25
    assert found.average.noise
    same = pair_runs(dense, dense, GIVEN)
    assert same.average is not None
    assert same.average.model_dump() == {"mean": 0, "low": 0, "high": 0}
    assert same.average.noise


def test_other_windows_do_not_pair() -> None:
    dense = items("dense", [1.0, 2.0], [True, False])
    other = items("run", [1.0, 2.0], [True, False], sha="c")
    with pytest.raises(
        RankwiseError, match=r"text 'test': runs 'run' and 'dense' .* other windows"
    ):
        pair_runs(other, dense, GIVEN)
    fewer = other.model_copy(update={"texts": {}, "tasks": {}})
    assert pair_runs(fewer, dense, GIVEN).average is None
