"""Stage track: MLflow, filled from the study's files."""

from pathlib import Path
from typing import Annotated

import typer

from rankwise.stages.options import OutFile, ParamsFile


def command(
    params: ParamsFile,
    summary: Annotated[Path, typer.Option(help="The table of the study.")],
    report: Annotated[Path, typer.Option(help="The report page.")],
    scores: Annotated[list[Path], typer.Option(help="Scores of a run, dense included; repeat.")],
    items: Annotated[list[Path], typer.Option(help="Items of a run, dense included; repeat.")],
    store: Annotated[Path, typer.Option(help="SQLite file, unless MLFLOW_TRACKING_URI is set.")],
    out: OutFile,
    allocation: Annotated[list[Path] | None, typer.Option(help="Ranks of a run; repeat.")] = None,
    refinement: Annotated[
        list[Path] | None, typer.Option(help="Record of a refined run; repeat.")
    ] = None,
    trials: Annotated[
        list[Path] | None,
        typer.Option(help="Search of a run, in the order of --allocation; repeat."),
    ] = None,
    checkpoint: Annotated[
        list[Path] | None, typer.Option(help="Manifest of a run's weights; repeat.")
    ] = None,
) -> None:
    """Bring MLflow up to date with the study's files."""
    import logging

    from rankwise.params.section import read_section
    from rankwise.params.stages import Track
    from rankwise.results.files import StudyFiles
    from rankwise.tracking.entries import build_entries
    from rankwise.tracking.store import fill_mlflow

    files = StudyFiles(
        scores=scores,
        items=items,
        allocations=allocation or [],
        trials=trials or [],
        checkpoints=checkpoint or [],
        refinements=refinement or [],
    )
    found = build_entries(files, summary, report)
    tracked = fill_mlflow(read_section(params, Track).experiment, found, store)
    tracked.save(out)
    logging.getLogger("rankwise.track").info(
        "%d runs in experiment '%s'", len(tracked.runs), tracked.experiment
    )
