"""A study that runs on the cluster while jobs, nodes, controller and Snakemake are killed."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import IO, Any

from tests.workflow.studies import Study
from tools.cluster.local import Cluster
from tools.faults.disturbed import below

RUN = ("python", "-m", "rankwise", "run", "--profile", "slurm")
KINDS = ("job", "node", "controller", "snakemake")
PATIENCE = 600
"""Until a run counts as hanging [s]."""
AWAY = 1.0
"""How long a node or the controller is gone [s]."""


class Run:
    """One `rankwise run` on the cluster: what it says is kept line by line."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.lines: list[str] = []
        self.process = study.start(*RUN)
        self._readers = [
            threading.Thread(target=self._read, args=(stream,), daemon=True)
            for stream in (self.process.stdout, self.process.stderr)
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream: IO[str]) -> None:
        with stream:
            for line in stream:
                self.lines.append(line.rstrip())

    def finished(self) -> list[str]:
        """Return the jobs that it said are done, as their logs are named."""
        done = [line.partition("] ") for line in list(self.lines) if line.startswith("[")]
        return [name for _, _, name in done if name]

    def end(self) -> int:
        """Wait for its end; return its exit code."""
        code = self.process.wait(PATIENCE)
        for reader in self._readers:
            reader.join(PATIENCE)
        return code


@dataclass(frozen=True)
class Job:
    """A stage that runs on a node now."""

    pid: int
    number: str
    node: str

    @classmethod
    def of(cls, study: Study) -> "list[Job]":
        """Return the stages of a study that run on nodes."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                words = process.joinpath("cmdline").read_bytes().split(b"\0")
                if words[1:4] != [b"-m", b"rankwise", b"--log"]:
                    continue
                here = process.joinpath("cwd").resolve() == study.folder.resolve()
                said = process.joinpath("environ").read_bytes().split(b"\0")
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue  # it ended, or is not ours
            values = dict(word.decode(errors="replace").partition("=")[::2] for word in said)
            if here and "SLURM_JOB_ID" in values:
                job = cls(int(process.name), values["SLURM_JOB_ID"], values["SLURMD_NODENAME"])
                found.append(job)
        return found  # fmt: skip


def disturb(
    cluster: Cluster, study: Study, kinds: list[str], random: Random, after: int = 0
) -> list[str]:
    """Run a study to its end, and do these things to it on the way, each when a job runs after the last.

    The first happens when ``after`` jobs are finished.

    Returns what went wrong: jobs that ran again though they had ended, and runs that did not end well.
    """
    run = Run(study)
    logs: dict[str, int] = {}
    until(lambda: len(run.finished()) >= after or run.process.poll() is not None, run)
    for kind in kinds:
        job = until(lambda run=run: Job.of(study) or run.process.poll() is not None, run)
        if job is True:
            break  # it ended before
        time.sleep(random.uniform(0.0, 1.0))
        logs |= {name: _time(study, name) for name in run.finished() if name not in logs}
        before = len(run.finished())
        run = FAULTS[kind](cluster, run, job[0])
        until(
            lambda run=run, n=before: len(run.finished()) > n or run.process.poll() is not None, run
        )
    code = run.end()
    again = [name for name, at in logs.items() if _time(study, name) != at]
    return [
        *([f"exit code {code} after {kinds}: {' / '.join(run.lines[-12:])}"] if code else []),
        *([f"ran again after {kinds}, though finished: {', '.join(again)}"] if again else []),
    ]


def until(ask: Callable[[], Any], run: Run) -> Any:
    """Return what ``ask`` finds, as soon as it finds something."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if found := ask():
            return found
        time.sleep(0.1)
    raise AssertionError("\n".join(run.lines[-30:]))


def _time(study: Study, name: str) -> int:
    return (study.folder / f"logs/{name}.log").stat().st_mtime_ns


def _kill_job(cluster: Cluster, run: Run, job: Job) -> Run:
    _kill(job.pid)
    return run


def _kill_node(cluster: Cluster, run: Run, job: Job) -> Run:
    """As if the node had lost power: its daemon and all that it ran are gone, and come back empty."""
    cluster.kill(job.node)
    jobs = {found.number for found in Job.of(run.study) if found.node == job.node}
    steps = subprocess.run(
        ["pgrep", "-a", "slurmstepd"], capture_output=True, text=True, check=False
    )
    for line in steps.stdout.splitlines():
        pid, _, title = line.partition(" ")
        if title.partition("[")[2].partition(".")[0] in jobs:
            for process in [*below(int(pid)), int(pid)]:
                _kill(process)
    time.sleep(AWAY)
    cluster.start_node(job.node)
    return run


def _restart_controller(cluster: Cluster, run: Run, job: Job) -> Run:
    cluster.kill("slurmctld")
    time.sleep(AWAY)
    cluster.start_controller()
    return run


def _kill_snakemake(cluster: Cluster, run: Run, job: Job) -> Run:
    """Kill `rankwise run` and Snakemake at once; jobs stay on the cluster. Then run the same again."""
    for pid in [run.process.pid, *below(run.process.pid)]:
        _kill(pid)
    run.end()
    return Run(run.study)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


FAULTS = {
    "job": _kill_job,
    "node": _kill_node,
    "controller": _restart_controller,
    "snakemake": _kill_snakemake,
}
