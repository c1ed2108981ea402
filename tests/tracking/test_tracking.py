"""MLflow is filled from files: once, again, after a change, after a loss."""

import json
import resource
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from rankwise.errors import RankwiseError
from rankwise.files.atomic import write_json, write_text
from rankwise.files.checksummed import with_checksum
from rankwise.records.items import Items
from rankwise.results.files import StudyFiles
from rankwise.tracking import store
from rankwise.tracking.store import HASH_TAG, Tracked, _drop_if_moved, fill_mlflow
from tests.report.conftest import FAILED_TRIAL, RUNS, TRIALS
from tests.tracking.conftest import all_of

ALL = 6 + 2 * TRIALS
"""Runs and trials in MLflow."""


def client_of(store: Path) -> tuple[MlflowClient, str]:
    client = MlflowClient(f"sqlite:///{store}")
    return client, client.get_experiment_by_name("study").experiment_id


def runs_of(store: Path, condition: str = "") -> list[Any]:
    client, experiment = client_of(store)
    return list(client.search_runs([experiment], condition))


def change(path: Path, **values: object) -> None:
    write_json(path, with_checksum(json.loads(path.read_text()) | values))


def test_runs_compare_by_name(study: Path, files: StudyFiles, store: Path) -> None:
    tracked = fill_mlflow("study", all_of(study, files), store)
    assert list(tracked.runs) == ["dense", *RUNS]
    client, _ = client_of(store)
    assert len(runs_of(store)) == ALL
    found = runs_of(store, "metrics.zero_shot_average > 0.1 and params.allocate = 'hyperopt'")
    assert {run.info.run_name for run in found} == {"bolaco-80", "bolaco-50"}
    scores = json.loads((study / "scores/bolaco-80.json").read_text())
    run = client.get_run(tracked.runs["bolaco-80"].run_id)
    assert run.data.metrics["perplexity"] == scores["perplexity"]
    items = [Items.load(study / f"items/{name}.json") for name in ("bolaco-80", "dense")]
    above = [sum(one.texts["test"].losses) / 182 for one in items]
    assert run.data.metrics["loss_above_dense.test.mean"] == pytest.approx(above[0] - above[1])
    assert run.data.metrics["acc_above_dense.low"] <= run.data.metrics["acc_above_dense.high"]
    assert run.data.metrics["acc.arc"] == scores["zero_shot"]["arc"]["acc"]
    assert {"tokens_per_second", "keep_reached", "checkpoint_bytes"} <= set(run.data.metrics)
    assert run.data.params["keep"] == "0.8"
    assert run.data.params["allocate.trials"] == str(TRIALS)
    assert run.info.status == "FINISHED"
    steps = client.get_metric_history(run.info.run_id, "search.objective")
    assert sorted(step.step for step in steps) == [i for i in range(TRIALS) if i != FAILED_TRIAL]


def test_trials_are_children(study: Path, files: StudyFiles, store: Path) -> None:
    tracked = fill_mlflow("study", all_of(study, files), store)
    parent = tracked.runs["bolaco-50"].run_id
    trials = runs_of(store, f"tags.mlflow.parentRunId = '{parent}'")
    assert len(trials) == TRIALS
    [failed] = [trial for trial in trials if trial.info.status == "FAILED"]
    assert failed.info.run_name == f"trial {FAILED_TRIAL}"
    assert set(failed.data.metrics) == {"keep_reached"}
    assert "share.qk.0" in failed.data.params


def test_artifacts_by_path_and_hash(study: Path, files: StudyFiles, store: Path) -> None:
    tracked = fill_mlflow("study", all_of(study, files), store)
    client, _ = client_of(store)
    attached = client.list_artifacts(tracked.runs["dense"].run_id, "report")
    assert [file.path for file in attached] == ["report/index.html"]
    here = client.download_artifacts(tracked.runs["svd-80"].run_id, "files.json")
    listed = json.loads(Path(here).read_text())
    weights = f"{study}/checkpoints/svd-80/model.safetensors"
    assert listed[weights] == {"sha256": "ab" * 32, "bytes": 1000}
    assert f"{study}/allocate/svd-80.json" in listed
    assert not list((study / "mlflow").rglob("*.safetensors"))


def test_twice_is_once(study: Path, files: StudyFiles, store: Path) -> None:
    first = fill_mlflow("study", all_of(study, files), store)
    assert fill_mlflow("study", all_of(study, files), store) == first
    assert len(runs_of(store)) == ALL


def test_changed_record_is_replaced(study: Path, files: StudyFiles, store: Path) -> None:
    first = fill_mlflow("study", all_of(study, files), store)
    path = study / "scores/bolaco-80.json"
    before = json.loads(path.read_text())["perplexity"]
    change(path, perplexity=99.0)
    second = fill_mlflow("study", all_of(study, files), store)
    change(path, perplexity=before)
    same = {name for name in first.runs if first.runs[name] == second.runs[name]}
    assert same == {"dense", *RUNS} - {"bolaco-80"}
    assert len(runs_of(store)) == ALL
    [run] = runs_of(store, "attributes.run_name = 'bolaco-80'")
    assert run.data.metrics["perplexity"] == 99.0


def test_run_cut_off_is_replaced(study: Path, files: StudyFiles, store: Path) -> None:
    first = fill_mlflow("study", all_of(study, files), store)
    client, _ = client_of(store)
    client.delete_tag(first.runs["svd-50"].run_id, HASH_TAG)
    second = fill_mlflow("study", all_of(study, files), store)
    assert first.runs["svd-50"].run_id != second.runs["svd-50"].run_id
    assert len(runs_of(store)) == ALL


def test_deleted_experiment_comes_back(study: Path, files: StudyFiles, store: Path) -> None:
    fill_mlflow("study", all_of(study, files), store)
    client, experiment = client_of(store)
    client.delete_experiment(experiment)
    fill_mlflow("study", all_of(study, files), store)
    assert len(runs_of(store)) == ALL


def track(study: Path, files: StudyFiles, store: Path) -> Tracked:
    """The stage, in a process of its own."""
    write_json(study / "params/track.json", {"experiment": "study"})
    out = study / "track/tracked.json"
    options = {
        "--params": [study / "params/track.json"],
        "--report": [study / "params/report.json"],
        "--page": [study / "report/index.html"],
        "--scores": files.scores,
        "--items": files.items,
        "--speed": files.speed,
        "--allocation": files.allocations,
        "--trials": files.trials,
        "--checkpoint": files.checkpoints,
        "--store": [store],
        "--out": [out],
    }
    words = [word for option, paths in options.items() for path in paths for word in (option, path)]
    command = [sys.executable, "-m", "rankwise", "track", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[0] == "rankwise.track: 6 runs in experiment 'study'"
    return Tracked.load(out)


def test_lost_store_is_rebuilt(study: Path, files: StudyFiles, store: Path) -> None:
    """A tracked.json that says all is there is no reason to believe it."""
    lost = study / "lost/mlflow.db"
    first = fill_mlflow("study", all_of(study, files), store)
    first.save(study / "track/tracked.json")
    second = track(study, files, lost)
    assert first.runs.keys() == second.runs.keys()
    assert all(first.runs[name].sha256 == second.runs[name].sha256 for name in first.runs)
    assert first.runs["dense"].run_id != second.runs["dense"].run_id
    assert len(runs_of(lost)) == ALL
    assert list(Path.cwd().iterdir()) == []  # no mlruns, no mlflow.db


def test_a_disk_that_fills_while_the_store_is_made_leaves_none(tmp_path: Path) -> None:
    """Half of MLflow's tables would stop every run after it."""
    store, before = tmp_path / "store/mlflow.db", resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))  # Python ignores the signal
    try:
        with pytest.raises(RankwiseError, match="could not be"):
            fill_mlflow("full", [], store)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(store.parent.iterdir()) == []
    again = "import sys, pathlib; from rankwise.tracking.store import fill_mlflow; fill_mlflow('full', [], pathlib.Path(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", again, str(store)], check=True)
    names = [each.name for each in MlflowClient(f"sqlite:///{store}").search_experiments()]
    assert "full" in names


def test_copied_study_does_not_write_into_the_original(
    study: Path, tmp_path: Path, files: StudyFiles, store: Path
) -> None:
    fill_mlflow("study", all_of(study, files), store)
    here = (store.parent / "artifacts").as_uri()
    _drop_if_moved("study", store, here)
    assert store.exists()
    copied = tmp_path / "copy.db"
    copied.write_bytes(store.read_bytes())
    _drop_if_moved("study", copied, (tmp_path / "artifacts").as_uri())
    assert not copied.exists()


def test_another_tracking_uri(
    study: Path, tmp_path: Path, files: StudyFiles, template: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other.db"
    shutil.copy(template, other)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{other}")
    fill_mlflow("study", all_of(study, files)[1:2], tmp_path / "nowhere/mlflow.db")
    assert len(runs_of(other)) == 1
    assert not (tmp_path / "nowhere").exists()


def test_mlflow_is_filled_from_records_alone(study: Path, files: StudyFiles) -> None:
    """A table that says other numbers, or is not there, changes nothing; a speed record does."""
    write_text(study / "report/summary.json", "{}")
    before = {entry.name: entry for entry in all_of(study, files)}
    (study / "report/summary.json").unlink()
    path = study / "speed/svd-80.json"
    whole = path.read_text()
    rate = {"median": 1.0, "quartiles": [1.0, 1.0]}
    points = json.loads(whole)["points"]
    change(path, points=[point | {"prefill": rate} for point in points])
    after = {entry.name: entry for entry in all_of(study, files)}
    path.write_text(whole)
    assert after["svd-80"].metrics["tokens_per_second"] == 1.0
    assert {name for name in before if before[name].sha256 != after[name].sha256} == {"svd-80"}


def test_a_run_whose_records_are_not_all_there_is_left_out(study: Path, files: StudyFiles) -> None:
    gone = [
        study / "nowhere/svd-80.json" if "svd-80" in path.name else path for path in files.items
    ]
    left = all_of(study, replace(files, items=gone))
    assert [entry.name for entry in left] == ["dense", *(name for name in RUNS if name != "svd-80")]


def test_bad_input_is_a_sentence(study: Path) -> None:
    (study / "text.db").write_text("no database, but a text of some length" * 100)
    with pytest.raises(RankwiseError, match=r"text\.db: is no MLflow store"):
        fill_mlflow("study", [], study / "text.db")


@pytest.mark.parametrize(
    ("address", "says"),
    [
        (None, r"track: .*mlflow\.db could not be brought up to date \(.*disk"),
        ("http://me:canary@127.0.0.1:9", r"track: http://…@127\.0\.0\.1:9 could not be brought"),
    ],
)
def test_a_store_that_refuses_is_one_sentence_without_password(
    monkeypatch: pytest.MonkeyPatch, study: Path, tmp_path: Path, address: str | None, says: str
) -> None:
    """A full disk; a server that is not there."""

    def full(*_: object) -> None:
        raise MlflowException("(sqlite3.OperationalError) disk I/O error\n[SQL: UPDATE]")

    if address is None:
        monkeypatch.setattr(store, "_present", full)
    else:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(RankwiseError, match=says) as error:
        fill_mlflow("it", [], tmp_path / "mlflow.db")
    assert "canary" not in str(error.value)
