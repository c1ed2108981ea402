"""A study on a real SLURM cluster of two nodes: the bytes of a local run, whatever is killed on the way."""

from pathlib import Path
from random import Random

from tests.cluster.disturbed import RUN, disturb
from tests.cluster.local import Cluster
from tests.workflow.studies import Study


def test_a_node_and_snakemake_are_killed_and_the_bytes_are_those_of_a_local_run(
    cluster: Cluster, fresh: Study, tmp_path: Path
) -> None:
    here, there = fresh.copy(tmp_path / "here"), fresh.copy(tmp_path / "there")
    here.do("snakemake")
    assert disturb(cluster, there, ["node", "snakemake"], Random(0)) == []
    assert there.hashes() == here.hashes()
    assert there.snakemake_would_run() == there.dvc_would_run() == set()


def test_what_the_cluster_refuses_is_said_with_the_setting_and_the_rest_goes_on(
    cluster: Cluster, fresh: Study, tmp_path: Path
) -> None:
    study = fresh.copy(tmp_path / "study")
    stages = study.folder / "package/rankwise/__main__.py"
    text = stages.read_text()
    start = "    log, stage, *rest = arguments[1:]\n"
    assert start in text
    hungry = '    held = bytearray(b"x") * (10**9 if stage == "evaluate" else 1)\n'
    stages.write_text(
        text.replace(start, f"{start}{hungry}    __import__('time').sleep(len(held) / 3e8)\n")
    )
    profile = study.folder / "profiles/slurm/config.yaml"
    asked = [
        "speed:slurm_partition=nope",
        "decompose:slurm_partition=closed",
        "evaluate:mem_mb=500",
    ]
    lines = "".join(f"  - {setting}\n" for setting in asked)
    first = "  - \"speed:slurm_extra='--exclusive'\"\n"
    assert first in profile.read_text()
    profile.write_text(
        profile.read_text().replace(first, lines).replace("retries: 1", "retries: 0")
    )
    done = study.call(*RUN)
    said = done.stderr.splitlines()
    assert done.returncode == 2, done.stderr
    [partition] = [line for line in said if "rule speed asked for a partition" in line]
    assert "set slurm_partition under default-resources" in partition
    [account] = [line for line in said if "rule decompose may not be submitted" in line]
    assert "set slurm_account" in account
    [memory] = [line for line in said if "rule evaluate took more memory" in line]
    assert "(500 MB)" in memory and "evaluate:mem_mb=…" in memory
    assert ".snakemake/slurm_logs/rule_evaluate/dense/" in memory
    assert (study.folder / "data/covariance/dense/block_0.safetensors").is_file()
