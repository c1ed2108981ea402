"""Requirements of every stage, as functions of the model's sizes: memory, disk and operations.

Memory is that of the largest job of a stage: its libraries (``base`` of `rankwise.planning.plan.plan`),
and the tensors at its peak, which the docstrings name. Mapped files count when their pages are read.
"""

from collections.abc import Iterator

from plotly.offline import get_plotlyjs

from rankwise.allocate.rounds import plan_rounds
from rankwise.decompose import decomposers
from rankwise.planning.need import Requirement
from rankwise.planning.sizes import (
    SUM,
    matrix_bytes,
    moments_of,
    panel_bytes,
    triangle_bytes,
    uses_gradients,
)
from rankwise.planning.study import FLOAT, StudySizes, count
from rankwise.validation.params import instantiate_method

TRAINED = 4
"""Numbers that AdamW stores per trained number: the number, its gradient, two moments [-]."""
SAVED = 1.5
"""Memory that autograd saves of a decoder layer, relative to the peak of activations (`Sizes.activations`) [-].

For LLaMA in float32: 6 numbers per token and width, 3 per inner width, 1.4 in all; norms are in float32 in any model.
"""
MULTIPLIED = 5
"""Matrices of a weight's size, in float64, that the check of a checkpoint needs for products of factors [-]."""
CHECKED = 2
"""Cost of checking a linear, in products [out, width, in] in float32: two products of factors of half that rank, in float64 [-]."""
DATABASE = 2**20
"""Size of MLflow's database with a few runs [bytes]."""


def requirements(study: StudySizes) -> Iterator[Requirement]:
    """Yield the requirements of every stage, in order."""
    yield covariance(study)
    if uses_gradients(study.params):
        yield fisher(study)
    yield decompose(study)
    yield allocate(study)
    yield build(study)
    if study.params.refinements():
        yield refine(study)
    yield evaluate(study)
    if study.params.speed.batches:
        yield speed(study)
    page = len(get_plotlyjs())
    yield Requirement("report", 1, 0, disk=page)
    yield Requirement("track", 1, 0, disk=page + DATABASE)


def covariance(study: StudySizes) -> Requirement:
    """Return the requirements: the model, sums of one pool and of all earlier ones, activations of one layer group.

    With streaming: one layer group and the weights around the layers, and its sums. Hidden states are on disk.
    """
    settings, text = study.params.covariance, study.params.sample.calibration
    sides = [moments_of(group, study.moments) for group in study.groups]
    all_sides = [side for group in sides for side in group]
    tokens = count(text)
    pools = 1 if settings.pools // settings.shards == 1 and settings.shards > 1 else 2
    activations, scratch = study.active(settings.batch, text.length), 0
    tensors = study.models(1, _peak_sums(sides, all_sides, pools, activations))
    if settings.streaming:
        sums = max(_peak_sums([group], group, pools, activations) for group in sides)
        tensors = study.around + study.largest_group + sums
        scratch = triangle_bytes(all_sides) + 2 * study.states
    jobs = study.origins * (1 if settings.shards == 1 else settings.shards + 1)
    stored = triangle_bytes(all_sides) * study.origins
    parts = stored * settings.pools if settings.shards > 1 else 0
    return Requirement(
        "covariance",
        jobs,
        tensors,
        disk=stored + parts,
        scratch=scratch,
        passed=tokens * study.origins,
        products=tokens * study.origins * sum(side * side // 2 for side in all_sides),
        moved=stored + 2 * parts + study.sizes.bytes * jobs,
    )


def _peak_sums(groups: list[list[int]], sides: list[int], pools: int, activations: int) -> int:
    """Return the peak memory of the sums: next to activations, or while a layer group's sums are written [bytes]."""
    writing = max(triangle_bytes(group) + matrix_bytes([max(group, default=0)]) for group in groups)
    return panel_bytes(sides) + max((pools - 1) * panel_bytes(sides) + activations, writing)


def fisher(study: StudySizes) -> Requirement:
    """Return the requirements: the model, sums of every linear, copies of weights with more outputs than inputs, autograd's memory.

    With streaming: one layer group and the weights around the layers, its sums, and autograd's memory for
    it. Hidden states before every layer group are on disk, and the text passes forward twice.
    """
    settings, text = study.params.fisher, study.params.sample.calibration
    groups, layers, passes, scratch = [study.sizes.matrices], study.sizes.layers, 2, 0
    sides = [matrix.smaller for matrix in study.sizes.matrices]
    if settings.streaming:
        groups, layers, passes = study.groups, study.params.compute.layers_per_job, 3
        scratch = triangle_bytes(sides) + len(groups) * study.states
    wide = [sum(m.numbers for m in group if m.out > m.columns) for group in groups]
    sums = max(panel_bytes([matrix.smaller for matrix in group]) for group in groups)
    activations = study.active(settings.batch, text.length)
    saved = round((SAVED * min(layers, study.sizes.layers) + 1) * activations)
    work = sums + saved + study.predictions(settings.batch, text.length)
    streamed = study.around + study.largest_group + work
    tokens = count(text) * study.origins
    stored = triangle_bytes(sides) * study.origins
    return Requirement(
        "fisher",
        study.origins,
        streamed if settings.streaming else study.models(1, work),
        mapped=max(wide) * study.sizes.itemsize,
        disk=stored,
        scratch=scratch,
        passed=passes * tokens,
        heads=2 * tokens,
        products=tokens * (sum(wide) + sum(side * side // 2 for side in sides)),
        moved=stored + study.sizes.bytes * study.origins + 2 * scratch,
    )


def decompose(study: StudySizes) -> Requirement:
    """Return the requirements: one layer group's statistics, mapped, the largest unpacked, its factors, and the workspace of the largest weight."""
    largest, itemsize = 0, study.sizes.itemsize
    for group in study.groups:
        weights = sum(matrix.numbers for matrix in group)
        sides = moments_of(group, study.moments)
        if uses_gradients(study.params):
            sides += [matrix.smaller for matrix in group]
        held = matrix_bytes([max(sides, default=0)]) + triangle_bytes(sides) + weights * itemsize
        largest = max(largest, held + study.sizes.largest * itemsize)
    used = {(run.origin, run.decompose) for run in study.params.built().values()}
    factored: dict[tuple[str, tuple[int, int]], int] = {}
    for _, name in used:
        for shape, number in study.sizes.shapes().items():
            factored[name, shape] = factored.get((name, shape), 0) + number
    stored = study.factors * len(used)
    work = max(workspace(study, name) for _, name in used)
    return Requirement(
        "decompose",
        len(used) * len(study.groups),
        largest + work,
        disk=stored,
        factored=factored,
        moved=stored + (study.sizes.bytes + covariance(study).disk) * len(used),
    )


def workspace(study: StudySizes, name: str) -> int:
    """Return the workspace that a section of decompose needs for the largest weight [bytes]."""
    method = decomposers[study.params.method("decompose", name)]
    return round(method.workspace * SUM * study.sizes.largest)


def allocate(study: StudySizes) -> Requirement:
    """Return the requirements: the factors, mapped; for scoring also the model and two models' predictions.

    In a search in rounds every suggestion and every trial is a job, which reads model and factors.
    """
    text = study.params.sample.search
    tensors = mapped = 0
    passed = 0.0
    scored = extra_jobs = 0
    for run in study.params.built().values():
        method = instantiate_method(study.params, "allocate", run.allocate)
        mapped = max(mapped, study.factors)
        if method.scores:
            batch = min(method.batch, text.sequences or method.batch)
            work = study.predictions(batch, text.length) + study.active(batch, text.length)
            tensors = max(tensors, study.models(1, work))
            mapped = max(mapped, study.factors + FLOAT * count(text) * study.sizes.vocabulary)
            passed += (1 + method.trials) * count(text)
            rounds = plan_rounds(method.trials, method.q) if getattr(method, "q", 1) > 1 else []
            scored += method.trials if rounds else 1
            extra_jobs += sum(1 + len(trials) for trials in rounds)
    runs = len(study.params.built())
    return Requirement(
        "allocate",
        runs + extra_jobs,
        tensors,
        mapped=mapped,
        passed=passed,
        heads=2 * passed,
        moved=study.factors * (runs + extra_jobs) + study.sizes.bytes * scored,
        scoring=scored,
    )


def build(study: StudySizes) -> Requirement:
    """Return the requirements: the checkpoint; one layer group dense with its factors, mapped, or its factors and the workspace of the largest weight."""
    runs = study.params.built().values()
    stored = sum(study.checkpoint(run.keep) for run in runs)
    largest = max(study.checkpoint(run.keep) for run in runs)
    work = MULTIPLIED * SUM * study.sizes.largest
    text = study.params.sample.calibration
    checked = min(study.params.build.check_sequences, count(text)) * text.length
    return Requirement(
        "build",
        len(runs),
        largest + study.largest_group + max(study.largest_group, work),
        disk=stored,
        passed=3 * checked * len(runs),
        heads=3 * checked * len(runs),
        products=CHECKED * study.sizes.linear_numbers * len(runs) * study.sizes.width,
        moved=stored + (study.sizes.bytes + study.factors) * len(runs),
    )


def refine(study: StudySizes) -> Requirement:
    """Return the requirements: both models, hidden states of all text twice, and the state of the optimiser."""
    text = study.params.sample.calibration
    tensors, passed = 0, 0.0
    for run in study.params.refinements().values():
        method = instantiate_method(study.params, "refine", run.refine)
        trained = sum(m.numbers for m in study.sizes.group([0]))
        streams = 2 * count(text) * study.sizes.width * FLOAT
        saved = round((SAVED + 1) * study.active(method.batch, text.length))
        work = streams + TRAINED * FLOAT * trained + saved
        tensors = max(tensors, study.models(2, work))
        passed += count(text) * (3 * method.epochs + 4)
    runs = len(study.params.refinements())
    stored = study.sizes.bytes * runs
    return Requirement("refine", runs, tensors, disk=stored, passed=passed, moved=3 * stored)


def evaluate(study: StudySizes) -> Requirement:
    """Return the requirements: one model and a batch's logits and log-probabilities; with divergence two models and one more copy."""
    settings, text = study.params.evaluate, study.params.sample.test
    models = 2 if settings.divergence else 1
    runs = 1 + len(study.params.runs)
    predictions = study.predictions(settings.batch, text.length, copies=1 + models)
    work = predictions + study.active(settings.batch, text.length)
    tokens = (study.test_tokens * models + study.item_tokens) * runs
    return Requirement(
        "evaluate",
        runs,
        study.models(models, work),
        passed=tokens,
        heads=tokens,
        moved=runs * models * study.sizes.bytes,
    )


def speed(study: StudySizes) -> Requirement:
    """Return the requirements: two models, and a batch's predictions."""
    settings = study.params.speed
    runs = 1 + len(study.params.runs)
    largest_batch = max(settings.batches)
    passes = (
        sum(settings.batches) * (settings.length + settings.new_tokens) * (settings.repeats + 1)
    )
    return Requirement(
        "speed",
        runs,
        study.models(2, study.predictions(largest_batch, settings.length)),
        passed=2 * passes * runs,
        heads=2 * passes * runs,
        moved=2 * study.sizes.bytes * runs,
    )
