"""Spectra that break things: every allocator gives choices within the budget, or an error that names the linear."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rankwise.allocate import allocators
from rankwise.errors import RankwiseError
from tests.allocate.problems import make, problem

FINITE = {
    "zero": lambda s: s * 0,
    "equal": torch.ones_like,
    "one component": lambda s: s * (torch.arange(len(s)) == 0),
    "large": lambda s: s * 1e150,
    "small": lambda s: s * 1e-160,
}
BROKEN = {
    "NaN": lambda s: s * float("nan"),
    "infinite": lambda s: s + float("inf"),
    "too large to be squared": lambda s: s * 1e200,
}


@pytest.mark.parametrize("name", sorted(allocators))
@pytest.mark.parametrize("sparse", [False, True])
@given(
    st.dictionaries(st.integers(0, 20), st.sampled_from(sorted(FINITE)), min_size=1),
    st.floats(0.3, 0.9),
)
@settings(max_examples=10, deadline=None)
def test_degenerate_spectra_give_choices_within_the_budget(name, sparse, changes, keep):
    case = problem(sparse=sparse, keep=keep)
    candidates = dict(case.candidates)
    for place, kind in changes.items():
        linear = list(candidates)[place]
        before = candidates[linear]
        candidates[linear] = replace(before, spectrum=FINITE[kind](before.spectrum))
    found = make(name)(replace(case, candidates=candidates))
    assert set(found) == set(case.matrices)
    assert case.budget.reached(found) <= keep
    assert all(kept is None or kept.rank >= 1 for kept in found.values())


@pytest.mark.parametrize("kind", BROKEN)
@pytest.mark.parametrize("part", ["spectrum", "magnitudes"])
def test_what_is_no_number_is_an_error_that_names_the_linear(kind, part):
    """No allocator is handed such sizes: there is no candidate of them."""
    candidate = problem(sparse=True).candidates["1.up"]
    with pytest.raises(RankwiseError, match=r"^layer 1, up: the spectrum holds NaN or numbers"):
        replace(candidate, **{part: BROKEN[kind](getattr(candidate, part).double())})
