"""From stored factors to an allocation problem, and from its answer to the record."""

from rankwise.allocate import Allocator
from rankwise.allocate.problem import Candidate, Choices, Problem, Trials
from rankwise.artifacts import Factors
from rankwise.budget import Choice, Kept, Matrix, keep_index_free, keep_reached
from rankwise.compute import DTYPES
from rankwise.factoring import Weights
from rankwise.records import AllocationRecord, LinearRank, ModelManifest
from rankwise.runs import Run
from rankwise.search import SearchModel
from rankwise.sources import model_folder


def problem_of(
    manifest: ModelManifest,
    factors: dict[str, Factors],
    searched: SearchModel | None,
    trials: Trials,
    similarity: dict[tuple[int, str], float] | None = None,
) -> Problem:
    """Return the problem: every linear of the decoder blocks, those with factors as candidates."""
    weights = Weights(model_folder(manifest.source, manifest.revision), manifest.family)
    matrices: dict[str, Matrix] = {}
    candidates: dict[str, Candidate] = {}
    linears = {x.name: x for x in manifest.family.linears(range(manifest.layers))}
    for linear in linears.values():
        found = factors.get(linear.name)
        matrices[linear.name] = Matrix(
            shape=weights.shape(linear.name),
            max_rank=found.max_rank if found else 0,
            bias=weights.has_bias(linear.name),
            factored_bias=found is not None and found.offset is not None,
            ladder=found.sparse.choices() if found and found.sparse else (),
            value_bits=DTYPES[manifest.dtype].itemsize * 8,
        )
        if found is not None:
            candidates[linear.name] = Candidate(
                linear.layer,
                linear.kind,
                found.spectrum,
                magnitudes=found.sparse.magnitudes if found.sparse else None,
                ladder=matrices[linear.name].ladder,
                weight_errors=found.weight_errors,
                sublayer=linear.sublayer,
            )
    score, masks = (searched.score, searched.score_masks) if searched else (None, None)
    return Problem(
        matrices,
        candidates,
        manifest.layers,
        score,
        trials,
        similarity or {},
        masks,
        linears,
    )


def record_of(
    name: str, run: Run, allocator: Allocator, problem: Problem, choices: Choices
) -> AllocationRecord:
    """Return the record of one run's choices: what was asked, what was reached, what it should cost."""
    linears = {
        linear: LinearRank(
            layer=problem.linears[linear].layer,
            kind=problem.linears[linear].kind,
            rank=None if choice is None else choice.rank,
            entries=0 if choice is None else choice.entries,
            shape=matrix.shape,
            parameters=matrix.parameters(choice),
            relative_error=_relative_error(problem, linear, choice),
        )
        for linear, matrix in problem.matrices.items()
        for choice in [choices[linear]]
    }
    return AllocationRecord(
        run=name,
        decompose=run.decompose,
        allocate=run.allocate,
        parameters=allocator.model_dump(mode="json"),
        keep_asked=run.keep,
        keep_reached=keep_reached(problem.matrices, choices),
        keep_index_free=keep_index_free(problem.matrices, choices),
        linears=linears,
        search=problem.trials.summary() if problem.trials is not None else {},
    )


def choices_of(record: AllocationRecord) -> Choices:
    """Return what a record says that every linear keeps."""
    return {
        name: None if linear.rank is None else Kept(linear.rank, linear.entries)
        for name, linear in record.linears.items()
    }


def _relative_error(problem: Problem, linear: str, choice: Choice) -> float | None:
    """Return the share of the method's measure that is lost, None where it has none [-]."""
    if choice is None:
        return 0.0
    candidate = problem.candidates[linear]
    return 1.0 - candidate.energy(choice) if len(candidate.spectrum) else None
