"""Stage track: MLflow, filled from the study's files."""

from pathlib import Path
from typing import Annotated

import typer

from rankwise.stages.options import OutFile, ParamsFile


def command(
    context: typer.Context,
    params: ParamsFile,
    report: Annotated[Path, typer.Option(help="Section file 'report': how runs are compared.")],
    page: Annotated[Path, typer.Option(help="The report page.")],
    scores: Annotated[list[Path], typer.Option(help="Scores of a run, dense included; repeat.")],
    items: Annotated[list[Path], typer.Option(help="Items of a run, dense included; repeat.")],
    store: Annotated[Path, typer.Option(help="SQLite file, unless MLFLOW_TRACKING_URI is set.")],
    out: OutFile,
    speed: Annotated[
        list[Path] | None, typer.Option(help="Speed of a run, where runs are timed; repeat.")
    ] = None,
    allocations: Annotated[
        list[Path] | None, typer.Option("--allocation", help="Ranks of a run; repeat.")
    ] = None,
    refinements: Annotated[
        list[Path] | None, typer.Option("--refinement", help="Record of a refined run; repeat.")
    ] = None,
    trials: Annotated[
        list[Path] | None,
        typer.Option(help="Search of a run, in the order of --allocation; repeat."),
    ] = None,
    checkpoints: Annotated[
        list[Path] | None, typer.Option("--checkpoint", help="Manifest of a run's weights; repeat.")
    ] = None,
) -> None:
    """Bring MLflow up to date with the study's files."""
    import logging

    from rankwise.params.report import Report
    from rankwise.params.section import read_section
    from rankwise.params.track import Track
    from rankwise.results.files import StudyFiles
    from rankwise.results.study import StudyResults
    from rankwise.tracking.entries import build_entries
    from rankwise.tracking.store import fill_mlflow

    log = logging.getLogger("rankwise.track")
    files = StudyFiles.from_options(context.params)  # the options that name records, by their names
    study = StudyResults.load(files, read_section(report, Report))
    for sentence in study.gaps.values():
        log.warning("%s", sentence)
    entries = build_entries(study, page)
    tracked = fill_mlflow(read_section(params, Track).experiment, entries, store)
    tracked.save(out)
    log.info("%d runs in experiment '%s'", len(tracked.runs), tracked.experiment)
