"""Two tiny studies, finished once a session; tests copy them, file times included."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.workflow.studies import Study, make_study


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("workflow")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A study of quick stages that Snakemake ran and DVC recorded."""
    study = make_study(tmp_path_factory.mktemp("quick") / "study", quick=True)
    study.do("snakemake")
    study.print_dvc()
    study.do("dvc", "commit", "--force", "--quiet")
    return study


@pytest.fixture
def study(finished: Study, tmp_path: Path) -> Study:
    """A copy of the finished study to change."""
    return finished.copy(tmp_path / "study")


@pytest.fixture(scope="session")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Study]:
    """The same real study, run by `rankwise run` and by `dvc repro`, side by side.

    The first forks its jobs, the second starts every one as a process of its own.
    """
    folder = tmp_path_factory.mktemp("real")
    by_snakemake = make_study(folder / "snakemake", quick=False)
    by_dvc = by_snakemake.copy(folder / "dvc")

    def repro() -> None:
        by_dvc.print_dvc()
        by_dvc.do("dvc", "repro")

    with ThreadPoolExecutor() as pool:
        jobs = [
            pool.submit(by_snakemake.do, "python", "-m", "rankwise", "run", "--cores", "1"),
            pool.submit(repro),
        ]
        said, _ = [job.result() for job in jobs]
    assert "fork server" not in said, said
    return by_snakemake, by_dvc
