"""Snakemake and DVC as ``rankwise run`` calls them: through their own command lines, with progress.

What they print is read for display only; what is due and what went wrong is in exit codes and files.
"""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TimeElapsedColumn

from rankwise.forkserver.job import end_with
from rankwise.params import memory
from rankwise.workflow.cluster import BY_ITSELF, PREFIX
from rankwise.workflow.due import DueJob, read_dry_run
from rankwise.workflow.dvc_yaml import outputs_of, read_stages

SNAKEMAKE = (sys.executable, "-m", "snakemake")
DVC = (sys.executable, "-m", "dvc")
TAIL = 6
"""Lines shown of the log of a job that failed."""
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that end a run, resumable."""
Show = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Engine:
    """How an engine is started."""

    variables: dict[str, str] = field(default_factory=dict)
    """Environment variables beside this process's own."""
    files: tuple[int, ...] = ()
    """Open files that it inherits: the lock on the study."""
    options: tuple[str, ...] = ()
    """Options of Snakemake: another profile than the default one."""


class Stopped(BaseException):
    """A signal asks this run to end."""

    def __init__(self, number: int) -> None:
        self.number = number


def search_path() -> str:
    """Return PATH with this Python's folder first: jobs say ``python`` and must get the same one."""
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])


def environment() -> dict[str, str]:
    """Return this environment for an engine and its jobs."""
    return os.environ | {"PATH": search_path(), "DVC_NO_ANALYTICS": "1"}


def run_command(
    *command: str, folder: Path | None = None, engine: Engine | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end and keep what it says; as a job of ``engine`` where one is given."""
    variables = environment() | (engine.variables if engine else {})
    return subprocess.run(
        command, cwd=folder, env=variables, text=True, capture_output=True, check=False
    )


def find_due() -> tuple[list[DueJob], bool]:
    """Return the jobs that Snakemake would run, and whether all is as DVC recorded it.

    Sections and fingerprints must be up to date. Bad input ends here with Snakemake's sentence and exit code.
    """
    record = subprocess.Popen([*DVC, "status", "-q"], env=environment(), stderr=subprocess.DEVNULL)
    try:
        due = list_due()
    finally:
        recorded = record.wait() == 0 and Path("dvc.lock").is_file()
    return due, recorded


def list_due() -> list[DueJob]:
    """Return the jobs that Snakemake would run, with their reasons; ends as Snakemake does for bad input."""
    dry_run = run_command(*SNAKEMAKE, "--dry-run", "--quiet", "host")
    if dry_run.returncode:
        lines = [line for line in dry_run.stderr.splitlines() if not line.startswith("Using ")]
        typer.echo("\n".join(lines), err=True)
        raise typer.Exit(dry_run.returncode)
    return read_dry_run(dry_run.stdout + dry_run.stderr)


def touch_outputs() -> None:
    """Tell Snakemake that every output is up to date, whatever its time says."""
    run_command(*SNAKEMAKE, "--touch")


def missing_outputs() -> list[str]:
    """Return the outputs of dvc.yaml that are not there."""
    stages = read_stages(Path("dvc.yaml")).values()
    return [path for stage in stages for path in outputs_of(stage) if not Path(path).exists()]


def run_snakemake(
    engine: Engine, cores: int | None, force: bool, targets: Iterable[str] = ()
) -> None:
    """Run every job that is due, or those for ``targets``; ends with the exit code of a job that failed."""
    options = ["--quiet", "host", *engine.options, *(["--cores", str(cores)] if cores else [])]
    words = [*options, *(["--forceall"] if force else []), "--", *targets]
    process = _start([*SNAKEMAKE, *words], engine)
    names: dict[str, str] = {}
    said: list[str] = []
    told: list[str] = []
    name = failed = ""
    code = 0
    with _stopped_with_us(process), _progress() as show:
        for line in _lines(process, said):
            if re.match(r"(local)?rule \w+:$", line):
                name = ""
            elif match := re.match(r"    log: (\S+)( \(check)?", line):
                name = match[1].removeprefix("logs/").removesuffix(".log")
                failed = failed or (match[1] if match[2] else "")
            elif match := re.match(r"    jobid: (\d+)", line):
                names.setdefault(match[1], name)
            elif match := re.match(r"Finished jobid: (\d+)", line):
                name = names.get(match[1], "")
            elif match := re.match(r"(\d+) of (\d+) steps", line):
                show(int(match[1]), int(match[2]), name)
            elif match := re.search(r"returned non-zero exit status (\d+)", line):
                code = code or int(match[1])
            elif match := re.search(r"died with <Signals\.\w+: (\d+)>", line):
                code = code or 128 + int(match[1])
            elif line.startswith(PREFIX):
                told.append(line)
    if told:  # of jobs that failed elsewhere, each with its log
        code, failed = 1 if any(BY_ITSELF in line for line in told) else 2, ""
        said = [
            *told,
            f"{PREFIX}settings are in {engine.options[-1]}/config.yaml; what is finished stays",
        ]
    _finish(process, code, failed, said)


def run_dvc(engine: Engine, force: bool) -> None:
    """Run every stage that DVC finds changed, one after the other."""
    total = len(read_stages(Path("dvc.yaml")))
    process = _start([*DVC, "repro", *(["--force"] if force else [])], engine)
    said: list[str] = []
    done = code = 0
    failed = ""
    with _stopped_with_us(process), _progress() as show:
        for line in _lines(process, said):
            if match := re.match(r"(?:Running stage|Stage) '([\w@-]+)'", line):
                done += 1
                show(done, total, "" if "didn't change" in line else match[1])
            elif match := re.match(r"> .* --log (\S+)", line):
                failed = match[1]
            elif match := re.search(r"exited with (-?\d+)$", line):
                code = int(match[1]) if int(match[1]) >= 0 else 128 - int(match[1])
    _finish(process, code, failed, said)


def _start(command: list[str], engine: Engine) -> subprocess.Popen[str]:
    """Start an engine in a process group of its own, to be stopped with all its jobs (`_stopped_with_us`)."""
    return subprocess.Popen(
        command,
        env=environment() | engine.variables,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        process_group=0,
        pass_fds=engine.files,
        preexec_fn=partial(end_with, os.getpid(), signal.SIGINT),  # noqa: PLW1509 (no thread runs yet)
    )


@contextmanager
def _stopped_with_us(process: subprocess.Popen[Any]) -> Iterator[None]:
    """Pass a signal that ends this process on to the engine and its jobs, and wait for them."""

    def stop(number: int, _: FrameType | None) -> None:
        raise Stopped(number)

    before = {number: signal.signal(number, stop) for number in STOPS}
    try:
        yield
    except Stopped as stopped:
        for number in STOPS:  # a second time: at once
            signal.signal(number, lambda *_: os.killpg(process.pid, signal.SIGKILL))
        os.killpg(process.pid, signal.SIGINT)
        process.communicate()
        typer.echo("Stopped; what is finished stays. Go on with: rankwise run", err=True)
        raise typer.Exit(128 + stopped.number) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _lines(process: subprocess.Popen[str], said: list[str]) -> Iterator[str]:
    """Yield what a process says line by line, keeping the last lines in ``said``."""
    for line in process.stdout or ():
        said.append(line.rstrip())
        del said[:-TAIL]
        yield line.rstrip()


def _finish(process: subprocess.Popen[str], code: int, failed: str, said: list[str]) -> None:
    """Wait for an engine; if it failed, show the end of the job's log and pass the exit code on."""
    if process.stdout is not None:
        process.stdout.close()
    if not process.wait():
        return
    log = Path(failed)
    if failed and log.is_file():
        said = log.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL:]
        typer.echo(
            f"{failed.removeprefix('logs/').removesuffix('.log')} failed; its log is {log}:",
            err=True,
        )
    typer.echo("\n".join(said), err=True)
    if code == memory.KILLED:
        stage = failed.removeprefix("logs/").removesuffix(".log").split("/")
        typer.echo(
            f"{'/'.join(stage)} was killed (signal 9), as a system does that has no memory left: {memory.advise_less_memory(stage)}",
            err=True,
        )
    raise typer.Exit(code or process.returncode)


@contextmanager
def _progress() -> Iterator[Show]:
    """Yield ``show(done, total, name)``: a bar on a terminal, one line a job otherwise."""
    console = Console(stderr=True)
    if not console.is_terminal:

        def say(done: int, total: int, name: str) -> None:
            if name:
                typer.echo(f"[{done}/{total}] {name}", err=True)

        yield say
        return
    columns = (SpinnerColumn(), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, "{task.description}", console=console, transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total, name: bar.update(
            task, completed=done, total=total, description=name
        )
