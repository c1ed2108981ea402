"""``rankwise plan``: what a study takes and whether it fits, before anything runs."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rankwise.files.atomic import write_json
from rankwise.files.checksummed import sha256
from rankwise.planning.job_resources import PLAN
from rankwise.workflow import engines
from rankwise.workflow.cluster import Executor

if TYPE_CHECKING:
    from rankwise.planning.plan import Plan

DOES_NOT_FIT = 3
"""Exit code."""


def plan(
    params: Annotated[Path, typer.Option(help="The study's params.yaml.")] = Path("params.yaml"),
    config: Annotated[
        Path | None,
        typer.Option(help="Folder with the model's config.json, for a model that is not here yet."),
    ] = None,
    time: Annotated[bool, typer.Option(help="Probe this machine for some seconds.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(help=f"Write it here as well; jobs on a cluster ask for what {PLAN} says."),
    ] = None,
) -> None:
    """Say what the study will take, from the model's configuration alone: memory, disk, time.

    Ends with exit code 3 where it does not fit this machine. Example: rankwise plan --json
    """
    from rankwise.inputs.sources import model_folder
    from rankwise.planning.machine import Room, libraries, probe
    from rankwise.planning.plan import plan as planned
    from rankwise.planning.sizes import Sizes
    from rankwise.validation.params import load_params

    study = load_params(params)
    model = study.prepare.model
    base = libraries()
    sizes = Sizes.of(study, config or model_folder(model.source, model.revision))
    room = Room.here(study.compute.device)
    found = planned(study, sizes, room, base)
    if time and not found.missing:
        found = planned(study, sizes, room, base, probe(study, sizes))
    if out is not None:
        write_json(out, {"params": sha256(params), **found.model_dump(mode="json")})
    if as_json:
        typer.echo(json.dumps(found.model_dump(mode="json"), indent=1))
    else:
        _print(found)
    for sentence in found.missing:
        typer.echo(f"rankwise: {sentence}", err=True)
    if found.missing:
        raise typer.Exit(DOES_NOT_FIT)


def plan_ahead(engine: engines.Engine, place: Executor, *, anyway: bool) -> None:
    """Leave a plan for jobs that run elsewhere; for those that run here, end where they do not fit.

    Where there is no telling, it says so and leaves it to the stages, or to the table for jobs elsewhere.
    """
    if anyway and not place.elsewhere:
        return
    options = ("--out", str(PLAN)) if place.elsewhere else ("--no-time",)
    asked = engines.run_command(sys.executable, "-m", "rankwise", "plan", *options, engine=engine)
    if asked.returncode not in (0, DOES_NOT_FIT):
        reason = asked.stderr.strip().rpartition("\n")[2]
        typer.echo(f"There is no telling beforehand whether this fits. {reason}", err=True)
    elif asked.returncode and not place.elsewhere:
        said = [line for line in asked.stderr.splitlines() if " missing" in line]
        typer.echo("\n".join([*said, "Run it all the same with: rankwise run --anyway"]), err=True)
        raise typer.Exit(DOES_NOT_FIT)


def _print(found: "Plan") -> None:
    """Print a row a stage, then the whole."""
    from rich.console import Console
    from rich.table import Table

    table = Table("stage", box=None, header_style="bold")
    for title in ("jobs", "memory MiB", "GPU MiB", "disk MiB", "TFLOP", "time"):
        table.add_column(title, justify="right", no_wrap=True)
    for stage in found.stages:
        numbers = [stage.memory_mib, stage.gpu_mib, stage.disk_mib]
        row = [f"{number:,}" for number in (stage.jobs, *numbers)]
        table.add_row(stage.stage, *row, f"{stage.flops / 1e12:,.2f}", _time(stage.seconds))
    console = Console()
    if not console.is_terminal:
        console.width = 100
    console.print(table)
    room = found.room
    lines = [
        f"{found.parameters:,} parameters, {found.factored:,} of them in linears that may be factored.",
        f"Largest job: {found.memory_mib:,} MiB of {room['memory_mib']:,} MiB memory that are free. "
        f"Left on disk: {found.disk_mib:,} MiB of {room['disk_mib']:,} MiB.",
        f"Time: {_time(found.seconds)}, one job after the other, by a probe of this machine."
        if found.seconds is not None
        else "Time: not probed.",
    ]
    console.print("\n".join(lines), highlight=False, markup=False)


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
