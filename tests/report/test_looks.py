"""How runs look in the figures: no two alike, with colours or without; what the figures of speed hold."""

import math
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from rankwise.params.target import Target
from rankwise.records.asked import target_fields
from rankwise.report.figures import accuracy_by_task
from rankwise.report.spectra import spectra_figure
from rankwise.report.speeds import LONGEST, speed_beside_dense
from rankwise.report.styles import COLORS, DENSE_SYMBOL, SYMBOLS, Styles
from rankwise.results.decompositions import Decomposition
from rankwise.results.run import RunResult
from tests.report.results import results_of


def grid(study: Path, methods: int, budgets: int) -> list[RunResult]:
    """Dense, and a run for every method and budget."""
    dense, base, *_ = results_of(study)
    assert base.allocation is not None
    found = [dense]
    for method, budget in product(range(methods), range(budgets)):
        fields = target_fields(Target("keep", 0.95 - 0.05 * budget)) | {"run": f"{method}-{budget}"}
        allocation = base.allocation.model_copy(update={"decompose": f"method{method}"})
        scores = base.scores.model_copy(update=fields)
        found.append(replace(base, scores=scores, allocation=allocation))
    return found


def test_more_runs_than_colours_look_apart(study: Path) -> None:
    results = grid(study, methods=2 * len(COLORS), budgets=12)
    styles = Styles(results)
    assert len({(styles.color(r), styles.symbol(r)) for r in results}) == len(results)


def test_runs_are_told_apart_without_colours(study: Path) -> None:
    results = grid(study, methods=11, budgets=4)
    styles = Styles(results)
    assert len({styles.symbol(r) for r in results}) == len(results)


def test_every_marker_has_an_outline_for_the_legend_that_plotly_draws_too(study: Path) -> None:
    from plotly.validator_cache import ValidatorCache

    known = ValidatorCache.get_validator("scatter.marker", "symbol").values
    results = grid(study, methods=11, budgets=4)
    styles = Styles(results)
    for symbol in [DENSE_SYMBOL, *map(styles.symbol, results)]:
        assert symbol in known
        assert symbol.replace("-open", "").replace("-dot", "") in SYMBOLS


def test_a_run_in_steps_is_another_method(study: Path) -> None:
    _, base, *_ = results_of(study)
    dense, stepped = (replace(base, origin=origin) for origin in ("dense", "svd-80--step2"))
    assert dense.method == base.method == "svd + uniform"
    assert stepped.method == "svd + uniform in 3 steps"


def test_lines_of_spectra_are_told_apart_without_colours() -> None:
    import numpy as np

    kinds = {name: name for name in ("q", "k", "v", "o", "gate", "up")}
    made = Decomposition("dense", "svd", "svd", {name: np.array([2.0, 1.0]) for name in kinds})
    lines = spectra_figure(made, kinds)["data"]
    assert len({line["line"]["dash"] for line in lines}) == len(kinds)


@pytest.mark.parametrize("phase", ["prefill", "decode"])
def test_speed_is_a_factor_of_dense_with_its_quartiles(study: Path, phase: str) -> None:
    results = results_of(study)
    figure = speed_beside_dense(results, phase)  # type: ignore[arg-type]
    assert [trace["name"] for trace in figure["data"]] == ["batch 1", "batch 8"]
    for place, trace in enumerate(figure["data"]):
        assert trace["y"] == [result.name for result in results]
        for row, result in enumerate(results):
            ours = getattr(result.speed.points[place], phase)
            dense = getattr(result.speed.dense[place], phase).median
            low = trace["x"][row] - trace["error_x"]["arrayminus"][row]
            high = trace["x"][row] + trace["error_x"]["array"][row]
            assert math.isclose(trace["x"][row], ours.median / dense)
            assert math.isclose(low, ours.quartiles[0] / dense)
            assert math.isclose(high, ours.quartiles[1] / dense)


def test_a_name_that_reads_as_a_date_or_number_is_a_row_all_the_same(study: Path) -> None:
    results = results_of(study)
    assert speed_beside_dense(results, "prefill")["layout"]["yaxis"]["type"] == "category"
    assert accuracy_by_task(results)["layout"]["yaxis"]["type"] == "category"


def test_a_long_name_leaves_room_for_its_row(study: Path) -> None:
    dense, run, *_ = results_of(study)
    long = replace(run, scores=run.scores.model_copy(update={"run": "a" * 60}))
    axis = speed_beside_dense([dense, long], "prefill")["layout"]["yaxis"]
    assert axis["ticktext"] == ["dense", "a" * (LONGEST - 1) + "…"]
