"""Whole runs that are killed, started twice, or started in odd places: they end with the same bytes."""

import fcntl
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.workflow.studies import Study
from tools.faults.stages import PATIENCE, RUN, Stage, untimed
from tools.faults.tally import Tally

ENGINES = ("snakemake", "dvc")
WAYS = ("SIGKILL", "SIGKILL to all", "SIGTERM", "SIGINT")
INTERRUPTED = (130, -signal.SIGINT, 0)
"""Exit codes of a run that got SIGINT: its own, Python's before our first line, that of one that had ended."""
IN_FLIGHT = 2
"""Jobs that a study's profile runs at once: those may run again."""
ODD = "a 'study'\n\"of\" größe $HOME; 研究"


def fresh(study: Study, folder: Path) -> Study:
    """Return a copy of a study that has not run."""
    skip = shutil.ignore_patterns("data", "logs", "dvc.lock", ".snakemake", "tmp", "cache")
    shutil.copytree(study.folder, folder, symlinks=True, ignore=skip)
    return Study(folder)


@dataclass(frozen=True)
class Kill:
    """When and how a run is killed."""

    way: str
    after: float
    """Seconds after its start."""

    @classmethod
    def any(cls, random: Random, seconds: float) -> "Kill":
        """Return one of any way, within so many seconds."""
        return cls(random.choice(WAYS), random.uniform(1.0, seconds))


def kill_run(study: Study, copy: Study, engine: str, kills: list[Kill], tally: Tally) -> None:
    """Start a run and kill it, as often as asked, then start it until it ends; count what came of it."""
    before: dict[str, dict[str, int]] = {}
    where = engine
    for kill in kills:
        tally.tried += 1
        where = f"{where}, {kill.way} after {kill.after:.2f} s"
        code = _kill(_start(copy, engine), kill.way, kill.after)
        _until_free(copy)
        if kill.way == "SIGINT" and code not in INTERRUPTED:
            tally.missed(f"{where}: exit code {code}")
        before = _repeated_nothing(_planned(study, copy), before, where, tally)
    done = _to_the_end(copy, engine)
    if done.returncode:
        tally.missed(f"{where}: {done.stdout[-300:]}{done.stderr[-700:]}")
        return
    if copy.hashes() != study.hashes():
        tally.missed(f"{where}: other bytes", wrong=True)
        return
    _repeated_nothing(copy, before, where, tally)
    left = [str(path) for path in copy.folder.rglob("data/**/.*.tmp")]
    if left:
        tally.missed(f"{where}: left behind: {', '.join(left)}")


def _until_free(copy: Study) -> None:
    """Wait until the engine of a killed run has let go of the study."""
    lock, end = copy.folder / ".snakemake/rankwise.lock", time.monotonic() + PATIENCE
    while lock.exists() and time.monotonic() < end:
        with lock.open() as stream, suppress(BlockingIOError):
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(0.1)


def _repeated_nothing(
    copy: Study, before: dict[str, dict[str, int]], where: str, tally: Tally
) -> dict[str, dict[str, int]]:
    """Compare what is finished with what was before, but for the jobs that were in flight; return it."""
    now = {stage.name: _state(stage) for stage in untimed(copy)}
    again = [name for name, state in before.items() if state and now[name] != state]
    if len(again) > IN_FLIGHT:
        tally.missed(f"{where}: finished work was repeated: {', '.join(again)}")
    return now


def two_runs(study: Study, copy: Study, tally: Tally) -> None:
    """Start two runs on one study: one is refused with the other's name."""
    tally.tried += 1
    first = _start(copy, "snakemake")
    until(copy.folder / ".snakemake/rankwise.lock")
    second = copy.call(*RUN)
    first.communicate(timeout=PATIENCE)
    if (second.returncode, f"process {first.pid} on" in second.stderr) != (2, True):
        tally.missed(f"the second run was not refused: {second.returncode} {second.stderr[-500:]}")
    _compare(study, copy, first.returncode, "two runs", tally)


def two_engines(study: Study, copy: Study, first: str, tally: Tally) -> None:
    """Start one engine by itself, then the other: the second is refused with the first's name."""
    tally.tried += 1
    commands = {"snakemake": ("snakemake", "--quiet"), "dvc": ("dvc", "repro")}
    copy.print_dvc()
    [other] = set(commands) - {first}
    running = copy.start(*commands[first])
    marks = {"snakemake": ".snakemake/locks/0.output.lock", "dvc": "data/sample"}
    until(copy.folder / marks[first])
    refused = copy.call(*commands[other])
    running.communicate(timeout=PATIENCE)
    said = refused.stdout + refused.stderr
    if refused.returncode == 0 or "is in use by" not in said or first not in said:
        tally.missed(f"{other} beside {first}: {refused.returncode} {said[-500:]}")
    _compare(study, copy, running.returncode, f"{first}, then {other}", tally)


@contextmanager
def odd_place(study: Study, folder: Path) -> Iterator[Study]:
    """Yield a fresh study behind a link, in a folder whose name says everything that a shell may read."""
    real = folder / ODD
    real.mkdir(parents=True)
    fresh(study, real / "study")
    link = folder / "a link"
    link.symlink_to(real / "study")
    before = os.environ.get("TZ")
    os.environ["TZ"] = "Pacific/Kiritimati"
    try:
        yield Study(link)
    finally:
        os.environ.pop("TZ") if before is None else os.environ.update(TZ=before)


def run_in_odd_place(study: Study, folder: Path, engine: str, tally: Tally) -> None:
    """Run a study where path, link and time zone are others."""
    tally.tried += 1
    with odd_place(study, folder) as copy:
        done = copy.call(*RUN, "--engine", engine)
        if done.returncode:
            tally.missed(f"odd place, {engine}: {done.stdout[-300:]}{done.stderr[-700:]}")
            return
        _compare(study, copy, done.returncode, f"odd place, {engine}", tally)


def clock_set_back(study: Study, copy: Study, tally: Tally) -> None:
    """Let every result be of a later time than now, change a parameter and change it back."""
    tally.tried += 1
    later = time.time_ns() + 86_400 * 10**9
    for path in sorted(copy.folder.glob("data/**/*"), key=lambda p: p.lstat().st_mtime_ns):
        later += 10**6
        os.utime(path, ns=(later, later))
    copy.change("decompose.svd.dense=[o]")
    done = copy.call(*RUN)
    if copy.hashes() == study.hashes():
        tally.missed(f"clock set back: a change was not seen: {done.stderr[-500:]}", wrong=True)
        return
    copy.change("decompose.svd.dense=[]")
    _compare(study, copy, copy.call(*RUN).returncode, "clock set back", tally)


def _start(copy: Study, engine: str) -> subprocess.Popen[str]:
    return copy.start(*RUN, "--engine", engine)


def _kill(process: subprocess.Popen[str], way: str, after: float) -> int:
    """Kill a run some seconds after its start; return its exit code."""
    time.sleep(after)
    if process.poll() is None:
        for pid in [process.pid, *(below(process.pid) if way == "SIGKILL to all" else [])]:
            try:
                os.kill(pid, getattr(signal, way.split(maxsplit=1)[0]))
            except ProcessLookupError:
                continue
    process.communicate(timeout=PATIENCE)
    return process.returncode


def below(pid: int) -> list[int]:
    """Return all processes that descend from one."""
    children: dict[int, list[int]] = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parent = process.joinpath("stat").read_text().rpartition(")")[2].split()[1]
        except (FileNotFoundError, ProcessLookupError):
            continue
        children.setdefault(int(parent), []).append(int(process.name))
    found = children.get(pid, [])
    for child in found:
        found += children.get(child, [])
    return found


def _to_the_end(copy: Study, engine: str) -> subprocess.CompletedProcess[str]:
    """Start a run again, as soon as the engine of the killed one has let go."""
    end = time.monotonic() + PATIENCE
    while True:
        done = copy.call(*RUN, "--engine", engine)
        if "is in use by" not in done.stderr or time.monotonic() > end:
            return done
        time.sleep(0.5)


def _planned(study: Study, copy: Study) -> Study:
    """Return the copy with the stages it will have: those of the study, printed or not."""
    if not (copy.folder / "dvc.yaml").exists():
        shutil.copy(study.folder / "dvc.yaml", copy.folder)
    return copy


def _state(stage: Stage) -> dict[str, int]:
    """Return file → time of a stage whose outputs are all there, else nothing."""
    files = [f for path in stage.outputs for f in (path.rglob("*") if path.is_dir() else [path])]
    if not all(path.exists() for path in stage.outputs):
        return {}
    return {str(f): f.stat().st_mtime_ns for f in files if f.is_file() and f.name[0] != "."}


def _compare(study: Study, copy: Study, code: int, what: str, tally: Tally) -> None:
    if code:
        tally.missed(f"{what}: exit code {code}")
    elif copy.hashes() != study.hashes():
        tally.missed(f"{what}: other bytes", wrong=True)


def until(path: Path) -> None:
    end = time.monotonic() + PATIENCE
    while not (path.exists() and (path.is_dir() or path.stat().st_size)):
        assert time.monotonic() < end, f"{path} did not appear"
        time.sleep(0.02)
