"""What is said of a job that did not end: its cause, the setting to change, its log."""

import logging
import sys
from pathlib import Path

import pytest
import typer

from rankwise.errors import RankwiseError
from rankwise.workflow import engines
from rankwise.workflow.cluster import BY_ITSELF, PREFIX, Failure, Failures, read_executor

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


@pytest.mark.parametrize(
    ("engine", "line"),
    [
        ("snakemake", "Command died with <Signals.SIGKILL: 9>."),
        ("snakemake", "Command returned non-zero exit status 137."),
        ("dvc", "ERROR: failed to reproduce 'covariance-dense': failed to run: x, exited with -9"),
        ("dvc", "ERROR: failed to reproduce 'covariance-dense': failed to run: x, exited with 137"),
    ],
)
def test_a_job_that_was_killed_is_said_to_be(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path,
    engine: str,
    line: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dvc.yaml").write_text("stages: {}")
    before = {
        "snakemake": "    log: logs/covariance/dense.log (check log file)",
        "dvc": "> x --log logs/covariance/dense.log",
    }
    script = f"import sys; print({before[engine]!r}); print({line!r}); sys.exit(1)"
    monkeypatch.setattr(engines, engine.upper(), (sys.executable, "-c", script))
    with pytest.raises(typer.Exit) as end:
        if engine == "dvc":
            engines.run_dvc(engines.Engine(), force=False)
        else:
            engines.run_snakemake(engines.Engine(), None, force=False)
    assert end.value.exit_code == 137
    assert "covariance/dense was killed (signal 9)" in capsys.readouterr().err
