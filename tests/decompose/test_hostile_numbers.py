"""Numbers that break things: every decomposer gives a right result, or an error that names the linear.

Methods are found by the registries: a new file is tested by existing.
"""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rankwise.artifacts.factors import Factors
from rankwise.artifacts.gradients import OutputGradient
from rankwise.artifacts.statistics import InputStatistics
from rankwise.decompose import decomposers
from rankwise.decompose.factoring import factor_linear
from rankwise.errors import RankwiseError
from rankwise.model.family import Linear
from tests.decompose.approximations import approximation, choices

LINEAR = Linear("layers.3.up", 3, "mlp_in", "up", "mlp")
TOKENS = 40
DEGENERATE = {
    "constant inputs": lambda x, w, g: (x[:1].expand_as(x).clone(), w, g),
    "dead channels": lambda x, w, g: (x * (torch.arange(x.shape[1]) % 3 > 0), w, g),
    "duplicate rows": lambda x, w, g: (x, w[:1].expand_as(w).clone(), g),
    "duplicate channels": lambda x, w, g: (x[:, :1].expand_as(x).clone(), w, g),
    "rank 1": lambda x, w, g: (x[:, :1] @ x[:1], w, g),
    "dead outputs": lambda x, w, g: (x, w * (torch.arange(len(w)) % 2 > 0)[:, None], g),
    "no gradient but one": lambda x, w, g: (x, w, g * (torch.arange(g.shape[1]) == 0)),
    "large": lambda x, w, g: (x * 1e8, w * 1e8, g * 1e8),
    "small": lambda x, w, g: (x * 1e-8, w * 1e-8, g * 1e-8),
    "one channel far larger": lambda x, w, g: (x * 10.0 ** (6 * (torch.arange(x.shape[1]) == 1)), w, g),
}  # fmt: skip
BROKEN = ("weight", "second", "pool_means", "absolute", "gradient.second", "gradient.squares")


def case(shape, seed, dtype, kind=None):
    """Weight, inputs [tokens, in] and statistics of a random linear, with gradients at its output."""
    g = torch.Generator().manual_seed(seed)
    out, width = shape
    x = torch.randn(TOKENS, width, generator=g, dtype=torch.float64) + 0.3
    weight = torch.randn(out, width, generator=g, dtype=torch.float64)
    gradients = torch.randn(TOKENS, out, generator=g, dtype=torch.float64)
    if kind is not None:
        x, weight, gradients = DEGENERATE[kind](x, weight, gradients)
    x, weight = x.to(dtype).double(), weight.to(dtype).double()
    bent = OutputGradient(gradients.T @ gradients, "out", gradients.square().sum(0), TOKENS)
    halves = x.view(2, -1, width)
    tokens = torch.full((2,), TOKENS // 2)
    inputs = InputStatistics(x.T @ x, halves.mean(1), tokens, x.abs().sum(0), bent)
    return weight, x, inputs


shapes = st.tuples(st.integers(2, 24), st.integers(2, 24))
dtypes = st.sampled_from([torch.float32, torch.float64, torch.bfloat16])


@pytest.mark.parametrize("name", sorted(decomposers))
@given(shapes, st.integers(0, 99), dtypes, st.sampled_from(sorted(DEGENERATE)))
@settings(max_examples=25, deadline=None)
def test_degenerate_input_gives_a_right_result(name, shape, seed, dtype, kind):
    """All that the method offers gives the outputs of the text that it saw; less of it is finite."""
    weight, x, inputs = case(shape, seed, dtype, kind)
    factors = factor_linear(LINEAR, weight, inputs, decomposers[name]())
    assert factors.finite
    whole = decomposers[name]()(weight, inputs, min(shape))
    y = x @ approximation(whole, choices(whole)[-1]).T
    bias = whole.bias(whole.max_rank)
    y = y if bias is None else y + bias
    expected = x @ weight.T
    assert float((y - expected).norm()) <= 1e-3 * float(expected.norm())


@pytest.mark.parametrize("name", sorted(decomposers))
@given(
    shapes, st.sampled_from(BROKEN), st.sampled_from([float("nan"), float("inf"), -float("inf")]),
    st.integers(0, 10**6),
)  # fmt: skip
@settings(max_examples=12, deadline=None)
def test_what_is_no_number_is_a_named_error(name, shape, where, value, place):
    weight, _, inputs = case(shape, 0, torch.float64)
    owner = inputs.gradient if "." in where else inputs
    tensor = weight if where == "weight" else getattr(owner, where.rpartition(".")[2])
    tensor.view(-1)[place % tensor.numel()] = value
    with pytest.raises(RankwiseError, match=r"layers\.3\.up"):
        factor_linear(LINEAR, weight, inputs, decomposers[name]())


@given(
    st.sampled_from([torch.float16, torch.bfloat16]), st.sampled_from(["left", "right", "offset"])
)
@settings(max_examples=10, deadline=None)
def test_what_does_not_fit_a_file_s_precision_is_an_error(dtype, part):
    large = 2.0 * torch.finfo(dtype).max
    factors = Factors(
        torch.ones(4, 2, dtype=torch.float64), torch.ones(2, 3, dtype=torch.float64),
        torch.ones(3, dtype=torch.float64), torch.ones(4, dtype=torch.float64), torch.ones(2).double(),
    )  # fmt: skip
    assert factors.stored(dtype).finite
    getattr(factors, part).view(-1)[1] = large
    with pytest.raises(RankwiseError, match=r"too large for b?float16"):
        factors.stored(dtype)
