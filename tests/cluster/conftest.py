"""A cluster of two nodes, and a study that was run without it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.local import Cluster, why_not
from tests.workflow.studies import Study, make_study

ONE_RUN = (
    "runs={plain: {decompose: svd, allocate: uniform, keep: 0.6}}",
    "compute.layers_per_job=2",
    "prepare.tasks.source=null",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("cluster")


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Controller and two nodes."""
    if reason := why_not():
        pytest.skip(reason)
    with Cluster() as started:
        yield started


@pytest.fixture(scope="session")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A study of quick stages that has not run, whose profile looks at jobs as often as can be."""
    study = make_study(tmp_path_factory.mktemp("cluster") / "study", quick=True, settings=ONE_RUN)
    often(study)
    return study


def often(study: Study) -> None:
    """Let a study's profile look at its jobs after some seconds: the tests' are short."""
    profile = study.folder / "profiles/slurm/config.yaml"
    text = profile.read_text()
    for key in ("slurm-init-seconds-before-status-checks", "seconds-between-status-checks"):
        assert f"\n{key}: 5\n" in text
        text = text.replace(f"\n{key}: 5\n", f"\n{key}: 6\n")
    profile.write_text(text)
