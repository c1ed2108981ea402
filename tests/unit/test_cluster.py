"""What jobs ask of a cluster, and what is said when it does not give it."""

import logging
import re
from pathlib import Path

import pytest
import typer

from rankwise.commands.init import PRESETS, with_settings
from rankwise.errors import RankwiseError
from rankwise.files.atomic import write_json
from rankwise.files.checksummed import sha256
from rankwise.params.stages import Params
from rankwise.planning import job_resources as asked
from rankwise.planning.job_resources import (
    ENGINE,
    MARGIN,
    ON_DEVICE,
    SHORTEST,
    SLOWER,
    UNPLANNED,
    job_resources,
)
from rankwise.validation.params import load_params
from rankwise.workflow import engines
from rankwise.workflow.cluster import BY_ITSELF, PREFIX, Failure, Failures, read_executor
from rankwise.workflow.rules import RULES

SUBMITTED = sorted(
    {
        name
        for file in RULES.glob("*.smk")
        for name in re.findall(r'=memory\("(\w+)"\)', file.read_text())
    }
)


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """The embedded study on a GPU, in the working directory."""
    text = (PRESETS / "embedded.yaml").read_text()
    (tmp_path / "params.yaml").write_text(with_settings(text, ["compute.device=cuda"]))
    monkeypatch.chdir(tmp_path)
    asked._read_plan.cache_clear()
    return load_params(Path("params.yaml"))


def planned(seconds: float | None, digest: str) -> None:
    stage = {"stage": "decompose", "memory_mib": 2001, "longest_seconds": seconds}
    write_json(asked.PLAN, {"params": digest, "stages": [stage]})


def test_every_rule_that_is_submitted_has_needs(params: Params) -> None:
    assert len(SUBMITTED) == 11
    for rule in SUBMITTED:
        found = job_resources(rule, params)
        assert found.memory_mb > ENGINE and found.minutes >= SHORTEST
        assert found.gpus == (asked.STAGES.get(rule, rule) in ON_DEVICE)
    on_cpu = params.model_copy(
        update={"compute": params.compute.model_copy(update={"device": "cpu"})}
    )
    assert {job_resources(rule, on_cpu).gpus for rule in SUBMITTED} == {0}


@pytest.mark.parametrize(
    ("seconds", "minutes"), [(None, UNPLANNED["decompose"][1]), (1.0, 30), (3600.0, 240)]
)
def test_the_plan_is_asked_before_the_table(
    params: Params, seconds: float | None, minutes: int
) -> None:
    planned(seconds, sha256(Path("params.yaml")))
    assert SLOWER == 4
    assert job_resources("decompose", params) == (ENGINE + 3002, minutes, 1)
    assert MARGIN * 2001 <= 3002
    assert job_resources("build", params)[:2] == UNPLANNED["build"]


def test_a_plan_of_other_parameters_is_not_used(params: Params) -> None:
    planned(1.0, "0" * 64)
    assert job_resources("decompose", params)[:2] == UNPLANNED["decompose"]


REFUSED = (
    "SLURM sbatch failed. The error message was '{}'.\n    sbatch call:\n        sbatch --account x"
)
KILLED = "SLURM-job '7' failed, SLURM status is: '{}'. Detailed failure reason unavailable (status command is not 'sacct')."
TOLD = {
    "partition": (
        REFUSED.format("sbatch: error: invalid partition specified: nope\nsbatch: error: Batch job submission failed: Invalid partition name specified"),
        None, "rule speed asked for a partition that does not exist", "slurm_partition",
    ),
    "account": (
        REFUSED.format("sbatch: error: Batch job submission failed: Invalid account or account/partition combination specified"),
        None, "rule speed may not be submitted under this account", "slurm_account",
    ),
    "no accounting": (
        "Job submission failed with exception: The 'sacctmgr' reported: 'You are not running a supported accounting_storage plugin'",
        None, "rule speed may not be submitted under this account", "slurm_account",
    ),
    "too large": (
        REFUSED.format("sbatch: error: Batch job submission failed: Requested node configuration is not available"),
        None, "rule speed asked for more than any node has", "speed:mem_mb",
    ),
    "memory": (
        KILLED.format("FAILED"),
        "    resources: tmpdir=/tmp, mem_mb=400, runtime=720, gpu=0\nslurmstepd-node2: error: Exceeded job memory limit",
        "rule speed took more memory than its job asked for (400 MB)", "speed:mem_mb",
    ),
    "time": (
        KILLED.format("TIMEOUT"),
        "    resources: tmpdir=/tmp, mem_mb=400, runtime=1, gpu=0\nslurmstepd: error: *** JOB 12 CANCELLED DUE TO TIME LIMIT ***",
        "rule speed took longer than its job asked for (1 min)", "speed:runtime",
    ),
    "folder": (
        KILLED.format("FAILED"),
        "slurmstepd-node2: error: couldn't chdir to `/study': No such file or directory: going to /tmp instead",
        "rule speed ran on a node that does not see", "same path",
    ),
    "no log": (KILLED.format("FAILED"), "", "rule speed ran on a node that does not see", "it left no log"),
    "own": (
        KILLED.format("FAILED"), "srun: error: node1: task 0: Exited with exit code 1",
        f"rule speed {BY_ITSELF}runs.plain.keep: 0.05 is below the floor", "logs/own.log",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("message", "log", "start", "setting"), TOLD.values(), ids=TOLD)
def test_a_sentence_names_rule_cause_setting_and_log(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    message: str,
    log: str | None,
    start: str,
    setting: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    own, other = Path("logs/own.log"), Path("slurm.log")
    own.parent.mkdir()
    told = "rankwise: runs.plain.keep: 0.05 is below the floor\nrankwise: 1.2 s, at most 300 MB\n"
    own.write_text(told if start.endswith("floor") else "")
    other.write_text(log or "")
    logs = (own,) if log is None else (own, other)
    said = Failure("speed", logs, message).sentence()
    assert said.startswith(start)
    assert setting in said
    assert ("slurm.log" in said) == bool(log) or log == ""


def test_a_job_that_ended_well_the_second_time_is_not_told() -> None:
    heard = Failures()

    def say(**what: object) -> None:
        heard.handle(logging.makeLogRecord({"levelno": logging.ERROR, **what}))

    for number in (1, 2):
        say(event="job_error", jobid=number, rule_name="speed", log=[], rule_msg="lost its node")
    say(event="job_finished", job_id=1)
    assert list(heard.found) == [2]
    assert len(list(heard.sentences())) == 1


def test_a_profile_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, executor in (("default", "cores: 2"), ("pods", "executor: kubernetes")):
        (tmp_path / "profiles" / name).mkdir(parents=True)
        (tmp_path / "profiles" / name / "config.yaml").write_text(executor)
    assert not read_executor("default").elsewhere
    assert read_executor("pods").elsewhere
    assert read_executor("pods").options == ("--workflow-profile", "profiles/pods")
    with pytest.raises(RankwiseError, match="did you mean 'pods'"):
        read_executor("pots")


def test_what_a_local_job_says_is_no_sentence_of_the_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    says = "echo 'rankwise: 1.0 s, at most 300 MB'; echo '1 of 2 steps (50%) done'"
    monkeypatch.setattr(engines, "SNAKEMAKE", ("sh", "-c", says))
    engines.run_snakemake(engines.Engine(), None, force=False)
    monkeypatch.setattr(
        engines, "SNAKEMAKE", ("sh", "-c", f"{says}; echo '{PREFIX}rule x asked'; exit 1")
    )
    with pytest.raises(typer.Exit) as ended:
        engines.run_snakemake(
            engines.Engine(options=("--workflow-profile", "profiles/slurm")), None, force=False
        )
    assert ended.value.exit_code == 2
