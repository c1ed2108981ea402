"""Stage allocate: ranks for one run, by search or in closed form, from stored factors."""

import logging
from pathlib import Path
from typing import Annotated

import typer

from rankwise.errors import RankwiseError
from rankwise.options import ComputeFile, FactorFiles, ModelFile, OutFile, ParamsFile

log = logging.getLogger("rankwise.allocate")


def command(
    params: ParamsFile,
    run: Annotated[Path, typer.Option(help="Section file of the run.")],
    build: Annotated[Path, typer.Option(help="Section file 'build'.")],
    compute: ComputeFile,
    model: ModelFile,
    factors: FactorFiles,
    trials: Annotated[Path, typer.Option(help="Rows of the search to write.")],
    out: OutFile,
    work: Annotated[Path, typer.Option(help="Rows of an unfinished search, taken up again.")],
    search: Annotated[Path | None, typer.Option(help="Search windows.")] = None,
    statistics: Annotated[
        list[Path] | None, typer.Option(help="Statistics of a block of layers; repeat.")
    ] = None,
) -> None:
    """Choose the ranks of one run."""
    from rankwise.allocate import allocators
    from rankwise.allocate.base import ScoringAllocator
    from rankwise.allocate.problem import Trials
    from rankwise.allocation import budget_of, matrices_of, problem_of, record_of
    from rankwise.artifacts import BlockFactors, BlockStatistics, Tokens
    from rankwise.checkpoint import load_dense
    from rankwise.compute import set_up
    from rankwise.files import write_text
    from rankwise.params import Build, Compute
    from rankwise.records import ModelManifest
    from rankwise.runs import Run
    from rankwise.search import SearchModel, fingerprint
    from rankwise.sections import read_method, read_section

    asked = read_section(run, Run)
    allocator = read_method(params, allocators)
    if asked.seed is not None:
        allocator = allocator.model_copy(update={"seed": asked.seed})
    device = set_up(read_section(compute, Compute))
    manifest = ModelManifest.load(model)
    dtype = read_section(build, Build).dtype or manifest.dtype
    stored = {name: f for path in factors for name, f in BlockFactors.load(path).linears.items()}
    budget = budget_of(asked, manifest, dtype, matrices_of(manifest, dtype, stored))
    rows, searched = Trials(), None
    if isinstance(allocator, ScoringAllocator):
        if search is None:
            raise RankwiseError(f"{asked.allocate} scores candidates: --search names the windows")
        key = fingerprint(allocator, asked, dtype, [model, search, *factors])
        rows = Trials(work, key, allocator.trials)
        dense, _ = load_dense(manifest)
        ids = Tokens.load(search).ids
        searched = SearchModel(dense.to(device), stored, ids, allocator.batch)
    if allocator.statistics and not statistics:
        raise RankwiseError(
            f"{asked.allocate} asks how alike hidden states are: --statistics names the covariance files"
        )
    blocks = [BlockStatistics.load(path) for path in statistics or []]
    similarity = {key: value for block in blocks for key, value in block.similarity.items()}
    problem = problem_of(budget, manifest, stored, searched, rows, similarity)
    choices = allocator(problem)
    write_text(trials, rows.text())
    name = run.stem.removeprefix("runs.")
    record_of(name, asked, allocator, problem, choices, manifest).save(out)
    target = problem.budget.target
    reached = target.shown(problem.budget.reached(choices))
    log.info("%s: %s asked, %s reached", name, target, reached)
