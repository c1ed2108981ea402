"""Stage allocate: ranks for one run, by search or in closed form, from stored factors."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rankwise.errors import RankwiseError
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

if TYPE_CHECKING:
    from rankwise.allocate.problem import Trials
    from rankwise.search.inputs import SearchInputs

log = logging.getLogger("rankwise.allocate")


def command(
    params: ParamsFile,
    run: RunFile,
    build: BuildFile,
    compute: ComputeFile,
    model: ModelFile,
    factors: FactorFiles,
    trials: Annotated[Path, typer.Option(help="Rows of the search to write.")],
    out: OutFile,
    work: Annotated[Path, typer.Option(help="Rows of an unfinished search, taken up again.")],
    search: SearchFile = None,
    statistics: Annotated[
        list[Path] | None, typer.Option(help="Statistics of a layer group; repeat.")
    ] = None,
    rows: Annotated[
        list[Path] | None,
        typer.Option("--row", help="Row of a trial that another job ran; repeat, for all trials."),
    ] = None,
) -> None:
    """Choose the ranks of one run."""
    from rankwise.allocate.base import ScoringAllocator
    from rankwise.allocate.problem import Trials
    from rankwise.artifacts.statistics import GroupStatistics
    from rankwise.files.atomic import write_text
    from rankwise.search.inputs import SearchInputs
    from rankwise.search.problem import build_record
    from rankwise.search.scorer import hash_search_inputs

    given = SearchInputs.read(params, run, build, compute, model, factors)
    asked, allocator = given.asked, given.allocator
    known, searched = Trials(), None
    if rows:
        known = _known(given, rows)
    elif isinstance(allocator, ScoringAllocator):
        searched = given.search_model(search)
        assert search is not None  # noqa: S101 (the search model was made of it)
        key = hash_search_inputs(allocator, asked, given.dtype, [model, search, *factors])
        known = Trials(work, key, allocator.trials)
    if allocator.statistics and not statistics:
        raise RankwiseError(
            f"{asked.allocate} asks how alike hidden states are: --statistics names the covariance files"
        )
    groups = [GroupStatistics.load(path) for path in statistics or []]
    similarity = {key: value for group in groups for key, value in group.similarity.items()}
    problem = given.problem(searched, known, similarity)
    choices = allocator(problem)
    write_text(trials, known.text())
    name = run.stem.removeprefix("runs.")
    build_record(name, asked, allocator, problem, choices, given.manifest).save(out)
    target = problem.budget.target
    reached = target.shown(problem.budget.reached(choices))
    log.info("%s: %s asked, %s reached", name, target, reached)


def _known(given: "SearchInputs", rows: list[Path]) -> "Trials":
    """Return the rows of all trials, which other jobs ran."""
    from rankwise.allocate.problem import Trials
    from rankwise.allocate.trials import read_rows

    found = [row for path in rows for row in read_rows(path)]
    if [row["trial"] for row in found] != list(range(given.search.trials)):
        raise RankwiseError(
            f"allocate: rows of trials {[row['trial'] for row in found]} given, expected those of trials 0 to "
            f"{given.search.trials - 1}, in order; give one --row for each"
        )
    trials = Trials()
    trials.rows = found
    return trials
