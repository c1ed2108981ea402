"""``rankwise migrate``: bring a study of version 0.1 to this version."""

from pathlib import Path

import typer

from rankwise.commands.init import DVC_IGNORED, IGNORED
from rankwise.commands.sync import refresh
from rankwise.files.atomic import write_if_changed, write_text
from rankwise.workflow.migration import is_old_study, with_new_names
from rankwise.workflow.rules import SNAKEFILE


def migrate() -> None:
    """Bring the study in this folder from version 0.1 to this version: names, Snakefile, dvc.yaml.

    params.yaml keeps its comments and the names of its runs. Results are made again by `rankwise run`.
    """
    params = Path("params.yaml")
    renamed = with_new_names(params.read_text(encoding="utf-8"))
    if not is_old_study() and not write_if_changed(params, renamed):
        typer.echo("Nothing to do: this study is of this version.")
        return
    write_if_changed(params, renamed)
    write_text(Path("Snakefile"), SNAKEFILE.read_text(encoding="utf-8"))
    write_text(Path(".gitignore"), IGNORED)
    write_text(Path(".dvcignore"), DVC_IGNORED)
    Path("dvc.lock").unlink(missing_ok=True)  # it names the stages of the old version
    refresh()
    typer.echo(
        "Migrated params.yaml, Snakefile and dvc.yaml. Make the results again with: rankwise run"
    )
