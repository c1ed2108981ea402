"""What every stage holds, keeps on disk and multiplies, in terms of the model's sizes.

Memory is that of the largest job of a stage: what its libraries take (`Plan.base`), and the tensors that
live at its fullest moment, as the docstrings say; files that are mapped count when their pages are read.
"""

from collections.abc import Iterator

from plotly.offline import get_plotlyjs

from rankwise.allocate.rounds import plan_rounds
from rankwise.decompose import decomposers
from rankwise.planning.need import Requirement
from rankwise.planning.sizes import SUM, gradients, moments_of, panels, triangles, whole
from rankwise.planning.study import FLOAT, StudySizes, count
from rankwise.validation.params import instantiate_method

TRAINED = 4
"""Numbers that AdamW holds for one it trains: the number, its gradient, two moments [-]."""
SAVED = 1.5
"""What autograd saves of a decoder layer, in activations at their fullest (`Sizes.activations`) [-].

LLaMA's in float32: 6 numbers a token and width, 3 an inner width, 1.4 in all; norms stay in float32 in any model.
"""
MULTIPLIED = 5
"""Matrices of the size of a weight, in float64, that the check of a checkpoint multiplies factors in [-]."""
CHECKED = 2
"""Products [out, width, in] in float32 that the check of a linear is worth: two of its factors, of half that rank, in float64 [-]."""
DATABASE = 2**20
"""MLflow's, of a few runs [bytes]."""


def requirements(study: StudySizes) -> Iterator[Requirement]:
    """Yield what every stage takes, in order."""
    yield covariance(study)
    if gradients(study.params):
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
    """The model, sums of one pool and of all before, activations of one group.

    Streamed: one layer group and what is around the layers, its sums likewise; hidden states lie on disk.
    """
    asked, text = study.params.covariance, study.params.sample.calibration
    sides = [moments_of(group, study.moments) for group in study.groups]
    every = [side for group in sides for side in group]
    tokens = count(text)
    pools = 1 if asked.pools // asked.shards == 1 and asked.shards > 1 else 2
    active, scratch = study.active(asked.batch, text.length), 0
    tensors = study.models(1, _summed(sides, every, pools, active))
    if asked.streaming:
        sums = max(_summed([group], group, pools, active) for group in sides)
        tensors = study.around + study.largest_group + sums
        scratch = triangles(every) + 2 * study.states
    jobs = study.origins * (1 if asked.shards == 1 else asked.shards + 1)
    kept = triangles(every) * study.origins
    parts = kept * asked.pools if asked.shards > 1 else 0
    return Requirement(
        "covariance",
        jobs,
        tensors,
        disk=kept + parts,
        scratch=scratch,
        passed=tokens * study.origins,
        products=tokens * study.origins * sum(side * side // 2 for side in every),
        moved=kept + 2 * parts + study.sizes.bytes * jobs,
    )


def _summed(groups: list[list[int]], sides: list[int], pools: int, active: int) -> int:
    """Return the most that sums take: while activations are there, or while those of a group are written."""
    written = max(triangles(group) + whole([max(group, default=0)]) for group in groups)
    return panels(sides) + max((pools - 1) * panels(sides) + active, written)


def fisher(study: StudySizes) -> Requirement:
    """The model, sums of every linear, weights with more outputs than inputs again, what autograd saves.

    Streamed: one layer group and what is around the layers, its sums likewise, what autograd saves of it;
    hidden states in front of every group lie on disk, and the text passes forward twice.
    """
    asked, text = study.params.fisher, study.params.sample.calibration
    groups, layers, passes, scratch = [study.sizes.matrices], study.sizes.layers, 2, 0
    sides = [matrix.smaller for matrix in study.sizes.matrices]
    if asked.streaming:
        groups, layers, passes = study.groups, study.params.compute.layers_per_job, 3
        scratch = triangles(sides) + len(groups) * study.states
    wide = [sum(m.numbers for m in group if m.out > m.columns) for group in groups]
    sums = max(panels([matrix.smaller for matrix in group]) for group in groups)
    active = study.active(asked.batch, text.length)
    saved = round((SAVED * min(layers, study.sizes.layers) + 1) * active)
    work = sums + saved + study.predictions(asked.batch, text.length)
    streamed = study.around + study.largest_group + work
    tokens = count(text) * study.origins
    kept = triangles(sides) * study.origins
    return Requirement(
        "fisher",
        study.origins,
        streamed if asked.streaming else study.models(1, work),
        beside=max(wide) * study.sizes.itemsize,
        disk=kept,
        scratch=scratch,
        passed=passes * tokens,
        heads=2 * tokens,
        products=tokens * (sum(wide) + sum(side * side // 2 for side in sides)),
        moved=kept + study.sizes.bytes * study.origins + 2 * scratch,
    )


def decompose(study: StudySizes) -> Requirement:
    """One group's statistics, mapped, the largest of them whole, its factors, and the work on the largest weight."""
    largest, itemsize = 0, study.sizes.itemsize
    for group in study.groups:
        weights = sum(matrix.numbers for matrix in group)
        sides = moments_of(group, study.moments)
        if gradients(study.params):
            sides += [matrix.smaller for matrix in group]
        held = whole([max(sides, default=0)]) + triangles(sides) + weights * itemsize
        largest = max(largest, held + study.sizes.largest * itemsize)
    used = {(run.origin, run.decompose) for run in study.params.built().values()}
    factored: dict[tuple[str, tuple[int, int]], int] = {}
    for _, name in used:
        for shape, number in study.sizes.shapes().items():
            factored[name, shape] = factored.get((name, shape), 0) + number
    kept = study.factors * len(used)
    work = max(workspace(study, name) for _, name in used)
    return Requirement(
        "decompose",
        len(used) * len(study.groups),
        largest + work,
        disk=kept,
        factored=factored,
        moved=kept + (study.sizes.bytes + covariance(study).disk) * len(used),
    )


def workspace(study: StudySizes, name: str) -> int:
    """Return the bytes that a section of decompose works in on the largest weight."""
    method = decomposers[study.params.method("decompose", name)]
    return round(method.workspace * SUM * study.sizes.largest)


def allocate(study: StudySizes) -> Requirement:
    """The factors, mapped; where candidates are scored also the model and two models' predictions.

    Of a search in rounds every suggestion and every trial is a job, which reads model and factors.
    """
    text = study.params.sample.search
    tensors = beside = 0
    passed = 0.0
    scored = further = 0
    for run in study.params.built().values():
        method = instantiate_method(study.params, "allocate", run.allocate)
        beside = max(beside, study.factors)
        if method.scores:
            batch = min(method.batch, text.sequences or method.batch)
            work = study.predictions(batch, text.length) + study.active(batch, text.length)
            tensors = max(tensors, study.models(1, work))
            beside = max(beside, study.factors + FLOAT * count(text) * study.sizes.vocabulary)
            passed += (1 + method.trials) * count(text)
            together = plan_rounds(method.trials, method.q) if getattr(method, "q", 1) > 1 else []
            scored += method.trials if together else 1
            further += sum(1 + len(trials) for trials in together)
    runs = len(study.params.built())
    return Requirement(
        "allocate",
        runs + further,
        tensors,
        beside=beside,
        passed=passed,
        heads=2 * passed,
        moved=study.factors * (runs + further) + study.sizes.bytes * scored,
        scoring=scored,
    )


def build(study: StudySizes) -> Requirement:
    """The checkpoint; one group dense with its factors, mapped, or its factors and the work on the largest weight."""
    runs = study.params.built().values()
    kept = sum(study.checkpoint(run.keep) for run in runs)
    most = max(study.checkpoint(run.keep) for run in runs)
    work = MULTIPLIED * SUM * study.sizes.largest
    text = study.params.sample.calibration
    checked = min(study.params.build.check_sequences, count(text)) * text.length
    return Requirement(
        "build",
        len(runs),
        most + study.largest_group + max(study.largest_group, work),
        disk=kept,
        passed=3 * checked * len(runs),
        heads=3 * checked * len(runs),
        products=CHECKED * study.sizes.linear_numbers * len(runs) * study.sizes.width,
        moved=kept + (study.sizes.bytes + study.factors) * len(runs),
    )


def refine(study: StudySizes) -> Requirement:
    """Both models, hidden states of all text twice, and the optimiser's state of what is trained."""
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
    kept = study.sizes.bytes * runs
    return Requirement("refine", runs, tensors, disk=kept, passed=passed, moved=3 * kept)


def evaluate(study: StudySizes) -> Requirement:
    """One model and a batch's predictions, raw and as logarithms; with divergence two, and one more of these."""
    asked, text = study.params.evaluate, study.params.sample.test
    models = 2 if asked.divergence else 1
    runs = 1 + len(study.params.runs)
    predicted = study.predictions(asked.batch, text.length, copies=1 + models)
    work = predicted + study.active(asked.batch, text.length)
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
    """Two models, and a batch's predictions."""
    asked = study.params.speed
    runs = 1 + len(study.params.runs)
    most = max(asked.batches)
    passes = sum(asked.batches) * (asked.length + asked.new_tokens) * (asked.repeats + 1)
    return Requirement(
        "speed",
        runs,
        study.models(2, study.predictions(most, asked.length)),
        passed=2 * passes * runs,
        heads=2 * passes * runs,
        moved=2 * study.sizes.bytes * runs,
    )
