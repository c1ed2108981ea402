"""``rankwise why``: which job makes a file of the study, and why that job is due, or is not."""

from pathlib import Path
from typing import Annotated

import typer

from rankwise.commands.study import require_study
from rankwise.commands.sync import refresh
from rankwise.errors import RankwiseError, nearest
from rankwise.workflow.due import FOLLOWS, DueJob
from rankwise.workflow.dvc_fold import Stage
from rankwise.workflow.dvc_yaml import outputs_of, read_stages
from rankwise.workflow.engines import list_due


def why(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file that the study makes.")],
) -> None:
    """Say which job makes a file, what it is made from, and why the job is due or not.

    Example: rankwise why data/checkpoints/rankwise-80
    """
    require_study()
    refresh()
    stages = {
        name: stage for name, stage in read_stages(Path("dvc.yaml")).items() if name != "code"
    }
    path = file.as_posix().rstrip("/")
    maker = _find_maker(path, stages)
    due = {path: job for job in list_due() for path in job.outputs}
    job = next((due[out] for out in outputs_of(stages[maker]) if out in due), None)
    typer.echo(f"{path} is made by {maker}:\n  {stages[maker]['cmd']}")
    if job is None:
        typer.echo("It is up to date. The job runs again when one of these changes:")
        typer.echo("\n".join(f"  {path}" for path in stages[maker].get("deps", [])))
        return
    typer.echo(f"It is due: {job.name}, {job.reason}.")
    for cause in _causes(stages[maker], stages, due):
        typer.echo(f"  first {cause.name}: {cause.reason}")


def _find_maker(path: str, stages: dict[str, Stage]) -> str:
    """Return the name of the stage that writes a path, or a folder that it lies in."""
    outputs = {out: name for name, stage in stages.items() for out in outputs_of(stage)}
    for out, name in outputs.items():
        if path == out or path.startswith(f"{out}/"):
            return name
    raise RankwiseError(f"no job of this study makes '{path}'; {nearest(path, outputs)}")


def _causes(stage: Stage, stages: dict[str, Stage], due: dict[str, DueJob]) -> list[DueJob]:
    """Return the due jobs before a stage that are due by themselves, those nearest to the inputs first."""
    makers = {out: name for name, each in stages.items() for out in outputs_of(each)}
    found: dict[str, DueJob] = {}
    queue, seen = list(stage.get("deps", [])), set[str]()
    while queue:
        path = queue.pop()
        if path in seen or path not in makers:
            continue
        seen.add(path)
        if path in due and due[path].reason != FOLLOWS:
            found[due[path].name] = due[path]
        queue += stages[makers[path]].get("deps", [])
    return list(reversed(found.values()))
