"""Spectra that break things: every allocator gives choices within the budget, or an error that names the linear."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rankwise.allocate import allocators
from rankwise.errors import RankwiseError
from tests.allocate.problems import make, problem

SPECTRA = {
    "zero": lambda s: s * 0,
    "equal": torch.ones_like,
    "one component": lambda s: s * (torch.arange(len(s)) == 0),
    "large": lambda s: s * 1e150,
    "small": lambda s: s * 1e-160,
    "NaN": lambda s: s * float("nan"),
    "infinite": lambda s: s + float("inf"),
    "too large to be squared": lambda s: s * 1e200,
}


@pytest.mark.parametrize("name", sorted(allocators))
@pytest.mark.parametrize("sparse", [False, True])
@given(
    st.dictionaries(st.integers(0, 20), st.sampled_from(sorted(SPECTRA)), min_size=1),
    st.floats(0.3, 0.9),
)
@settings(max_examples=10, deadline=None)
def test_hostile_spectra_give_a_budget_that_holds_or_a_named_error(name, sparse, changes, keep):
    given_ = problem(sparse=sparse, keep=keep)
    candidates = dict(given_.candidates)
    try:
        for place, kind in changes.items():
            linear = list(candidates)[place]
            before = candidates[linear]
            candidates[linear] = replace(before, spectrum=SPECTRA[kind](before.spectrum))
        case = replace(given_, candidates=candidates)
        found = make(name)(case)
    except RankwiseError as error:
        assert "layer" in str(error) or "alone comes to" in str(error)
        return
    assert set(found) == set(case.matrices)
    assert case.budget.reached(found) <= keep
    assert all(kept is None or kept.rank >= 1 for kept in found.values())
