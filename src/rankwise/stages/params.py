"""Stage params: validate params.yaml, cut it into sections, bring dvc.yaml up to date with the job graph."""

import os
from pathlib import Path
from typing import Annotated

import typer

from rankwise.errors import RankwiseError
from rankwise.files.atomic import write_if_changed
from rankwise.stages.options import OutFile
from rankwise.validation.params import cut_sections, load_params
from rankwise.workflow.dvc_yaml import print_dvc_yaml
from rankwise.workflow.migration import refuse_old_study


def command(
    params: Annotated[Path, typer.Option("--params", help="The whole params.yaml.")],
    out: OutFile,
    dvc: Annotated[Path, typer.Option("--dvc", help="The dvc.yaml to bring up to date.")],
) -> None:
    """Validate params.yaml, cut it into sections, bring dvc.yaml up to date."""
    refuse_old_study()
    cut_sections(load_params(params), out)
    if not write_if_changed(dvc, print_dvc_yaml()):
        return
    if "DVC_STAGE" in os.environ:  # DVC is running the stages of the old file
        raise RankwiseError(
            f"{params} asks for other jobs than {dvc} listed when DVC read it. {dvc} is up to date now; run 'dvc repro' again"
        )
