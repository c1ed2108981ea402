"""A study whose jobs run elsewhere: which profile says so, what a killed run left, what went wrong.

Only light imports here: every call of Snakemake reads this module.
"""

import logging
import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rankwise.errors import RankwiseError, nearest
from rankwise.files.yamls import read_yaml

PROFILES = Path("profiles")
"""Folder of a study's ways to run, a folder with a ``config.yaml`` each."""
ENDING = 60.0
"""How long SLURM may take to end what a killed run left [s]."""
PREFIX = "on the cluster: "
"""How lines begin that are meant for the user, among what Snakemake and its jobs say."""
BY_ITSELF = "failed by itself: "
"""What a sentence says of a job that no setting of the profile mends."""
LAST = 60
"""Lines of a log that are looked at."""
UNSEEN = (
    "ran on a node that does not see what this machine sees: study, Python and model must lie on a "
    "file system that every node mounts at the same path"
)

CAUSES = (
    (
        r"exceeded (job )?memory limit|oom[-_ ]?kill|OUT_OF_MEMORY",
        "took more memory than its job asked for{memory}; ask for more under set-resources: {rule}:mem_mb=…",
    ),
    (
        r"DUE TO TIME LIMIT|'TIMEOUT'|'DEADLINE'",
        "took longer than its job asked for{time}; ask for more under set-resources: {rule}:runtime=… [minutes]",
    ),
    (
        r"invalid partition",
        "asked for a partition that does not exist; `sinfo --summarize` shows them: "
        "set slurm_partition under default-resources, or {rule}:slurm_partition=… under set-resources",
    ),
    (
        r"Invalid account|The given account|sacctmgr|not permitted to use",
        "may not be submitted under this account; `sacctmgr show associations user=$USER` shows yours: "
        "set slurm_account (and slurm_partition) under default-resources, and drop slurm-no-account",
    ),
    (
        r"node configuration is not available|Memory required by task is not available|More processors",
        "asked for more than any node has; `sinfo --Node --long` shows nodes: "
        "lower {rule}:mem_mb=… under set-resources, or name another slurm_partition",
    ),
    (
        r"Time limit",
        "asked for more time than the partition gives; lower {rule}:runtime=… under set-resources",
    ),
    (
        r"couldn't chdir|Snakefile.* not found|No module named|cannot open shared object",
        UNSEEN,
    ),
    (
        r"'NODE_FAIL'|DUE TO NODE FAILURE",
        "lost its node; run the same again, or raise retries",
    ),
)
"""Words of the scheduler → what happened and which setting of the profile to change; the first that fits."""


@dataclass(frozen=True)
class Failure:
    """A job that failed on a cluster."""

    rule: str
    logs: tuple[Path, ...]
    """The stage's own log, then the scheduler's, written or not."""
    message: str
    """What the executor said."""

    def sentence(self) -> str:
        """Return what happened, where its log is, and what to change."""
        own, *others = texts = [_end_of(path) for path in self.logs] or [""]
        there = [str(path) for path, text in zip(self.logs, texts, strict=False) if text]
        where = f"its log is {' and '.join(there)}" if there else "it left no log"
        said = "\n".join([self.message.partition("sbatch call:")[0], *others])
        for words, what in CAUSES:
            if re.search(words, said, re.IGNORECASE):
                asked = {
                    "memory": _asked("mem_mb", "MB", said),
                    "time": _asked("runtime", "min", said),
                }
                return f"rule {self.rule} {what.format(rule=self.rule, **asked)}; {where}"
        if others and not any(others):
            return f"rule {self.rule} {UNSEEN}, for it left no log at {self.logs[-1]}"
        lines = own.splitlines() if others or not self.message else said.split("\n")
        told = [
            line for line in lines if line and not re.match(r"rankwise: [\d.]+ s, at most", line)
        ]
        return f"rule {self.rule} {BY_ITSELF}{(told or [said])[-1].removeprefix('rankwise: ')}; {where}"


class Failures(logging.Handler):
    """Listens to Snakemake, whose own display leaves out what an executor says of a job that failed."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.found: dict[int, Failure] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the last failure of each job that did not end well after it."""
        told = vars(record)
        if told.get("event") == "job_error":
            logs = tuple(Path(path) for path in told["log"] if path)
            self.found[told["jobid"]] = Failure(told["rule_name"], logs, told["rule_msg"] or "")
        elif told.get("event") == "job_finished":
            self.found.pop(told["job_id"], None)

    def sentences(self) -> Iterator[str]:
        """Yield a sentence for each job that failed for good; where all jobs of a rule say the same, once."""
        yield from dict.fromkeys(failure.sentence() for failure in self.found.values())


@dataclass(frozen=True)
class Executor:
    """Where jobs run."""

    elsewhere: bool
    """On other machines than this one."""
    options: tuple[str, ...] = ()
    """Snakemake's."""


HERE = Executor(elsewhere=False)


def read_executor(profile: str) -> Executor:
    """Return where a profile of the study in the working directory runs its jobs, after what was left there ended.

    Raises RankwiseError for a profile that there is not.
    """
    file = PROFILES / profile / "config.yaml"
    if not file.is_file():
        there = [path.parent.name for path in PROFILES.glob("*/config.yaml")]
        raise RankwiseError(f"--profile: there is no {file}; {nearest(profile, there)}")
    executor = read_yaml(file).get("executor", "local")
    if executor == "slurm":
        cancel_left_jobs(Path.cwd())
    return Executor(executor != "local", ("--workflow-profile", str(file.parent)))


def cancel_left_jobs(study: Path) -> None:
    """Cancel SLURM's jobs of a Snakemake that was killed: they would write beside those that replace them.

    The caller holds the study. Raises RankwiseError where SLURM does not answer or does not end them.
    """
    end = time.monotonic() + ENDING
    while left := _jobs(study):
        if time.monotonic() > end:
            raise RankwiseError(
                f"SLURM does not end jobs {' '.join(left)} of {study}; try: scancel"
            )
        _slurm("scancel", *left)
        time.sleep(0.5)


def _jobs(study: Path) -> list[str]:
    """Return the jobs that the executor plugin submitted from a study and that have not ended."""
    found = []
    for line in _slurm("squeue", "--me", "--noheader", "--format=%i|%k|%Z").splitlines():
        number, comment, folder = line.split("|", 2)
        if comment.startswith("rule_") and Path(folder).resolve() == study.resolve():
            found.append(number)
    return found


def _slurm(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise RankwiseError(
            f"{command[0]} was not found; run this where SLURM's commands are, on the login machine"
        ) from error
    if done.returncode:
        raise RankwiseError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def _end_of(log: Path) -> str:
    """Return the last lines of a log, empty where there is none."""
    if not log.is_file():
        return ""
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-LAST:])


def _asked(resource: str, unit: str, said: str) -> str:
    """Return what a job asked for, by Snakemake's words on its node."""
    match = re.search(rf"\b{resource}=(\d+)", said)
    return f" ({match[1]} {unit})" if match else ""
