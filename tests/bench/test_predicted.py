"""The comparison of predicted and measured losses: one matrix at a time, nothing dropped, and it can be wrong."""

import sys
from pathlib import Path

import numpy as np
import pytest

from rankwise.allocate.problem import TrialScore
from rankwise.params.prepare import Corpus, Model
from tests.allocate.problems import SEQUENCES, problem

sys.path.append(str(Path(__file__).parents[2] / "bench"))
import predicted
import predicted_page as page

SHARES = (0.3, 0.6)
SPREAD = np.linspace(-1, 1, SEQUENCES)


def quadratic(factor: float, *, sparse: bool = False):
    """A problem whose loss is 2 and a factor times what the spectra predict, unevenly over sequences."""
    alone = []

    def score(choices, sequences=None):
        lost = {name: case.candidates[name].loss(kept) for name, kept in choices.items() if kept}
        alone.append(len(lost))
        losses = 2 + factor * sum(lost.values()) * (1 + SPREAD)
        return TrialScore(float(np.exp(losses.mean())), sum(lost.values()), tuple(losses))

    case = problem(sparse=sparse, scorer=score)
    return case, alone


@pytest.mark.parametrize("sparse", [False, True])
def test_where_the_loss_is_what_is_predicted_it_is_measured(sparse):
    case, alone = quadratic(1.0, sparse=sparse)
    rows = predicted.measure(case, SHARES)
    assert len(rows) == len(case.candidates) * len(SHARES)
    assert alone == [0] + [1] * len(rows)
    for row in rows:
        assert row["measured"] == pytest.approx(row["predicted"])
        assert row["standard_error"] == pytest.approx(
            row["predicted"] * SPREAD.std(ddof=1) / SEQUENCES**0.5
        )
        assert 0 < row["keep"] <= row["share"]
        assert (row["entries"] > 0) == sparse
    assert list(page.correlations(rows).values()) == pytest.approx([1] * 10)
    assert page.ratios(rows) == [pytest.approx(1)] * 3
    assert page.noisy(rows) == 0


def test_a_loss_that_falls_is_counted_and_not_dropped():
    rows = predicted.measure(quadratic(-1.0)[0], SHARES)
    assert page.correlations(rows)["all"] == pytest.approx(-1)
    assert page.correlations(rows)["kl"] == pytest.approx(1)
    assert page.noisy(rows) == len(rows)


def test_a_model_that_breaks_ranks_above_all_others():
    rows = predicted.measure(quadratic(1.0)[0], SHARES)
    worst = max(rows, key=lambda row: row["predicted"])
    worst["measured"] = None
    assert page.correlations(rows)["all"] == pytest.approx(1)
    least = min(rows, key=lambda row: row["predicted"])
    least["measured"] = None
    assert page.correlations(rows)["all"] < 1


def test_records_become_a_table_and_the_same_figure_each_time(tmp_path):
    rows = predicted.measure(quadratic(2.0)[0], SHARES)
    setting = {"sequences": [8, SEQUENCES], "length": 16, "shares": list(SHARES)}
    facts = {"model": "toy", "setting": setting, "rows": rows}
    records = [
        facts | {"method": "one", "measure": "LOSS"},
        facts | {"method": "other", "measure": "SIZE"},
    ]
    lines = page.table(records).splitlines()
    assert "`one` | 1.000" in lines[2]
    assert "| 2.00 (2.00 to 2.00) | 0 |" in lines[2]
    assert "| – | 0 |" in lines[3]
    assert "42 truncations (21 linears at shares 0.3, 0.6)" in page.sentence(records)
    for name in ("a.svg", "b.svg"):
        page.figure(records, tmp_path / name)
    drawn = (tmp_path / "a.svg").read_bytes()
    assert drawn == (tmp_path / "b.svg").read_bytes()
    assert b"rank correlation 1.00" in drawn


def test_statistics_of_calibration_text_order_what_search_text_loses(tmp_path):
    """The embedded model, far too little text for a result."""
    model = Model(source="embedded", layers=5)
    texts = [Corpus(source=f"embedded/{role}.txt") for role in ("calibration", "search")]
    study = predicted.Study(tmp_path, predicted.Setting(model, *texts, (16, 4), 64))
    study.gather()
    made = study.folder / "fisher.safetensors"
    before = made.stat().st_mtime_ns
    study.gather()
    assert made.stat().st_mtime_ns == before
    rows = predicted.measure(study.problem("kfac"), (0.2, 0.6))
    assert len(rows) == 5 * 7 * 2
    assert page.correlations(rows)["all"] > 0.5
