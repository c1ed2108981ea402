"""Stage report: the table of the study and one self-contained page."""

from pathlib import Path
from typing import Annotated

import typer

from rankwise.stages.options import OutFile, ParamsFile


def command(
    context: typer.Context,
    params: ParamsFile,
    scores: Annotated[list[Path], typer.Option(help="Scores of a run, dense included; repeat.")],
    items: Annotated[list[Path], typer.Option(help="Items of a run, dense included; repeat.")],
    out: OutFile,
    summary: Annotated[Path, typer.Option(help="The table as JSON.")],
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
    sections: Annotated[
        list[Path] | None,
        typer.Option("--section", help="Section file that the study used; repeat."),
    ] = None,
    factors: Annotated[
        list[Path] | None, typer.Option(help="Factors, for their spectra; repeat.")
    ] = None,
    model: Annotated[Path | None, typer.Option(help="Manifest of the dense model.")] = None,
    corpora: Annotated[Path | None, typer.Option(help="Manifest of the texts.")] = None,
    tasks: Annotated[Path | None, typer.Option(help="Manifest of the zero-shot tasks.")] = None,
    logs: Annotated[
        Path | None, typer.Option(help="Folder of logs, for what the stages took.")
    ] = None,
) -> None:
    """Write the report page and the table of the study.

    A run whose scores, items or speed are not there is a gap: named on the page, with what is missing.
    """
    import logging

    from rankwise.files.atomic import write_text
    from rankwise.params.report import Report
    from rankwise.params.section import read_section
    from rankwise.report.page import render_page
    from rankwise.results.files import StudyFiles
    from rankwise.results.study import StudyResults

    log = logging.getLogger("rankwise.report")
    files = StudyFiles.from_options(context.params)  # the options that name records, by their names
    study = StudyResults.load(files, read_section(params, Report))
    for sentence in study.gaps.values():
        log.warning("%s", sentence)
    write_text(out, render_page(study, out, logs))
    study.summarise().save(summary)
    log.info("%d runs: %s", len(study.runs), out)
