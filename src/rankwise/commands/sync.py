"""``rankwise sync``: refresh what a study keeps of its parameters and of the installed code."""

from pathlib import Path

import typer

from rankwise.commands.study import require_study
from rankwise.stages import code, params
from rankwise.validation.params import cut_sections, load_params
from rankwise.workflow.fingerprints import CODE
from rankwise.workflow.rules import SECTIONS


def sync() -> None:
    """Refresh the sections, the code fingerprints and dvc.yaml, so that DVC sees a changed package.

    `rankwise run` does the same by itself; a bare `snakemake` refreshes all but dvc.yaml. Example: rankwise sync && dvc status
    """
    require_study()
    refresh()
    typer.echo(f"{SECTIONS}, {CODE} and dvc.yaml are up to date.")


def refresh() -> None:
    """Write sections, fingerprints and dvc.yaml of the study in the working directory where they changed."""
    code.command(Path("params.yaml"), CODE)
    params.command(Path("params.yaml"), SECTIONS, Path("dvc.yaml"))


def refresh_inputs() -> None:
    """Write sections and fingerprints alone: what Snakemake and DVC go by when they look for changes."""
    code.command(Path("params.yaml"), CODE)
    cut_sections(load_params(Path("params.yaml")), SECTIONS)
