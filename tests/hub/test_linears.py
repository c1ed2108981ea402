"""Linears with a sparse part: one matrix, two ways to store it."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rankwise.budget.costs import Kept, Matrix
from rankwise.hub.linears import LowRankSparseLinear
from rankwise.hub.places import index_bits


def linear(out: int, columns: int, entries: int, seed: int = 0):
    """A layer on the CPU and the matrix that it holds."""
    g = torch.Generator().manual_seed(seed)
    places = torch.randperm(out * columns, generator=g)[:entries].to(torch.int32)
    values = torch.randn(entries, generator=g)
    layer = LowRankSparseLinear(columns, out, 2, entries=entries, bias=True)
    layer.hold(places, values)
    expected = torch.zeros(out * columns)
    expected[places.long()] = values
    return layer, expected.view(out, columns)


@given(st.integers(1, 20), st.integers(1, 40), st.integers(0, 10**6), st.data())
@settings(max_examples=60, deadline=None)
def test_what_is_held_comes_back_and_costs_what_the_budget_says(out, columns, seed, data):
    entries = data.draw(st.integers(1, out * columns))
    layer, expected = linear(out, columns, entries, seed)
    assert torch.equal(layer.sparse(), expected)
    form, bits = index_bits((out, columns), entries)
    assert layer.format == form
    assert sum(buffer.nbytes for buffer in layer.buffers()) * 8 == bits
    matrix = Matrix((out, columns), 2, factored_bias=True)
    numbers = sum(parameter.numel() for parameter in layer.parameters())
    assert matrix.parameters(Kept(2, entries)) == numbers + -(-bits // 32)


@pytest.mark.parametrize("entries", [3, 400])
def test_both_forms_are_used_and_survive_a_state_dict(entries):
    layer, expected = linear(20, 40, entries)
    assert layer.format == {3: "csr", 400: "bitmask"}[entries]
    again, _ = linear(20, 40, entries, seed=1)
    again.requires_grad_(requires_grad=False)
    again(torch.zeros(1, 40))  # what it held before is laid out now
    again.load_state_dict(layer.state_dict())
    x = torch.randn(5, 40, generator=torch.Generator().manual_seed(1))
    whole = layer.left.weight @ layer.right.weight + expected
    torch.testing.assert_close(again(x), x @ whole.T + layer.left.bias)
    assert set(again.state_dict()) == set(layer.state_dict())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_works_in_every_precision_and_after_a_cast(dtype):
    layer, _ = linear(20, 40, 400)
    layer.requires_grad_(requires_grad=False)
    x = torch.randn(3, 40, generator=torch.Generator().manual_seed(1))
    expected = layer(x)
    cast = copy.deepcopy(layer).to(dtype)
    found = cast(x.to(dtype))
    assert found.dtype == dtype
    torch.testing.assert_close(found.float(), expected, rtol=0.02, atol=0.1)


def test_values_can_be_trained():
    layer, expected = linear(20, 40, 400)
    x = torch.randn(3, 40, generator=torch.Generator().manual_seed(1))
    layer(x).sum().backward()
    grad = torch.ones(20, 1) @ x.sum(0, keepdim=True)
    torch.testing.assert_close(layer.values.grad, grad[expected != 0])
    with torch.no_grad():
        layer.values += 1
    layer.requires_grad_(requires_grad=False)
    moved = (expected != 0).float()
    torch.testing.assert_close(layer.sparse(), expected + moved)
    torch.testing.assert_close(
        layer(x), x @ (layer.left.weight @ layer.right.weight + layer.sparse()).T + layer.left.bias
    )
