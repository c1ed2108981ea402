"""A study, a folder with its own params.yaml: make one, run it; `rankwise.results` looks at it."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated, Literal

import typer

from rankwise.commands import show, sync
from rankwise.commands.plan import plan_ahead
from rankwise.commands.study import require_study
from rankwise.errors import RankwiseError
from rankwise.forkserver.launch import fork_server
from rankwise.workflow import engines
from rankwise.workflow.cluster import HERE, Executor, read_executor
from rankwise.workflow.due import DueJob, remember, summarise
from rankwise.workflow.dvc_lock import prune_lock
from rankwise.workflow.dvc_yaml import read_stages
from rankwise.workflow.locks import hold_study


def run(
    cores: Annotated[
        int | None, typer.Option(min=1, help="Cores to use; default: those of the profile.")
    ] = None,
    engine: Annotated[
        Literal["snakemake", "dvc"], typer.Option(help="Who runs the jobs.")
    ] = "snakemake",
    force: Annotated[bool, typer.Option(help="Run every job, due or not.")] = False,
    cold: Annotated[
        bool, typer.Option("--cold", help="Let every job import the libraries by itself: slower.")
    ] = False,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Also what by `rankwise plan` does not fit here.")
    ] = False,
    profile: Annotated[
        str | None, typer.Option(help="Where jobs run: a folder of profiles/, such as slurm.")
    ] = None,
) -> None:
    """Run what the study lacks, record it with DVC, print the table.

    Example: rankwise run --profile slurm
    """
    require_study()
    if profile and engine == "dvc":
        raise RankwiseError("--profile says how Snakemake runs; leave out --engine dvc")
    with hold_study("rankwise run") as lock:
        params = Path("params.yaml").read_bytes()
        place = read_executor(profile) if profile else HERE
        sync.refresh_inputs()
        due, recorded = engines.find_due()
        if (
            due and recorded and not force
        ):  # every byte is as after a complete run, only times differ
            engines.touch_outputs()
        elif due or force:
            with _start_engine(cold, lock, place) as started:
                plan_ahead(started, place, anyway=anyway)
                _announce(due, force=force)
                try:
                    _run_all(engine, cores, force, started)
                except typer.Exit as ended:
                    if ended.exit_code < 128:  # not where somebody stopped it
                        sync.refresh()
                        show.report_partial_results()
                    raise
        if not recorded or force:
            sync.refresh()
            if (
                lost := engines.missing_outputs()
            ):  # Snakemake misses nothing that no job is due to read
                with _start_engine(cold, lock, place) as started:
                    recorded = _remake(lost, cores, started)
        if not force and (recorded or not due):
            typer.echo(
                "Nothing to be done: every result is up to date with parameters, inputs and code."
            )
        if not recorded or force:
            _record(params)
        remember()
        show.print_table()


def _computes_on_cpu() -> bool:
    """A GPU's driver cannot be used in a fork once it was asked anything; jobs there are long anyway."""
    from rankwise.validation.params import load_params

    return load_params(Path("params.yaml")).compute.device == "cpu"


@contextmanager
def _start_engine(cold: bool, lock: int, place: Executor) -> Iterator[engines.Engine]:
    """Yield how to start an engine: with a fork server beside it where its jobs can use one."""
    alone = cold or place.elsewhere or not _computes_on_cpu()
    server = nullcontext(dict[str, str]()) if alone else fork_server(engines.environment())
    with server as variables:
        yield engines.Engine(variables, (lock,), place.options)


def _run_all(engine: str, cores: int | None, force: bool, started: engines.Engine) -> None:
    if engine == "snakemake":
        return engines.run_snakemake(started, cores, force)
    sync.refresh()
    engines.run_dvc(started, force)
    return engines.touch_outputs()


def _remake(lost: list[str], cores: int | None, started: engines.Engine) -> bool:
    """Run the jobs of these outputs, and those behind them if the bytes are others; return whether they are not."""
    engines.run_snakemake(started, cores, force=False, targets=lost)
    due, recorded = engines.find_due()
    if due and recorded:
        engines.touch_outputs()
    elif due:
        engines.run_snakemake(started, cores, force=False)
    typer.echo(f"Made again: {', '.join(lost)}")
    return recorded


def _record(params: bytes) -> None:
    """Let DVC record what Snakemake made, unless params.yaml was edited while it ran."""
    if Path("params.yaml").read_bytes() != params:
        raise RankwiseError("params.yaml changed while the study ran; run it again")
    done = engines.run_command(*engines.DVC, "commit", "--force", "--quiet")
    if done.returncode:
        raise RankwiseError(f"DVC could not record the results: {done.stderr.strip()}")
    prune_lock(Path("dvc.lock"), set(read_stages(Path("dvc.yaml"))))


def _announce(due: list[DueJob], *, force: bool) -> None:
    """Say before the work which jobs run, and why."""
    sync.refresh()
    total = len([name for name in read_stages(Path("dvc.yaml")) if name not in ("code", "params")])
    sentence = f"{total} of {total} jobs will run: --force" if force else summarise(due, total)
    typer.echo(sentence, err=True)
