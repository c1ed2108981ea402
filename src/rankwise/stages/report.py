"""Stage report: the table of the study and one self-contained page."""

from pathlib import Path
from typing import Annotated

import typer

from rankwise.options import OutFile, ParamsFile


def command(
    params: ParamsFile,
    scores: Annotated[list[Path], typer.Option(help="Scores of a run, dense included; repeat.")],
    speed: Annotated[list[Path], typer.Option(help="Speed of a run; repeat.")],
    out: OutFile,
    summary: Annotated[Path, typer.Option(help="The table as JSON.")],
    allocation: Annotated[list[Path] | None, typer.Option(help="Ranks of a run; repeat.")] = None,
    refinement: Annotated[
        list[Path] | None, typer.Option(help="Record of a refined run; repeat.")
    ] = None,
    trials: Annotated[
        list[Path] | None,
        typer.Option(help="Search of a run, in the order of --allocation; repeat."),
    ] = None,
) -> None:
    """Write the report page and the table of the study."""
    import logging

    from rankwise.files import write_text
    from rankwise.params import Report
    from rankwise.records import AllocationRecord, RefineRecord, Scores, SpeedRecord
    from rankwise.report.page import render
    from rankwise.report.study import gather, read_searches, summarise
    from rankwise.sections import read_section

    given = read_section(params, Report)
    allocations = [AllocationRecord.load(path) for path in allocation or []]
    results = gather(
        [Scores.load(path) for path in scores],
        [SpeedRecord.load(path) for path in speed],
        allocations,
        [RefineRecord.load(path) for path in refinement or []],
        read_searches(allocations, trials or []),
    )
    write_text(out, render(given.title, results))
    summarise(given.title, results).save(summary)
    logging.getLogger("rankwise.report").info("%d runs: %s", len(results), out)
