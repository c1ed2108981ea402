"""A study on a real SLURM cluster of two nodes: the bytes of a local run, whatever is killed on the way."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

from tests.workflow.studies import Study
from tools.cluster.disturbed import RUN, disturb
from tools.cluster.local import Cluster

START = "    log, stage, *rest = arguments[1:]\n"
"""Of the quick stages: what comes behind it is done by every one of them."""
HUNGRY = '    import time; held = bytearray(b"x") * (10**9 if stage == "evaluate" else 1); time.sleep(len(held) / 3e8)\n'
SLOW = '    import time; time.sleep(180 if stage == "covariance" else 0)\n'
"""Three of the minutes of which a job may ask for one, SLURM's least."""
REFUSED = (
    "speed:slurm_partition=nope",
    "decompose:slurm_partition=closed",
    "evaluate:mem_mb=500",
)
UNDONE = ("speed:slurm_extra='--nodelist=node2'", "covariance:runtime=1")
ELSEWHERE = "slurm_extra='--exclude=node2'"


def test_a_node_and_snakemake_are_killed_and_the_bytes_are_those_of_a_local_run(
    cluster: Cluster, fresh: Study, tmp_path: Path
) -> None:
    here, there = fresh.copy(tmp_path / "here"), fresh.copy(tmp_path / "there")
    here.do("snakemake")
    assert disturb(cluster, there, ["node", "snakemake"], Random(0)) == []
    assert there.hashes() == here.hashes()
    assert there.snakemake_would_run() == there.dvc_would_run() == set()


@dataclass(frozen=True)
class Ended:
    """A study that the cluster did not let finish."""

    study: Study
    code: int
    said: list[str]

    def sentence(self, start: str) -> str:
        """Return the one line that says so of a rule, with the log that it names."""
        [line] = [line for line in self.said if start in line]
        return line


@pytest.fixture(scope="module")
def refused(
    cluster: Cluster, fresh: Study, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Ended, Ended]]:
    """A study that asks for what there is not, beside one with a job too slow and one where its folder is not seen."""
    folder = tmp_path_factory.mktemp("refused")
    studies = [fresh.copy(folder / "asks"), fresh.copy(folder / "unseen")]
    _spoil(studies[0], HUNGRY, REFUSED)
    _spoil(studies[1], SLOW, UNDONE, every=ELSEWHERE)
    cluster.kill("node2")
    hide = f'mount -t tmpfs none "{studies[1].folder}" && exec "$@"'
    cluster.start_node("node2", "unshare", "--mount", "sh", "-c", hide, "hide")
    try:
        runs = [study.start(*RUN) for study in studies]
        said = [run.communicate()[1].splitlines() for run in runs]
        ended = zip(studies, runs, said, strict=True)
        first, second = (Ended(study, run.returncode, lines) for study, run, lines in ended)
        yield first, second
    finally:
        cluster.kill("node2")
        cluster.start_node("node2")


def _spoil(study: Study, stage: str, asked: Sequence[str], every: str = "") -> None:
    """Change what stages do, and what the profile asks for rules and for every job; a failed one runs once."""
    stages = study.folder / "package/rankwise/__main__.py"
    text = stages.read_text()
    assert START in text
    stages.write_text(text.replace(START, START + stage))
    profile = study.folder / "profiles/slurm/config.yaml"
    text = profile.read_text()
    ours = "".join(f'  - "{setting}"\n' for setting in asked)
    changes = {"  - \"speed:slurm_extra='--exclusive'\"\n": ours, "retries: 1\n": "retries: 0\n"}
    if every:
        changes["default-resources:\n"] = f'default-resources:\n  - "{every}"\n'
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    profile.write_text(text)


def test_what_the_cluster_refuses_is_said_with_the_setting_and_the_rest_goes_on(
    refused: tuple[Ended, Ended],
) -> None:
    ended, _ = refused
    assert ended.code == 2, ended.said
    partition = ended.sentence("rule speed asked for a partition that does not exist")
    assert "set slurm_partition under default-resources" in partition
    account = ended.sentence("rule decompose may not be submitted")
    assert "set slurm_account" in account
    memory = ended.sentence("rule evaluate took more memory")
    assert "(500 MB)" in memory and "evaluate:mem_mb=…" in memory
    assert ".snakemake/slurm_logs/rule_evaluate/dense/" in memory
    assert (ended.study.folder / "data/covariance/dense/group_0.safetensors").is_file()


def test_a_job_beyond_its_time_and_a_node_without_the_folder_are_said_and_the_rest_goes_on(
    refused: tuple[Ended, Ended],
) -> None:
    _, ended = refused
    assert ended.code == 2, ended.said
    time = ended.sentence("rule covariance took longer than its job asked for (1 min)")
    assert "covariance:runtime=…" in time
    assert ".snakemake/slurm_logs/rule_covariance/dense/" in time
    folder = ended.sentence("rule speed ran on a node that does not see")
    assert "must lie on a file system that every node mounts at the same path" in folder
    assert ".snakemake/slurm_logs/rule_speed/dense/" in folder
    assert (ended.study.folder / "data/scores/dense.json").is_file()
