"""The budget: costs, mapping of shares, monotony."""

from fractions import Fraction
from functools import partial
from itertools import product

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from rankwise.budget.costs import Kept, Matrix, by_loss, by_share, hull_slopes, keep_reached, total
from rankwise.budget.spending import Budget, spend
from rankwise.errors import RankwiseError
from rankwise.hub.places import index_bits
from rankwise.params.target import Target

shapes = st.tuples(st.integers(4, 60), st.integers(4, 60))


def rank(choice):
    return 10**9 if choice is None else choice.rank


def spent(matrices, keep, moments, multiple, floor):
    """``keep`` is a share, or a whole number of numbers."""
    kind = "total_params" if isinstance(keep, int) else "keep"
    return spend(Budget(matrices, Target(kind, keep)), moments, multiple, floor)


def moments(shares):
    return {name: by_share(share) for name, share in shares.items()}


@st.composite
def models(draw):
    found = {}
    for index, shape in enumerate(draw(st.lists(shapes, min_size=1, max_size=8))):
        largest = max(1, shape[0] * shape[1] // sum(shape))
        found[f"m{index}"] = Matrix(shape, largest, factored_bias=draw(st.booleans()))
    return found


def test_parameters_count_factors_and_biases():
    matrix = Matrix((6, 4), 2, bias=True, factored_bias=True)
    assert matrix.parameters(None) == 24 + 6
    assert matrix.parameters(Kept(2)) == 2 * 10 + 6
    assert matrix.break_even == 2.4


@given(models(), st.floats(0.3, 1), st.floats(0.3, 1), st.data())
def test_more_budget_lowers_no_rank_of_those_taken_in_order(matrices, one, other, data):
    """What every budget takes before the first step that it cannot pay, every larger budget takes too."""
    shares = {name: by_share(data.draw(st.floats(0.2, 1))) for name in matrices}
    low, high = sorted((one, other))
    try:
        in_order = ordered(matrices, low, shares)
    except RankwiseError:
        with pytest.raises(RankwiseError, match=r"the floor .* alone comes to"):
            spent(matrices, low, shares, 1, 0.0)
        reject()
    less, more = spent(matrices, low, shares, 1, 0.0), spent(matrices, high, shares, 1, 0.0)
    for name in matrices:
        assert min(rank(more[name]), rank(less[name])) >= rank(in_order[name])
    assert keep_reached(matrices, less) <= low
    assert keep_reached(matrices, more) <= high


def ordered(matrices, keep, shares):
    """Steps in the order of their moments up to the first one that cannot be paid, spelt out."""
    steps, choices = [], {}
    for name, matrix in matrices.items():
        ladder = [*matrix.steps(1, 0.0), None] if matrix.steps(1, 0.0) else [None]
        choices[name] = ladder[0]
        when = shares[name](matrix, ladder) if len(ladder) > 1 else []
        steps += [(moment, name, choice) for moment, choice in zip(when, ladder[1:], strict=True)]
    budget = Fraction(str(keep)) * total(matrices)
    if total(matrices, choices) > budget:
        raise RankwiseError("the floor")
    for _, name, choice in sorted(steps, key=lambda step: step[0]):
        if total(matrices, {**choices, name: choice}) > budget:
            break
        choices[name] = choice
    return choices


def test_what_is_left_goes_to_a_step_that_it_pays_for():
    """After a's rank 1, its rank 2 is due first and too dear; b's is paid for. With more, a has it."""
    matrices = {"a": Matrix((40, 40), 20), "b": Matrix((8, 8), 4)}
    moments = {"a": by_share(1.0), "b": by_share(0.1)}
    both = spent(matrices, 80 + 16 + 79, moments, 1, 0.0)
    assert both == {"a": Kept(1), "b": None}
    assert spent(matrices, 80 + 16 + 80, moments, 1, 0.0) == {"a": Kept(2), "b": Kept(1)}


def test_ranks_that_are_no_multiple_leave_a_matrix_dense():
    matrices = {"a": Matrix((40, 40), 20), "b": Matrix((8, 8), 4)}
    found = spent(matrices, 0.9, moments({"a": 1.0, "b": 1.0}), 8, 0.0)
    assert found == {"a": Kept(16), "b": None}


@given(models(), st.floats(0.5, 1), st.floats(0.1, 10), st.data())
def test_only_ratios_of_shares_matter(matrices, keep, factor, data):
    shares = {name: data.draw(st.sampled_from([0.25, 0.5, 1.0])) for name in matrices}
    scaled = {name: share * factor for name, share in shares.items()}
    try:
        first = spent(matrices, keep, moments(shares), 1, 0.0)
    except RankwiseError:
        with pytest.raises(RankwiseError, match=r"the floor .* alone comes to"):
            spent(matrices, keep, moments(scaled), 1, 0.0)
        reject()
    # Ties may fall either way after rounding; what is spent may differ by one step at most.
    second = spent(matrices, keep, moments(scaled), 1, 0.0)
    step = max(sum(matrix.shape) + matrix.shape[0] for matrix in matrices.values())
    assert abs(total(matrices, first) - total(matrices, second)) <= step


def test_matrices_without_a_share_stay_dense_and_the_others_pay():
    matrices = {"a": Matrix((20, 20), 10), "b": Matrix((20, 20), 0)}
    choices = spent(matrices, 0.75, {"a": by_share(1.0)}, 1, 0.0)
    assert choices == {"a": Kept(5), "b": None}
    with pytest.raises(RankwiseError, match=r"keep 0.4 asked.*raise keep"):
        spent(matrices, 0.4, {"a": by_share(1.0)}, 1, 0.0)


def test_sparse_entries_cost_their_values_and_the_smaller_of_two_indices():
    matrix = Matrix((10, 64), 8)
    assert matrix.parameters(Kept(0, 1)) == 1 + 12  # CSR: 16 bits + 11 rows of 32 bits
    assert matrix.parameters(Kept(0, 400)) == 400 + 20  # a bit an entry: 640 bits
    assert Matrix((10, 64), 8, value_bits=16).parameters(Kept(0, 400)) == 400 + 40


def test_what_a_step_is_too_dear_for_buys_entries():
    """A step of rank 1 and 9 entries costs 20 + 9 and their places; what is left pays for some entries."""
    ladder = tuple(Kept(rank, 9 * rank) for rank in range(6))
    matrices = {"a": Matrix((10, 10), 5, ladder=ladder)}
    places = index_bits((10, 10), 18)[1] / 32
    assert places == 5
    reached = [spent(matrices, k / 100, {"a": by_share(1.0)}, 1, 0.0)["a"] for k in range(63, 92)]
    for numbers, choice in zip(range(63, 92), reached, strict=True):
        assert choice == Kept(2, min(numbers - 45, 27))
        assert matrices["a"].parameters(choice) == min(numbers, 72)
    assert spent(matrices, 0.92, {"a": by_share(1.0)}, 1, 0.0)["a"] == Kept(3, 27)


@given(st.lists(st.floats(0.01, 100), min_size=2, max_size=12), st.data())
def test_hull_slopes_rise_and_lie_below_every_point(steps, data):
    x = np.cumsum(steps)
    y = np.array([data.draw(st.floats(0, 100)) for _ in steps])
    slopes = hull_slopes(x, y)
    assert (np.diff(slopes) >= -1e-9).all()
    hull = y[0] + np.concatenate([[0], np.cumsum(slopes * np.diff(x))])
    assert (hull <= y + 1e-6).all()
    assert hull[-1] == pytest.approx(y[-1])


@given(st.integers(0, 10_000))
@settings(deadline=None)
def test_least_loss_is_that_of_enumeration_where_the_budget_is_met(seed):
    """At the budgets that its own answers cost, no other choice of ranks (or dense) loses less."""
    rng = np.random.default_rng(seed)
    matrices = {name: Matrix((6, 5), 2) for name in "abc"}
    tails = {name: np.sort(rng.exponential(size=3))[::-1] for name in matrices}

    def loss(name, choice):
        return 0.0 if choice is None else tails[name][choice.rank]

    losses = {name: by_loss(partial(loss, name)) for name in matrices}
    ladder = [Kept(1), Kept(2), None]
    every = [dict(zip(matrices, some, strict=True)) for some in product(ladder, repeat=3)]
    for keep in np.linspace(0.4, 1, 30):
        found = ordered(matrices, keep, losses)
        assert spent(matrices, total(matrices, found), losses, 1, 0.0) == found
        # A corner: nothing of a hull's segment is left half taken.
        slopes = {n: losses[n](matrices[n], ladder) for n in matrices}
        if any(found[n] == Kept(2) and slopes[n][0] == slopes[n][1] for n in matrices):
            continue
        lost = sum(loss(name, choice) for name, choice in found.items())
        cost = total(matrices, found)
        best = min(
            sum(loss(n, c) for n, c in other.items())
            for other in every
            if total(matrices, other) <= cost
        )
        assert lost <= best + 1e-12
