"""Stage report: the table of the study and one self-contained page."""

from pathlib import Path
from typing import Annotated

import typer

from rankwise.stages.options import OutFile, ParamsFile


def command(
    params: ParamsFile,
    scores: Annotated[list[Path], typer.Option(help="Scores of a run, dense included; repeat.")],
    items: Annotated[list[Path], typer.Option(help="Items of a run, dense included; repeat.")],
    out: OutFile,
    summary: Annotated[Path, typer.Option(help="The table as JSON.")],
    speed: Annotated[
        list[Path] | None, typer.Option(help="Speed of a run, where runs are timed; repeat.")
    ] = None,
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
    section: Annotated[
        list[Path] | None, typer.Option(help="Section file that the study used; repeat.")
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
    from rankwise.params.section import read_section
    from rankwise.params.stages import Report
    from rankwise.report.again import print_params
    from rankwise.report.inputs import read_inputs
    from rankwise.report.page import render
    from rankwise.results.files import StudyFiles
    from rankwise.results.reading import read_sections, read_study
    from rankwise.results.study import compare_to_dense, summarise_runs

    log = logging.getLogger("rankwise.report")
    given = read_section(params, Report)
    files = StudyFiles(
        scores=scores,
        items=items,
        speed=speed or [],
        allocations=allocation or [],
        trials=trials or [],
        refinements=refinement or [],
        checkpoints=checkpoint or [],
        sections=section or [],
        factors=factors or [],
        model=model,
        corpora=corpora,
        tasks=tasks,
    )
    found, gaps = read_study(files, out)
    for sentence in gaps.values():
        log.warning("%s", sentence)
    results = compare_to_dense(found, given)
    sections = read_sections(files.sections)
    inputs = read_inputs(files, sections)
    write_text(out, render(given, results, gaps, logs, inputs, print_params(sections)))
    summarise_runs(given, results, gaps).save(summary)
    log.info("%d runs: %s", len(results), out)
