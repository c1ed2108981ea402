"""MLflow's server over PostgreSQL: what either engine ran, filled at the same time, stands side by side."""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.tracking.server import PATIENCE, ask, free_port, serving
from tests.workflow.studies import Study
from tools.cluster.local import install

ENGINES = ("snakemake", "dvc")
SERVER = Path("/usr/lib/postgresql")
"""Where Debian's package puts its versions."""


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a PostgreSQL of its own, on loopback."""
    pytest.importorskip("psycopg2", reason="no psycopg2 (extra: dev)")
    if not list(SERVER.glob("*/bin/initdb")):
        if os.geteuid() != 0:
            pytest.skip("no PostgreSQL, and no right to install Debian's package")
        if reason := install("pg_ctlcluster", "postgresql"):
            pytest.skip(reason)
    binaries = max(SERVER.glob("*/bin"))
    folder, port = tmp_path_factory.mktemp("postgres"), free_port()
    # It refuses to be root; another user must be able to reach its folder.
    who: list[str] = []
    if os.geteuid() == 0:
        who = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        for above in [folder, *folder.parents[:-2]]:
            above.chmod(above.stat().st_mode | 0o011)
        subprocess.run(["chown", "postgres", folder], check=True)
    data = folder / "data"
    made = ["-D", str(data), "--username=mlflow", "--auth=trust", "--no-sync"]
    subprocess.run([*who, str(binaries / "initdb"), *made], check=True, capture_output=True)
    options = ["-D", data, "-k", folder, "-p", str(port), "-h", "127.0.0.1", "-F"]
    log = folder / "log"
    with log.open("w") as told:
        server = subprocess.Popen([*who, binaries / "postgres", *options], stdout=told, stderr=told)
    try:
        end = time.monotonic() + PATIENCE
        ready = [binaries / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
        while subprocess.run(ready, check=False).returncode:
            assert server.poll() is None and time.monotonic() < end, log.read_text()
            time.sleep(0.1)
        yield f"postgresql://mlflow@127.0.0.1:{port}/postgres"
    finally:
        server.terminate()
        server.wait()


def test_runs_of_both_engines_filled_at_once_stand_side_by_side(
    database: str, both: tuple[Study, Study], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    studies = [study.copy(tmp_path / name) for study, name in zip(both, ENGINES, strict=True)]
    for study, name in zip(studies, ENGINES, strict=True):
        study.change(f"track.experiment='study by {name}'")
    run = ("python", "-m", "rankwise", "run", "--engine")
    where = ("--artifacts-destination", str(tmp_path / "artifacts"))
    with serving(database, tmp_path / "server.log", *where) as address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        with ThreadPoolExecutor() as pool:
            jobs = [
                pool.submit(study.do, *run, name)
                for study, name in zip(studies, ENGINES, strict=True)
            ]
            for job in jobs:
                job.result()
        there = ask(address, "experiments/search", max_results=10)["experiments"]
        numbers = {one["name"]: one["experiment_id"] for one in there}
        tables = [_table(address, numbers[f"study by {name}"]) for name in ENGINES]
        # In one table, as MLflow's page shows two experiments that are ticked.
        asked = {"experiment_ids": list(numbers.values()), "filter": "params.decompose = 'svd'"}
        found = ask(address, "runs/search", **asked)["runs"]
    runs = set(studies[0].folder.joinpath("data/scores").glob("*.json"))
    assert set(tables[0]) == {path.stem for path in runs}
    assert tables[0] == tables[1]
    names = sorted(run["info"]["run_name"] for run in found)
    assert names == ["plain", "plain", "trained", "trained"]
    for study, name in zip(studies, ENGINES, strict=True):
        tracked = json.loads((study.folder / "data/track/tracked.json").read_text())
        assert tracked["experiment"] == f"study by {name}"


def _table(address: str, experiment: str) -> dict[str, tuple[dict[str, str], dict[str, float]]]:
    """Return run → its parameters and its metrics, but for those that are times."""
    asked = {"experiment_ids": [experiment], "filter": "metrics.parameters > 0"}
    rows = {}
    for run in ask(address, "runs/search", **asked)["runs"]:
        metrics = {m["key"]: m["value"] for m in run["data"]["metrics"]}
        del metrics["tokens_per_second"]
        parameters = {p["key"]: p["value"] for p in run["data"]["params"]}
        rows[run["info"]["run_name"]] = parameters, metrics
    return rows
