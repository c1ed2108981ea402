"""A linear that a search cuts: prefixes of its components, and any subset."""

import torch

from rankwise.artifacts.factors import Factors, SparsePart
from rankwise.budget.costs import Kept
from rankwise.model.sliced_linear import SlicedLinear


def sliced():
    g = torch.Generator().manual_seed(0)
    left, right, codes = (torch.randn(*s, generator=g) for s in ((6, 4), (4, 9), (4,)))
    values = torch.randn(10, generator=g)
    places = torch.randperm(54, generator=g)[:10].to(torch.int32)
    part = SparsePart(places, values, values.abs(), torch.tensor([0, 2, 4, 6, 10]))
    offset = torch.randn(6, generator=g)
    factors = Factors(left, right, torch.ones(6), offset, codes, sparse=part)
    return SlicedLinear(torch.nn.Linear(9, 6), factors), factors


@torch.no_grad()
def test_a_search_chooses_prefixes_and_any_subset():
    layer, factors = sliced()
    x = torch.randn(5, 9, generator=torch.Generator().manual_seed(1))
    for choice in (Kept(3, 6), Kept(1, 0), Kept(2, 9)):
        layer.choose(choice)
        low = factors.left[:, : choice.rank] @ factors.right[: choice.rank]
        whole = low + factors.sparse.dense(choice.entries, (6, 9))
        torch.testing.assert_close(layer(x), x @ whole.T + factors.bias(choice.rank))
    components = torch.tensor([True, False, False, True])
    entries = torch.arange(10) % 3 == 0
    layer.mask(components, entries)
    low = factors.left[:, components] @ factors.right[components]
    chosen = torch.zeros(54)
    chosen[factors.sparse.places[entries].long()] = factors.sparse.values[entries]
    bias = factors.offset - factors.left[:, components] @ factors.codes[components]
    torch.testing.assert_close(layer(x), x @ (low + chosen.view(6, 9)).T + bias)
    layer.choose(None)
    assert torch.equal(layer(x), layer.dense(x))
