"""The budget: costs, mapping of shares, monotony."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankwise.budget import Matrix, keep_reached, spend, total
from rankwise.errors import RankwiseError

shapes = st.tuples(st.integers(4, 60), st.integers(4, 60))


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
    assert matrix.parameters(2) == 2 * 10 + 6
    assert matrix.break_even == 2.4


@given(models(), st.floats(0.3, 1), st.floats(0.3, 1), st.data())
def test_more_budget_never_lowers_a_rank(matrices, one, other, data):
    shares = {name: data.draw(st.floats(0.2, 1)) for name in matrices}
    low, high = sorted((one, other))
    try:
        less = spend(matrices, low, shares, 1, 0.0)
    except RankwiseError:
        return
    more = spend(matrices, high, shares, 1, 0.0)
    for name in matrices:
        assert (more[name] or 10**9) >= (less[name] or 10**9)
    assert keep_reached(matrices, less) <= low


@given(models(), st.floats(0.5, 1), st.floats(0.1, 10), st.data())
def test_only_ratios_of_shares_matter(matrices, keep, factor, data):
    shares = {name: data.draw(st.sampled_from([0.25, 0.5, 1.0])) for name in matrices}
    scaled = {name: share * factor for name, share in shares.items()}
    try:
        first = spend(matrices, keep, shares, 1, 0.0)
    except RankwiseError:
        return
    # Ties may fall either way after rounding; what is spent may differ by one step at most.
    second = spend(matrices, keep, scaled, 1, 0.0)
    step = max(sum(matrix.shape) + matrix.shape[0] for matrix in matrices.values())
    assert abs(total(matrices, first) - total(matrices, second)) <= step


def test_matrices_without_a_share_stay_dense_and_the_others_pay():
    matrices = {"a": Matrix((20, 20), 10), "b": Matrix((20, 20), 0)}
    ranks = spend(matrices, 0.75, {"a": 1.0}, 1, 0.0)
    assert ranks == {"a": 5, "b": None}
    with pytest.raises(RankwiseError, match=r"keep 0.4 asked.*raise keep"):
        spend(matrices, 0.4, {"a": 1.0}, 1, 0.0)
