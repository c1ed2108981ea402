"""MLflow, filled from files: an index of the study that can be thrown away and rebuilt.

Each run carries the hash of what it was filled from, written last. A run with the same hash is left
alone; one with another hash, or one that was cut off, is replaced together with its trials. Runs that
the study no longer has stay where they are. Nothing else is read back from MLflow, and no other file
imports it.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel
from tqdm import tqdm

from rankwise.errors import RankwiseError, without_passwords
from rankwise.files.atomic import atomic_write
from rankwise.records.base import Record
from rankwise.tracking.entries import Entry

if TYPE_CHECKING:
    from mlflow import MlflowClient

RUN_TAG, HASH_TAG = "rankwise.run", "rankwise.sha256"
PARENT_TAG, NAME_TAG = "mlflow.parentRunId", "mlflow.runName"
TRIAL_METRICS = ("objective", "perplexity", "kl", "keep_reached")
PARAMS_AT_ONCE, METRICS_AT_ONCE = 100, 900
"""MLflow takes at most so many in one batch [-]."""


class TrackedRun(BaseModel):
    """Where a run is in MLflow."""

    run_id: str
    sha256: str
    """Of everything that was logged for it."""


class Tracked(Record):
    """What MLflow holds of this study."""

    schema_name: ClassVar[str] = "rankwise/tracked@1"
    experiment: str
    runs: dict[str, TrackedRun]


def fill_mlflow(experiment: str, entries: list[Entry], store: Path) -> Tracked:
    """Bring MLflow's experiment up to date with the study; return where every run is.

    The store is ``MLFLOW_TRACKING_URI`` if that is set, and else the SQLite file ``store``, with
    artifacts in a folder beside it; it is made if it is not there (about 6 s).
    """
    with _explain_errors(store):
        return _fill_experiment(experiment, entries, store)


def _fill_experiment(experiment: str, entries: list[Entry], store: Path) -> Tracked:
    client, experiment_id = _open(experiment, store)
    there = _present(client, experiment_id)
    tracked = {}
    for entry in tqdm(entries, "track", disable=None, leave=False):
        present = there.get(entry.name, [])
        same = [run for run in present if run.data.tags.get(HASH_TAG) == entry.sha256]
        for run in present:
            if run not in same[:1]:
                _delete(client, experiment_id, run.info.run_id)
        run_id = same[0].info.run_id if same else _log(client, experiment_id, entry)
        tracked[entry.name] = TrackedRun(run_id=run_id, sha256=entry.sha256)
    return Tracked(experiment=experiment, runs=tracked)


@contextmanager
def _explain_errors(store: Path) -> Iterator[None]:
    """Say in a sentence what MLflow or its database refuses: a full disk, a server that is not there."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError) as error:  # the second when a commit is refused
        where = os.environ.get("MLFLOW_TRACKING_URI") or str(store)
        said = str(error).strip().partition("\n")[0][:300]
        raise RankwiseError(
            without_passwords(
                f"track: {where} could not be brought up to date ({said}); make room there or look whether the server "
                "runs, then run the same again: nothing else depends on it"
            )
        ) from error


def _open(experiment: str, store: Path) -> tuple[MlflowClient, str]:
    """Return a client and the experiment's id, which is made if it is not there."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    remote = os.environ.get("MLFLOW_TRACKING_URI")
    location = None if remote else (store.parent / "artifacts").resolve().as_uri()
    if location is not None:
        store.parent.mkdir(parents=True, exist_ok=True)
        _drop_if_moved(experiment, store, location)
    from mlflow import MlflowClient

    logging.getLogger("mlflow").setLevel(logging.WARNING)
    address = remote or f"sqlite:///{store.resolve()}"
    if remote is None and "?" in address:
        raise RankwiseError(
            f"{store.resolve()}: MLflow cannot have '?' in the path of its store; rename the folder of the study"
        )
    if remote is None and not store.exists():
        _make(store)
    with chdir(tempfile.gettempdir()):  # MLflow writes the folder it is in, unquoted, into SQL
        client = MlflowClient(address)
    there = client.get_experiment_by_name(experiment)
    if there is None:
        return client, client.create_experiment(experiment, artifact_location=location)
    if there.lifecycle_stage != "active":
        client.restore_experiment(there.experiment_id)
    return client, there.experiment_id


def _make(store: Path) -> None:
    """Make an empty store, whole or not at all: of half its tables MLflow would never make the rest."""
    from mlflow import MlflowClient

    try:
        with atomic_write(store) as temporary:
            address = f"sqlite:///{temporary.resolve()}"
            with chdir(tempfile.gettempdir()):
                MlflowClient(address).search_experiments(max_results=1)
    finally:
        for journal in store.parent.glob(f".{store.name}.*.tmp-journal"):  # SQLite's
            journal.unlink()


def _drop_if_moved(experiment: str, store: Path, location: str) -> None:
    """Drop a store that came with a copied or moved study: its artifacts would go to the old place."""
    if not store.exists():
        return
    query = "SELECT artifact_location FROM experiments WHERE name = ?"
    try:
        connection = sqlite3.connect(store)
        found = connection.execute(query, (experiment,)).fetchone()
        connection.close()
    except sqlite3.DatabaseError as error:
        raise RankwiseError(
            f"{store}: is no MLflow store ({error}); delete it, it is rebuilt"
        ) from error
    if found is not None and found[0] != location:
        store.unlink()


def _present(client: MlflowClient, experiment_id: str) -> dict[str, list[Any]]:
    """Return the study's runs that MLflow holds, by name, trials left out."""
    there: dict[str, list[Any]] = {}
    for run in _search(client, experiment_id, f"tags.`{RUN_TAG}` != ''"):
        there.setdefault(run.data.tags[RUN_TAG], []).append(run)
    return there


def _search(client: MlflowClient, experiment_id: str, condition: str) -> list[Any]:
    """Return all runs that meet a condition, over all pages."""
    found: list[Any] = []
    page = None
    while True:
        runs = client.search_runs([experiment_id], condition, max_results=1000, page_token=page)
        found += runs
        page = runs.token
        if not page:
            return found


def _delete(client: MlflowClient, experiment_id: str, run_id: str) -> None:
    for trial in _search(client, experiment_id, f"tags.`{PARENT_TAG}` = '{run_id}'"):
        client.delete_run(trial.info.run_id)
    client.delete_run(run_id)


def _log(client: MlflowClient, experiment_id: str, entry: Entry) -> str:
    """Log one run, its trials, and last the hash that says that it is whole."""
    tags = {RUN_TAG: entry.name, NAME_TAG: entry.name}
    run_id = client.create_run(experiment_id, tags=tags).info.run_id
    steps = [
        (f"search.{key}", *step) for key in TRIAL_METRICS for step in _steps(entry.trials, key)
    ]
    _log_values(
        client, run_id, entry.parameters, [(k, v, 0) for k, v in entry.metrics.items()] + steps
    )
    for trial in entry.trials:
        _log_trial(client, experiment_id, run_id, trial)
    files = {file.path: {"sha256": file.sha256, "bytes": file.bytes} for file in entry.files}
    client.log_dict(run_id, files, "files.json")
    for path in entry.attached:
        client.log_artifact(run_id, str(path), path.parent.name)
    client.set_terminated(run_id)
    client.set_tag(run_id, HASH_TAG, entry.sha256)
    return run_id


def _log_trial(
    client: MlflowClient, experiment_id: str, parent: str, trial: dict[str, Any]
) -> None:
    """Log one trial as a child run: its point as parameters, its scores as metrics."""
    tags = {PARENT_TAG: parent, NAME_TAG: f"trial {trial['trial']}"}
    run_id = client.create_run(experiment_id, tags=tags).info.run_id
    point = {
        f"{name}.{key}": str(value)
        for name, space in (("share", "shares"), ("loss", "losses"))
        for key, value in trial.get(space, {}).items()
    }
    scores = [(key, value, 0) for key in TRIAL_METRICS for value, _ in _steps([trial], key)]
    _log_values(client, run_id, {"trial": str(trial["trial"]), **point}, scores)
    client.set_terminated(run_id, "FINISHED" if trial["status"] == "ok" else "FAILED")


def _steps(trials: list[dict[str, Any]], key: str) -> list[tuple[float, int]]:
    """Return (value, trial) of every trial that has the value."""
    return [(row[key], row["trial"]) for row in trials if row.get(key) is not None]


def _log_values(
    client: MlflowClient,
    run_id: str,
    parameters: dict[str, str],
    metrics: list[tuple[str, float, int]],
) -> None:
    """Log parameters and (name, value, step) metrics in batches that MLflow takes."""
    from mlflow.entities import Metric, Param

    now = time.time_ns() // 1_000_000
    params = [Param(key, value) for key, value in parameters.items()]
    values = [Metric(name, value, now, step) for name, value, step in metrics]
    while params or values:
        client.log_batch(run_id, metrics=values[:METRICS_AT_ONCE], params=params[:PARAMS_AT_ONCE])
        params, values = params[PARAMS_AT_ONCE:], values[METRICS_AT_ONCE:]
