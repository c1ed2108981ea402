"""MLflow's own server and pages over a filled store, as a person uses them: search, compare."""

import html
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from rankwise.results.files import StudyFiles
from rankwise.tracking.store import fill_mlflow
from tests.browser import BROWSER
from tests.report.conftest import RUNS, TRIALS
from tests.tracking.conftest import all_of
from tests.tracking.server import PATIENCE, ask, serving


@pytest.fixture(scope="module")
def server(
    study: Path, files: StudyFiles, store: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The address of a server over the study's store."""
    fill_mlflow("study", all_of(study, files), store)
    log = tmp_path_factory.mktemp("server") / "log"
    with serving(f"sqlite:///{store}", log) as address:
        yield address


def experiment(server: str) -> str:
    found = ask(server, "experiments/search", max_results=100)["experiments"]
    [number] = [one["experiment_id"] for one in found if one["name"] == "study"]
    return number


def test_the_server_finds_runs_by_our_names(server: str) -> None:
    number = experiment(server)
    condition = "metrics.zero_shot_average > 0.1 and params.allocate = 'hyperopt'"
    found = ask(server, "runs/search", experiment_ids=[number], filter=condition)["runs"]
    assert {run["info"]["run_name"] for run in found} == {"bolaco-80", "bolaco-50"}
    [run] = [run for run in found if run["info"]["run_name"] == "bolaco-80"]
    children = f"tags.`mlflow.parentRunId` = '{run['info']['run_id']}'"
    trials = ask(server, "runs/search", experiment_ids=[number], filter=children)["runs"]
    assert len(trials) == TRIALS
    columns = []
    for name in RUNS:
        named = f"attributes.run_name = '{name}'"
        [one] = ask(server, "runs/search", experiment_ids=[number], filter=named)["runs"]
        columns.append({metric["key"] for metric in one["data"]["metrics"]})
    assert {"perplexity", "zero_shot_average", "keep_reached", "acc.arc"} <= set.intersection(
        *columns
    )


@pytest.mark.skipif(BROWSER is None, reason="no chromium on PATH: apt-get install chromium")
def test_two_runs_compared_in_a_browser(server: str, tmp_path: Path) -> None:
    number = experiment(server)
    names = ("svd-80", "bolaco-80")
    ids = [
        ask(server, "runs/search", experiment_ids=[number], filter=f"attributes.run_name = '{n}'")[
            "runs"
        ][0]["info"]["run_id"]
        for n in names
    ]
    page = (
        f"{server}/#/compare-runs?runs={quote(json.dumps(ids))}"
        f"&experiments={quote(json.dumps([number]))}"
    )
    done = subprocess.run(
        [
            *(str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
            *("--disable-background-networking", "--window-size=1400,1600"),
            *(f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=60000"),
            *("--dump-dom", page),
        ],
        capture_output=True, text=True, timeout=PATIENCE, check=True,
    )  # fmt: skip
    text = html.unescape(re.sub(r"<[^>]+>", " ", done.stdout))
    assert "Comparing 2 Runs" in text
    for shown in (*names, "Parallel Coordinates Plot", "hyperopt", "uniform", "keep_reached"):
        assert shown in text
