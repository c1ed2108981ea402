"""The command-line options that several stages share, declared once."""

from pathlib import Path
from typing import Annotated

import typer

ParamsFile = Annotated[Path, typer.Option("--params", help="Section file cut from params.yaml.")]
ComputeFile = Annotated[Path, typer.Option("--compute", help="Section file 'compute'.")]
ModelFile = Annotated[Path, typer.Option("--model", help="Manifest of the dense model.")]
FactorFiles = Annotated[list[Path], typer.Option("--factors", help="Factors of a group; repeat.")]
RunFile = Annotated[Path, typer.Option("--run", help="Section file of the run.")]
BuildFile = Annotated[Path, typer.Option("--build", help="Section file 'build'.")]
SearchFile = Annotated[Path | None, typer.Option("--search", help="Search windows.")]
RunName = Annotated[
    str, typer.Option("--run", help="Name of the run; 'dense' for the model itself.")
]
CheckpointFile = Annotated[
    Path, typer.Option("--checkpoint", help="Manifest of its checkpoint, or of the dense model.")
]
OutFile = Annotated[Path, typer.Option("--out", help="File to write.")]
