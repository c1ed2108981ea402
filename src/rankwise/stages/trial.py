"""Stage trial: one suggestion of a search, scored on search text."""

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
    suggestions: Annotated[Path, typer.Option(help="Suggestions of the trial's round.")],
    trial: Annotated[int, typer.Option(min=0, help="Which trial of the search, from 0.")],
    out: OutFile,
    search: SearchFile = None,
) -> None:
    """Run one trial of a search; one that cannot be scored is recorded as failed."""
    from rankwise.allocate.trials import read_suggestions
    from rankwise.errors import RankwiseError
    from rankwise.files.atomic import write_text
    from rankwise.files.checksummed import to_checksummed_lines
    from rankwise.search.inputs import SearchInputs

    suggested = {row["trial"]: row for row in read_suggestions(suggestions)}
    if trial not in suggested:
        raise RankwiseError(
            f"{suggestions} has no suggestion for trial {trial}, but for {sorted(suggested)}; "
            "name the file of its round"
        )
    given = SearchInputs.read(params, run, build, compute, model, factors)
    problem = given.problem(given.search_model(search))
    write_text(out, to_checksummed_lines([given.search.trial(problem, suggested[trial])]))
