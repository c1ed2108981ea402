"""The made-up study of the report's tests, with its report, and a store that needs no migrations."""

import shutil
from pathlib import Path

import pytest

from rankwise.files.atomic import write_text
from rankwise.params.report import Report
from rankwise.records.base import FileHash
from rankwise.records.checkpoint import CheckpointManifest
from rankwise.results.files import StudyFiles
from rankwise.results.study import StudyResults
from rankwise.tracking.entries import Entry, build_entries
from rankwise.tracking.store import fill_mlflow
from tests.report.conftest import RUNS, make_study


@pytest.fixture(autouse=True)
def _own_store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose tables are made: MLflow takes 5 s for it, a copy nothing."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    fill_mlflow("template", [], path)
    return path


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all tests here: each begins with filling MLflow, which brings it up to date."""
    return make_study(tmp_path_factory.mktemp("study") / "data")


@pytest.fixture(scope="session")
def store(study: Path, template: Path) -> Path:
    path = study / "mlflow/mlflow.db"
    path.parent.mkdir()
    shutil.copy(template, path)
    return path


@pytest.fixture(scope="session")
def files(study: Path) -> StudyFiles:
    """Where the study's records are, that of one checkpoint among them; and the page."""
    write_text(study / "report/index.html", "<p>report</p>")
    weights = FileHash(path="model.safetensors", sha256="ab" * 32, bytes=1000)
    manifest = study / "checkpoints/svd-80.json"
    CheckpointManifest(
        run="svd-80", keep_asked=0.8, keep_reached=0.7997, parameters=250, files=[weights]
    ).save(manifest)
    return StudyFiles(
        items=[study / f"items/{name}.json" for name in ["dense", *RUNS]],
        speed=[study / f"speed/{name}.json" for name in ["dense", *RUNS]],
        scores=[study / f"scores/{name}.json" for name in ["dense", *RUNS]],
        allocations=[study / f"allocate/{name}.json" for name in RUNS],
        trials=[study / f"allocate/{name}.trials.jsonl" for name in RUNS],
        checkpoints=[manifest],
    )


def all_of(study: Path, files: StudyFiles) -> list[Entry]:
    """Entries of every run, as the records are now."""
    results = StudyResults.load(files, Report(resamples=200))
    return build_entries(results, study / "report/index.html")
