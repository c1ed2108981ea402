"""`rankwise show`: the table with each run's speed, as JSON and on a terminal; and where nothing was run."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rankwise.cli import app
from rankwise.commands.recorded import read_report_paths
from rankwise.errors import RankwiseError
from rankwise.records.speed import SpeedRecord
from rankwise.records.summary import Summary
from tests.report.conftest import REFINED, RUNS
from tests.report.results import report


def show(*arguments: str) -> str:
    return CliRunner().invoke(app, ["show", *arguments], catch_exceptions=False).stdout


def test_every_row_has_the_speed_of_its_record(here: Path, arguments: list[str]) -> None:
    report(arguments)
    rows = json.loads(show("--json"))["rows"]
    assert [row["run"] for row in rows] == ["dense", *RUNS, *REFINED]
    summary = Summary.load(here / "report/summary.json")
    text = show()
    for row, recorded in zip(rows, summary.rows, strict=True):
        speed = SpeedRecord.load(here / f"speed/{row['run']}.json").tokens_per_second
        assert row == recorded.model_dump(mode="json") | {"tokens_per_second": speed}
        assert f"{speed:,.0f}" in text
    assert f"Report: {here}/report/index.html" in text


def test_runs_that_are_not_timed_have_none(here: Path, arguments: list[str]) -> None:
    report(arguments)
    dvc = json.loads(Path("dvc.yaml").read_text())
    words = dvc["stages"]["report"]["cmd"].split()
    while "--speed" in words:
        at = words.index("--speed")
        del words[at : at + 2]
    dvc["stages"]["report"]["cmd"] = " ".join(words)
    Path("dvc.yaml").write_text(json.dumps(dvc))
    assert all(row["tokens_per_second"] is None for row in json.loads(show("--json"))["rows"])
    table = {words[0]: words for line in show().splitlines() if (words := line.split())}
    assert table["svd-80"][-1] == "-"


def test_records_are_those_of_the_recorded_command(here: Path) -> None:
    paths = read_report_paths()
    assert paths.summary == here / "report/summary.json"
    assert {path.stem for path in paths.files.scores} == {"dense", *RUNS, *REFINED}
    results = paths.load_results()
    assert {run.name for run in results.measured} == {"dense", *RUNS, *REFINED}
    assert results.find("svd-80").files["items"] == here / "items/svd-80.json"


def test_a_study_that_was_not_run_is_a_sentence(here: Path) -> None:
    with pytest.raises(RankwiseError, match=r"no .*summary\.json in .*run the study first"):
        show()
    Path("dvc.yaml").write_text("stages: [")
    with pytest.raises(RankwiseError, match=r"dvc\.yaml is not as rankwise prints it"):
        show()
    Path("dvc.yaml").unlink()
    with pytest.raises(RankwiseError, match=r"no dvc\.yaml in .*run the study first"):
        show()
