"""Tiny studies, finished once a session; tests copy them, file times included."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.workflow.studies import FEWER, Study, make_study


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("workflow")


def finish(study: Study) -> Study:
    """Have Snakemake run a study of quick stages, and DVC record it."""
    study.do("snakemake")
    study.print_dvc()
    study.do("dvc", "commit", "--force", "--quiet")
    return study


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A study of quick stages that Snakemake ran and DVC recorded."""
    return finish(make_study(tmp_path_factory.mktemp("quick") / "study", quick=True))


@pytest.fixture(scope="session")
def finished_small(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """The same with two runs."""
    folder = tmp_path_factory.mktemp("small")
    return finish(make_study(folder / "study", quick=True, settings=FEWER))


@pytest.fixture
def study(finished: Study, tmp_path: Path) -> Study:
    """A copy of the finished study to change."""
    return finished.copy(tmp_path / "study")


@pytest.fixture
def small(finished_small: Study, tmp_path: Path) -> Study:
    """A copy of the finished study with two runs."""
    return finished_small.copy(tmp_path / "study")


@pytest.fixture(scope="session")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Study]:
    """The same real study, run by `rankwise run` with either engine, side by side."""
    folder = tmp_path_factory.mktemp("real")
    by_snakemake = make_study(folder / "snakemake", quick=False)
    by_dvc = by_snakemake.copy(folder / "dvc")
    run = ("python", "-m", "rankwise", "run")
    with ThreadPoolExecutor() as pool:
        jobs = [
            pool.submit(by_snakemake.do, *run, "--cores", "1"),
            pool.submit(by_dvc.do, *run, "--engine", "dvc"),
        ]
        said = "".join(job.result() for job in jobs)
    assert "fork server" not in said, said  # no job was refused
    return by_snakemake, by_dvc
