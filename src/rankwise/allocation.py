"""From stored factors to an allocation problem, and from its answer to the record."""

from collections.abc import Callable

from rankwise.allocate import Allocator
from rankwise.allocate.problem import Candidate, Problem, Ranks, Trials, TrialScore
from rankwise.artifacts import Factors
from rankwise.budget import Matrix, keep_reached
from rankwise.factoring import Weights
from rankwise.models import family_of
from rankwise.params import Run
from rankwise.records import AllocationRecord, LinearRank, ModelManifest
from rankwise.sources import model_folder


def problem_of(
    manifest: ModelManifest,
    factors: dict[str, Factors],
    score: Callable[[Ranks], TrialScore] | None,
    trials: Trials,
) -> Problem:
    """Return the problem: every linear of the decoder blocks, those with factors as candidates."""
    weights = Weights(model_folder(manifest.source, manifest.revision))
    matrices: dict[str, Matrix] = {}
    candidates: dict[str, Candidate] = {}
    for linear in family_of(manifest.architecture).linears(list(range(manifest.layers))):
        found = factors.get(linear.name)
        matrices[linear.name] = Matrix(
            shape=weights.shape(f"{linear.name}.weight"),
            max_rank=found.max_rank if found else 0,
            bias=f"{linear.name}.bias" in weights.where,
            factored_bias=found is not None and found.offset is not None,
        )
        if found is not None:
            candidates[linear.name] = Candidate(linear.layer, linear.kind, found.spectrum)
    return Problem(matrices, candidates, manifest.layers, score, trials)


def record_of(
    name: str, run: Run, allocator: Allocator, problem: Problem, ranks: Ranks
) -> AllocationRecord:
    """Return the record of one run's ranks: what was asked, what was reached, what it should cost."""
    linears = {
        linear: LinearRank(
            rank=ranks[linear],
            shape=matrix.shape,
            parameters=matrix.parameters(ranks[linear]),
            relative_error=_relative_error(problem, linear, ranks[linear]),
        )
        for linear, matrix in problem.matrices.items()
    }
    return AllocationRecord(
        run=name,
        decompose=run.decompose,
        allocate=run.allocate,
        parameters=allocator.model_dump(mode="json"),
        keep_asked=run.keep,
        keep_reached=keep_reached(problem.matrices, ranks),
        linears=linears,
        search=problem.trials.summary() if problem.trials is not None else {},
    )


def _relative_error(problem: Problem, linear: str, rank: int | None) -> float:
    """Return the squared spectrum's tail beyond ``rank`` as a share of the whole [-]."""
    if rank is None:
        return 0.0
    energy = problem.candidates[linear].spectrum.square()
    return float(energy[rank:].sum() / energy.sum()) if float(energy.sum()) else 0.0
