"""Low rank plus sparse of least predicted loss, against the definitions that it claims."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from rankwise.allocate.problem import Candidate
from rankwise.artifacts.gradients import OutputGradient
from rankwise.artifacts.statistics import InputStatistics
from rankwise.budget.costs import Kept, Matrix
from rankwise.decompose._metric import KroneckerMetric
from rankwise.decompose.kfac_sparse import KFACSparse
from rankwise.decompose.oats import OATS
from rankwise.errors import RankwiseError
from rankwise.linalg.factorisations import damp

OUT, IN = 24, 30


def positive(size: int, generator: torch.Generator) -> torch.Tensor:
    """A random correlated second moment [size, size]."""
    x = torch.randn(3 * size, size, generator=generator, dtype=torch.float64)
    mix = torch.randn(size, size, generator=generator, dtype=torch.float64)
    return (x @ mix).T @ (x @ mix) / len(x)


@pytest.fixture
def case():
    """A weight [OUT, IN], its inputs with the gradient at its output, and the metric that follows."""
    g = torch.Generator().manual_seed(0)
    weight = torch.randn(OUT, IN, generator=g, dtype=torch.float64)
    second, bend = positive(IN, g), positive(OUT, g)
    mean = torch.zeros(1, IN, dtype=torch.float64)
    gradient = OutputGradient(bend * 100, "out", bend.diagonal() * 100, 100)
    inputs = InputStatistics(second * 100, mean, torch.tensor([100]), mean[0], gradient)
    method = KFACSparse(multiple=2)
    metric = KroneckerMetric(damp(bend, method.gradient_damping), damp(second, method.damping))
    return weight, inputs, method, metric


def whole(metric: KroneckerMetric) -> torch.Tensor:
    """The Hessian over all entries of the matrix, row by row [OUT·IN, OUT·IN]."""
    return torch.kron(metric.outputs, metric.inputs)


def test_loss_is_the_quadratic_form(case):
    weight, _, _, metric = case
    flat = weight.flatten()
    assert metric.loss(weight) == pytest.approx(float(flat @ whole(metric) @ flat) / 2)


def test_saliency_is_what_dropping_one_entry_costs_when_the_rest_makes_up_for_it(case):
    weight, _, _, metric = case
    place = 17
    free = torch.arange(OUT * IN) != place
    hessian, flat = whole(metric), weight.flatten()
    step = torch.linalg.solve(hessian[free][:, free], hessian[free, place] * flat[place])
    change = torch.zeros_like(flat)
    change[place], change[free] = flat[place], -step
    saliency = flat[place] ** 2 * metric.released.flatten()[place] / 2
    assert metric.loss(change.view_as(weight)) == pytest.approx(float(saliency), rel=1e-6)


def test_fit_ends_at_the_least_squares_solution_and_never_rises(case):
    weight, _, _, metric = case
    mask = (torch.rand(OUT, IN, generator=torch.Generator().manual_seed(1)) < 0.5).double()
    start = weight * mask
    losses = [metric.loss(weight - metric.fit(weight, start, mask, n)) for n in range(30)]
    assert all(later <= earlier * (1 + 1e-12) for earlier, later in pairwise(losses))
    held = mask.flatten() > 0
    hessian = whole(metric)
    expected = torch.zeros(OUT * IN, dtype=torch.float64)
    expected[held] = torch.linalg.solve(hessian[held][:, held], (hessian @ weight.flatten())[held])
    found = metric.fit(weight, start, mask, 3000)
    assert bool((found[mask == 0] == 0).all())
    least = metric.loss(weight - expected.view_as(weight))
    assert metric.loss(weight - found) == pytest.approx(least, rel=1e-6)
    assert least < 0.8 * losses[0]


def test_nothing_to_fit_is_left_as_it_is(case):
    weight, _, _, metric = case
    assert torch.equal(metric.fit(weight, weight, torch.ones_like(weight), 5), weight)


def test_tails_are_the_predicted_losses_of_the_ladder(case):
    weight, inputs, method, metric = case
    factors = method(weight, inputs, 13)
    part = factors.sparse
    candidate = Candidate(0, "q", factors.spectrum, part.magnitudes, part.choices())
    counts = [0, *(kept.entries for kept in part.choices())]
    low = factors.left @ factors.right
    losses = [metric.loss(weight - low - part.dense(n, (OUT, IN))) for n in counts]
    said = [candidate.loss(Kept(factors.max_rank, n)) for n in counts]
    # The lower convex hull: nowhere above, and equal at its corners, the levels.
    assert said[0] == pytest.approx(losses[0])
    assert all(a <= b * (1 + 1e-6) + 1e-9 for a, b in zip(said, losses, strict=True))
    levels = [n in part.levels for n in counts]
    assert np.array(said)[levels] == pytest.approx(np.array(losses)[levels], rel=0.02)


def test_every_level_is_affordable_and_better_than_dropping_alone(case):
    weight, inputs, method, metric = case
    factors = method(weight, inputs, 13)
    part, low = factors.sparse, factors.left @ factors.right
    matrix = Matrix((OUT, IN), factors.max_rank, ladder=part.choices())
    for level in part.levels.tolist():
        rest = weight - low
        plain = torch.zeros(OUT * IN, dtype=torch.float64)
        kept = (rest.square() * metric.diagonal).flatten().topk(level).indices
        plain[kept] = rest.flatten()[kept]
        fitted = metric.loss(rest - part.dense(level, (OUT, IN)))
        assert fitted < metric.loss(rest - plain.view(OUT, IN))
    assert matrix.parameters(Kept(factors.max_rank, int(part.levels[-1]))) <= 0.95 * OUT * IN


def test_values_of_every_level_are_the_least_squares_solution_at_their_own_places(case):
    weight, inputs, method, metric = case
    factors = method.model_copy(update={"iterations": 400})(weight, inputs, 8)
    part, rest = factors.sparse, (weight - factors.left @ factors.right).flatten()
    hessian = whole(metric)
    for level in part.levels.tolist():
        held = part.places[:level].long()
        best = torch.linalg.solve(hessian[held][:, held], hessian[held] @ rest)
        torch.testing.assert_close(part.values_of(level).double(), best, rtol=1e-2, atol=1e-3)


def test_a_part_that_loses_no_level_shares_their_values(case):
    weight, inputs, method, _ = case
    part = method(weight, inputs, 8).sparse
    most = int(part.levels[-1])
    assert part.first(most).refits.data_ptr() == part.refits.data_ptr()
    fewer = part.first(most - 1)
    assert fewer.levels.tolist() == part.levels[:-1].tolist()
    for level in fewer.levels.tolist():
        torch.testing.assert_close(fewer.values_of(level), part.values_of(level))


def test_less_predicted_loss_than_oats_at_the_same_size(case):
    weight, inputs, method, metric = case
    oats = OATS(keep=0.6, multiple=2)(weight, inputs, 13)
    theirs = Kept(oats.notes["rank"], oats.notes["entries"])
    numbers = Matrix((OUT, IN), 13).parameters(theirs)
    rest = weight - oats.left[:, : theirs.rank] @ oats.right[: theirs.rank]
    lost = metric.loss(rest - oats.sparse.dense(theirs.entries, (OUT, IN)))
    factors = method(weight, inputs, 13)
    ours = Matrix((OUT, IN), factors.max_rank)
    entries = ours.affordable(factors.max_rank, numbers, range(OUT * IN))
    made = factors.left @ factors.right + factors.sparse.dense(entries, (OUT, IN))
    assert metric.loss(weight - made) < 0.5 * lost


def test_tall_matrices_use_the_gradient_of_each_output(case):
    weight, inputs, method, damped_metric = case
    second = damped_metric.inputs
    gradient = replace(inputs.gradient, side="in", second=torch.zeros(IN, IN, dtype=torch.float64))
    metric = gradient.output_metric(0.0)
    torch.testing.assert_close(metric, inputs.gradient.squares / 100)
    whole, alone = KroneckerMetric(metric.diag(), second), KroneckerMetric(metric, second)
    for part in ("diagonal", "released"):
        torch.testing.assert_close(getattr(alone, part), getattr(whole, part))
    assert alone.loss(weight) == pytest.approx(whole.loss(weight))
    for one, other in zip(alone.output_roots(), whole.output_roots(), strict=True):
        torch.testing.assert_close(one, other)
    factors = method(weight, replace(inputs, gradient=gradient), 13)
    assert bool(factors.sparse.refits.isfinite().all())


def test_without_gradients_it_says_what_is_missing(case):
    weight, inputs, method, _ = case
    with pytest.raises(RankwiseError, match="stage fisher"):
        method(weight, replace(inputs, gradient=None), 2)


def test_a_rank_that_the_allocator_cannot_use_is_refused(case):
    weight, inputs, method, _ = case
    factors = method(weight, inputs, 13)
    matrix = Matrix((OUT, IN), factors.max_rank, ladder=factors.sparse.choices())
    with pytest.raises(RankwiseError, match="multiples of 8 asked"):
        matrix.steps(8, 0.0)
