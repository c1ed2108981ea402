"""Stage suggest: what the trials of one round of a search try, frozen before they run."""

from pathlib import Path
from typing import Annotated

import typer

from rankwise.stages.options import (
    BuildFile,
    ComputeFile,
    FactorFiles,
    ModelFile,
    OutFile,
    ParamsFile,
    RunFile,
    SearchFile,
)


def command(
    params: ParamsFile,
    run: RunFile,
    build: BuildFile,
    compute: ComputeFile,
    model: ModelFile,
    factors: FactorFiles,
    number: Annotated[int, typer.Option("--round", min=0, help="Which round, from 0.")],
    out: OutFile,
    search: SearchFile = None,
    rows: Annotated[
        list[Path] | None,
        typer.Option("--row", help="Row of a trial of the rounds before; repeat, for all of them."),
    ] = None,
) -> None:
    """Suggest the trials of one round, from the rows of the rounds before."""
    from rankwise.allocate.trials import read_rows
    from rankwise.errors import RankwiseError
    from rankwise.files.atomic import write_text
    from rankwise.files.checksummed import to_checksummed_lines
    from rankwise.search.inputs import SearchInputs

    given = SearchInputs.read(params, run, build, compute, model, factors)
    known = [row for path in rows or [] for row in read_rows(path)]
    expected = list(range(number * given.search.q))
    if [row["trial"] for row in known] != expected:
        raise RankwiseError(
            f"suggest: round {number} follows {len(expected)} trials, rows of trials {[r['trial'] for r in known]} given; "
            "give one --row for each, in order"
        )
    chooses = number == 0 and given.search.validation is not None
    searched = given.search_model(search) if chooses else None
    suggested = given.search.suggestions(given.problem(searched), number, known)
    write_text(out, to_checksummed_lines(suggested))
