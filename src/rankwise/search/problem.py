"""Conversion of stored factors to an allocation problem, and of its solution to a record."""

from rankwise.allocate import Allocator
from rankwise.allocate.problem import Candidate, Choices, Problem, Trials
from rankwise.artifacts.factors import Factors
from rankwise.budget.costs import Choice, Matrix, keep_index_free, keep_reached, total
from rankwise.budget.spending import Budget
from rankwise.checkpoint.byte_budget import ByteBudget, dense_tensors
from rankwise.checkpoint.weight_files import NAMES, checkpoint_bytes
from rankwise.errors import RankwiseError
from rankwise.inputs.sources import model_folder
from rankwise.model.device import DTYPES
from rankwise.model.weights import Weights
from rankwise.params.runs import Run
from rankwise.records.allocation import AllocationRecord, LinearRank
from rankwise.records.asked import target_fields
from rankwise.records.model import ModelManifest
from rankwise.search.scorer import SearchModel


def read_matrices(
    manifest: ModelManifest, dtype: str, factors: dict[str, Factors]
) -> dict[str, Matrix]:
    """Return the shape and limits of every linear of the decoder layers; ``dtype`` is the checkpoint's."""
    weights = Weights(model_folder(manifest.source, manifest.revision), manifest.family)
    matrices: dict[str, Matrix] = {}
    for linear in manifest.family.linears(range(manifest.layers)):
        linear_factors = factors.get(linear.name)
        matrices[linear.name] = Matrix(
            shape=weights.shape(linear.name),
            max_rank=linear_factors.max_rank if linear_factors else 0,
            bias=weights.has_bias(linear.name),
            factored_bias=linear_factors is not None and linear_factors.offset is not None,
            ladder=linear_factors.sparse.choices()
            if linear_factors and linear_factors.sparse
            else (),
            value_bits=DTYPES[dtype].itemsize * 8,
        )
    return matrices


def build_problem(
    budget: Budget,
    manifest: ModelManifest,
    factors: dict[str, Factors],
    searched: SearchModel | None,
    trials: Trials,
    similarity: dict[tuple[int, str], float] | None = None,
) -> Problem:
    """Return the problem: a budget over all linears, with those that have factors as candidates."""
    candidates: dict[str, Candidate] = {}
    linears = {x.name: x for x in manifest.family.linears(range(manifest.layers))}
    for linear in linears.values():
        linear_factors = factors.get(linear.name)
        if linear_factors is not None:
            candidates[linear.name] = Candidate(
                linear.layer,
                linear.kind,
                linear_factors.spectrum,
                magnitudes=linear_factors.sparse.magnitudes if linear_factors.sparse else None,
                ladder=budget.matrices[linear.name].ladder,
                weight_errors=linear_factors.weight_errors,
                sublayer=linear.sublayer,
            )
    score, masks = (searched.score, searched.score_masks) if searched else (None, None)
    return Problem(
        budget,
        candidates,
        manifest.layers,
        score,
        trials,
        similarity or {},
        masks,
        linears,
    )


def build_budget(
    run: Run, manifest: ModelManifest, dtype: str, matrices: dict[str, Matrix]
) -> Budget:
    """Return the budget of the run's step, interpolated between the dense model's figure and the target.

    Raises RankwiseError for a target above the dense model.
    """
    target = run.target
    if target.kind == "keep":
        return Budget(matrices, target.on_the_way(1.0, run.way))
    if target.kind == "total_params":
        dense, rest = manifest.parameters, manifest.parameters - total(matrices)
        refuse_above(run, dense)
        return Budget(matrices, target.on_the_way(dense, run.way), rest)
    tensors = dense_tensors(manifest, NAMES[dtype])
    dense = checkpoint_bytes(list(tensors))
    refuse_above(run, dense)
    target_bytes = target.on_the_way(dense, run.way)
    return ByteBudget(matrices, target_bytes, dense=tensors, dtype=NAMES[dtype])


def refuse_above(run: Run, dense: int) -> None:
    """Raise RankwiseError for a target above the dense model's figure ``dense``."""
    if run.target.value > dense:
        raise RankwiseError(
            f"{run.target} asked, the dense model has {run.target.shown(dense)}; lower {run.target.kind}"
        )


def build_record(
    name: str,
    run: Run,
    allocator: Allocator,
    problem: Problem,
    choices: Choices,
    manifest: ModelManifest,
) -> AllocationRecord:
    """Return the record of one run's choices: budget, reached size and predicted errors."""
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
        **target_fields(problem.budget.target),
        keep_reached=keep_reached(problem.matrices, choices),
        parameters_reached=manifest.parameters
        - total(problem.matrices)
        + total(problem.matrices, choices),
        checkpoint_bytes_reached=problem.budget.cost(choices)
        if isinstance(problem.budget, ByteBudget)
        else None,
        keep_index_free=keep_index_free(problem.matrices, choices),
        linears=linears,
        search=problem.trials.summary() if problem.trials is not None else {},
    )


def _relative_error(problem: Problem, linear: str, choice: Choice) -> float | None:
    """Return the share of the spectrum's energy that is lost, None without a spectrum [-]."""
    if choice is None:
        return 0.0
    candidate = problem.candidates[linear]
    return 1.0 - candidate.energy(choice) if len(candidate.spectrum) else None
