"""Stage code: the code fingerprints of a study that holds the package, as the repository's own does."""

from pathlib import Path
from typing import Annotated

import typer

from rankwise.stages.options import OutFile
from rankwise.validation.params import load_params
from rankwise.workflow.fingerprints import write_fingerprints
from rankwise.workflow.rules import RULES, packaged_inputs


def command(
    params: Annotated[Path, typer.Option("--params", help="The whole params.yaml.")],
    out: OutFile,
) -> None:
    """Write the code fingerprints of the stages that a study runs, where they changed."""
    study = load_params(params)
    write_fingerprints(study, out, RULES, packaged_inputs(study))
