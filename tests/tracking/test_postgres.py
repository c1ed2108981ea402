"""MLflow's server over PostgreSQL: two studies fill it at the same time and stand side by side."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rankwise import engines
from rankwise.files import write_json
from rankwise.report.files import StudyFiles
from tests.cluster.local import install
from tests.report.conftest import RUNS
from tests.tracking.test_server import PATIENCE, ask, free_port, serving

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


def _options(files: StudyFiles) -> list[str]:
    given = {
        "--scores": files.scores, "--items": files.items, "--allocation": files.allocations,
        "--trials": files.trials, "--checkpoint": files.checkpoints,
    }  # fmt: skip
    return [word for name, paths in given.items() for path in paths for word in (name, str(path))]


def test_runs_of_two_studies_filled_at_once_stand_side_by_side(
    database: str, study: Path, files: StudyFiles, tmp_path: Path
) -> None:
    where = ("--artifacts-destination", str(tmp_path / "artifacts"))
    with serving(database, tmp_path / "server.log", *where) as address:
        variables = engines.environment() | {"MLFLOW_TRACKING_URI": address}
        jobs = []
        for name in ENGINES:
            write_json(tmp_path / f"{name}.json", {"experiment": f"study by {name}"})
            command = [
                *(
                    sys.executable,
                    "-m",
                    "rankwise",
                    "track",
                    "--params",
                    str(tmp_path / f"{name}.json"),
                ),
                *("--summary", str(study / "report/summary.json")),
                *("--report", str(study / "report/index.html"), *_options(files)),
                *("--store", str(tmp_path / "none.db"), "--out", str(tmp_path / f"{name}.tracked")),
            ]
            jobs.append(subprocess.Popen(command, env=variables, stderr=subprocess.PIPE, text=True))
        for job in jobs:
            _, said = job.communicate(timeout=PATIENCE)
            assert job.returncode == 0, said
        found = ask(address, "experiments/search", max_results=10)["experiments"]
        numbers = [one["experiment_id"] for one in found if one["name"].startswith("study by")]
        assert len(numbers) == len(ENGINES)
        asked = {"experiment_ids": numbers, "filter": "metrics.perplexity > 0", "max_results": 1000}
        runs = ask(address, "runs/search", **asked)["runs"]
    rows = {}
    for run in runs:
        metrics = {m["key"]: m["value"] for m in run["data"]["metrics"]}
        rows.setdefault(run["info"]["run_name"], []).append(metrics)
    assert {"dense", *RUNS} <= set(rows)
    for name in ("dense", *RUNS):
        here, there = rows[name]
        assert here == there
    assert not (tmp_path / "none.db").exists()
