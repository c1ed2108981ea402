"""The report command, and a study's results as it reads them."""

from dataclasses import replace
from pathlib import Path

from typer.testing import CliRunner

from rankwise.cli import app
from rankwise.params.report import Report
from rankwise.report.page import render_page
from rankwise.results.files import StudyFiles
from rankwise.results.run import RunResult
from rankwise.results.study import StudyResults
from tests.report.conftest import RUNS

GIVEN = Report(resamples=200)


def report(arguments: list[str]) -> None:
    CliRunner().invoke(app, ["report", *arguments], catch_exceptions=False)


def study_of(study: Path) -> StudyResults:
    """The dense model and the runs that are not refined."""
    names = ["dense", *RUNS]
    files = StudyFiles(
        scores=[study / f"scores/{name}.json" for name in names],
        items=[study / f"items/{name}.json" for name in names],
        speed=[study / f"speed/{name}.json" for name in names],
        allocations=[study / f"allocate/{name}.json" for name in RUNS],
        trials=[study / f"allocate/{name}.trials.jsonl" for name in RUNS],
    )
    return StudyResults.load(files, GIVEN)


def results_of(study: Path) -> list[RunResult]:
    return study_of(study).runs


def page_of(study: Path, results: list[RunResult]) -> str:
    """The page of the study if these were its results."""
    changed = replace(study_of(study), measured=tuple(results))
    return render_page(changed, study / "report/index.html")
