"""A cluster of two nodes, and a study that was run without it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.workflow.studies import Study, make_study
from tools.cluster.local import Cluster, why_not
from tools.cluster.studies import ONE_RUN, often


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
