"""What every decomposer promises; a new file in the folder is tested by existing."""

import ast
import inspect
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from rankwise.artifacts.gradients import OutputGradient
from rankwise.artifacts.statistics import InputStatistics
from rankwise.budget.costs import Kept
from rankwise.decompose import decomposers
from rankwise.decompose.factoring import factor_linear, largest_rank
from rankwise.linalg.packed import whole
from rankwise.methods.measure import Measure
from rankwise.model.families import family_of
from rankwise.model.family import Linear
from tests.conftest import tiny_llama
from tests.decompose.approximations import approximation, choices

METHODS = sorted(decomposers)
LOSS = [name for name in METHODS if decomposers[name].measure >= Measure.LOSS]
SQUARE, TALL, WIDE = ("self_attn.q_proj", "mlp.up_proj", "mlp.down_proj")
CASES = [SQUARE, "self_attn.k_proj", TALL, WIDE]


def stores_entries(name):
    """Whether a method's factors come with a sparse part, asked of a small random linear."""
    g = torch.Generator().manual_seed(0)
    weight, x, y = (
        torch.randn(s, generator=g, dtype=torch.float64) for s in ((8, 9), (40, 9), (40, 8))
    )
    gradient = OutputGradient(y.T @ y, "out", y.square().sum(0), 40)
    means, tokens = x.mean(0, keepdim=True), torch.tensor([40])
    inputs = InputStatistics(x.T @ x, means, tokens, x.abs().sum(0), gradient)
    return decomposers[name]()(weight, inputs, 3).sparse is not None


@pytest.fixture(params=METHODS)
def decomposer(request):
    return decomposers[request.param]()


@pytest.fixture(params=CASES)
def case(request, tiny_statistics, tiny_gradients):
    """Weight and statistics of one linear of the tiny model: square, wide and tall ones."""
    [linear] = [
        linear
        for linear in family_of("LlamaForCausalLM").linears([1])
        if linear.name.endswith(request.param)
    ]
    weight = tiny_llama().double().get_submodule(linear.name).weight.detach()
    inputs = replace(tiny_statistics[1, linear.site], gradient=tiny_gradients[linear.name])
    return weight, inputs


def test_full_rank_and_all_entries_reproduce_the_weight(decomposer, case):
    weight, inputs = case
    factors = decomposer(weight, inputs, min(weight.shape))
    last = choices(factors)[-1]
    if factors.sparse is not None:
        assert last.entries == len(factors.sparse.places) > 0
    x = torch.randn(
        10, weight.shape[1], dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    y = x @ approximation(factors, last).T
    if factors.bias(factors.max_rank) is not None:
        y = y + factors.bias(factors.max_rank)
    torch.testing.assert_close(y, x @ weight.T, rtol=1e-6, atol=1e-6)


def test_ranks_nest_and_shapes_are_right(decomposer, case):
    weight, inputs = case
    full = decomposer(weight, inputs, largest_rank(weight.shape))
    small = decomposer(weight, inputs, 3)
    assert full.left.shape == (weight.shape[0], full.max_rank)
    sizes = 0 if decomposer.measure == Measure.NONE else min(weight.shape)
    assert full.spectrum.shape == (sizes,)
    assert full.spectrum.dtype == full.left.dtype == torch.float64
    if decomposer.nested:
        low = [f.left[:, :3] @ f.right[:3] for f in (full, small)]
        torch.testing.assert_close(*low)


@pytest.mark.parametrize("decomposer", filter(stores_entries, METHODS), indirect=True)
def test_sparse_entries_nest_and_are_sorted(decomposer, case):
    weight, inputs = case
    factors = decomposer(weight, inputs, largest_rank(weight.shape))
    part = factors.sparse
    assert part.ladder.shape[1] == 2
    assert bool((part.ladder.diff(dim=0) >= 0).all())
    assert int(part.ladder[-1, 0]) == factors.max_rank
    assert all(len(part.values_of(kept.entries)) == kept.entries for kept in part.choices())
    assert bool((part.magnitudes.diff() <= 0).all())
    assert len(part.places.unique()) == len(part.places) == len(part.values)
    assert int(part.places.min()) >= 0
    assert int(part.places.max()) < weight.numel()


def test_spectrum_falls_and_error_falls_along_the_ladder(decomposer, case):
    weight, inputs = case
    factors = decomposer(weight, inputs, largest_rank(weight.shape))
    assert bool((factors.spectrum.diff() <= 1e-12).all())
    second = inputs.second_moment
    errors = []
    for kept in choices(factors):
        rest = weight - approximation(factors, kept)
        errors.append(float(torch.trace(rest @ second @ rest.T)))
    assert errors[-1] < errors[0]


@pytest.mark.parametrize("decomposer", LOSS, indirect=True)
@pytest.mark.parametrize("case", [name for name in CASES if name != TALL], indirect=True)
def test_a_spectrum_that_predicts_the_loss_is_in_nats(decomposer, case):
    """½ tr(G (W − Ŵ) C (W − Ŵ)ᵀ) to within a factor of two: damping and a sparse part's overlap aside."""
    weight, inputs = case
    assert inputs.gradient.side == "out"  # [out, out] is gathered of no tall weight
    factors = decomposer(weight, inputs, largest_rank(weight.shape))
    offered = choices(factors)
    for kept in (offered[0], offered[len(offered) // 2]):
        predicted = factors.spectrum[kept.rank :].square().sum()
        if factors.sparse is not None:
            predicted = predicted + factors.sparse.magnitudes[kept.entries :].square().sum()
        rest = weight - approximation(factors, kept)
        bent = inputs.gradient.second_moment @ rest @ inputs.covariance @ rest.T
        assert 0.5 < float(predicted / (torch.trace(bent) / 2)) < 2


def test_same_input_same_bytes_and_inputs_untouched(decomposer, case):
    weight, inputs = case
    before = weight.clone(), whole(inputs.second).clone()
    first, second = (decomposer(weight, inputs, 5) for _ in range(2))
    assert torch.equal(first.left, second.left)
    assert torch.equal(first.right, second.right)
    if first.sparse is not None:
        for name, tensor in vars(first.sparse).items():
            other = getattr(second.sparse, name)
            assert tensor is other is None or torch.equal(tensor, other)
    assert torch.equal(weight, before[0])
    assert torch.equal(whole(inputs.second), before[1])


def test_rank_deficient_statistics_give_finite_factors(decomposer, case):
    """Fewer tokens than dimensions, and a dead channel."""
    weight, inputs = case
    width = weight.shape[1]
    x = torch.randn(5, width, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x[:, 2] = 0
    tokens = torch.tensor([5])
    few = type(inputs)(x.T @ x, x.mean(0, keepdim=True), tokens, x.abs().sum(0), inputs.gradient)
    factors = decomposer(weight, few, largest_rank(weight.shape))
    for tensor in (factors.left, factors.right, factors.spectrum):
        assert bool(tensor.isfinite().all())
    if factors.sparse is not None:
        assert bool(factors.sparse.values.isfinite().all())
    rest = weight - approximation(factors, choices(factors)[-1])
    covariance = few.covariance if decomposer.bias else few.second_moment
    lost = torch.trace(rest @ covariance @ rest.T) / torch.trace(weight @ covariance @ weight.T)
    assert float(lost) < 0.5


def explained(cls):
    """Return the fields of a class that a docstring follows in its source."""
    [body] = [node.body for node in ast.parse(inspect.getsource(cls)).body]
    return {
        field.target.id
        for field, after in pairwise(body)
        if isinstance(field, ast.AnnAssign) and isinstance(after, ast.Expr)
    }


@pytest.mark.parametrize("name", METHODS)
def test_a_method_and_each_of_its_keys_are_explained(name):
    method = decomposers[name]
    assert method.summary.endswith(".")
    assert "Use it" in vars(method)["__doc__"]
    ours = [cls for cls in method.__mro__ if cls.__module__.startswith("rankwise.")]
    assert set(method.model_fields) <= set().union(*map(explained, ours))


def test_the_errors_of_the_weight_are_those_that_the_factors_leave(decomposer, case):
    """Whether the method finds them on a shorter way or they are taken from the factors."""
    weight, inputs = case
    linear = Linear("layer", 1, "site", "kind", "layer")
    factors = factor_linear(linear, weight, inputs, decomposer)
    kept = [Kept(0), *choices(factors)] if factors.sparse is None else choices(factors)
    left = [(weight - approximation(factors, each)).square().sum() for each in kept]
    expected = torch.stack(left if factors.sparse is None else [weight.square().sum(), *left])
    torch.testing.assert_close(factors.weight_errors, expected, rtol=1e-8, atol=1e-10)
