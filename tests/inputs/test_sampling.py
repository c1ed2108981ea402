"""Windows of tokens: seeded, disjoint, and refused where there are too few."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rankwise.artifacts.tokens import Tokens
from rankwise.errors import RankwiseError
from rankwise.inputs.sampling import draw_windows

STREAM = torch.arange(1000, dtype=torch.int32)


def taken(ids, starts):
    return Tokens(ids, starts, "calibration", "c", "hash", 0)


@given(st.integers(2, 60), st.integers(2, 60), st.integers(0, 99))
def test_roles_never_share_a_token(first, second, seed):
    ids, starts = draw_windows(STREAM, first, 6, seed, None, "calibration")
    others, _ = draw_windows(STREAM, second, 3, seed + 1, taken(ids, starts), "search")
    assert not set(ids.flatten().tolist()) & set(others.flatten().tolist())


def test_same_seed_same_windows_another_seed_others():
    first, again, other = (draw_windows(STREAM, 10, 20, seed, None, "x")[0] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_all_windows_in_order():
    ids, starts = draw_windows(STREAM, 300, None, 0, None, "test")
    assert starts.tolist() == [0, 300, 600]
    assert torch.equal(ids[1], STREAM[300:600])


@pytest.mark.parametrize(("length", "sequences"), [(10, 101), (1001, None)])
def test_text_too_short_is_refused(length, sequences):
    with pytest.raises(RankwiseError, match=r"sample.test: .*the text has 1,000"):
        draw_windows(STREAM, length, sequences, 0, None, "sample.test")
