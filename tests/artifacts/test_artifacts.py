"""Artifacts: they come back equal, equal ones have equal bytes, and broken files are named."""

import pytest
import torch

from rankwise.artifacts.factors import Factors, GroupFactors, SparsePart
from rankwise.artifacts.statistics import GroupStatistics
from rankwise.artifacts.tokens import Tokens
from rankwise.errors import RankwiseError
from rankwise.linalg.packed import whole

COSINES = {(0, "attention"): 1 / 3, (1, "mlp"): -2.5}


def block(tiny_statistics):
    return GroupStatistics([0, 1], tiny_statistics, COSINES)


def factors():
    g = torch.Generator().manual_seed(0)
    left, right = torch.randn(6, 3, generator=g), torch.randn(3, 4, generator=g)
    spectrum = torch.tensor([3.0, 2, 1, 0.5], dtype=torch.float64)
    biased = Factors(
        left,
        right,
        spectrum,
        torch.randn(6, generator=g),
        torch.randn(3, generator=g),
        notes={"damping": 1e-6},
    )
    sparse = SparsePart(
        torch.tensor([7, 0, 23], dtype=torch.int32),
        torch.tensor([-2.0, 1, 0.5]),
        torch.tensor([2.0, 1, 0.5], dtype=torch.float64),
        torch.tensor([[0, 0], [1, 1], [2, 1], [3, 3]]),
        torch.tensor([1, 2]),
        torch.tensor([-2.5, -2.25, 1.5]),
    )
    beside = Factors(left.clone(), right.clone(), spectrum.clone(), sparse=sparse)
    return GroupFactors("svd", [0], {"a.b": biased, "a.c": beside})


def test_round_trips_and_equal_bytes(tmp_path, tiny_statistics):
    block(tiny_statistics).save(tmp_path / "one")
    block(dict(reversed(tiny_statistics.items()))).save(tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    again = GroupStatistics.load(tmp_path / "one")
    assert again.sites.keys() == tiny_statistics.keys()
    torch.testing.assert_close(
        whole(again.sites[1, "mlp_out"].second), whole(tiny_statistics[1, "mlp_out"].second)
    )
    for name in ("pool_means", "pool_tokens", "absolute"):
        ours, given = (getattr(of[1, "mlp_out"], name) for of in (again.sites, tiny_statistics))
        assert torch.equal(ours, given)
    assert again.cosines == COSINES
    assert again.similarity[1, "mlp"] == -2.5 / tiny_statistics[1, "mlp_in"].tokens
    factors().save(tmp_path / "f", torch.float32)
    found = GroupFactors.load(tmp_path / "f")
    for name, given in factors().linears.items():
        for rank in (1, 3):
            torch.testing.assert_close(found.linears[name].left[:, :rank], given.left[:, :rank])
            expected, bias = given.bias(rank), found.linears[name].bias(rank)
            assert (expected is None) == (bias is None)
            if expected is not None:
                torch.testing.assert_close(bias, expected)
        assert found.linears[name].notes == given.notes
    again, given = (x.linears["a.c"].sparse for x in (found, factors()))
    assert found.linears["a.b"].sparse is None
    for part, tensor in vars(given).items():
        torch.testing.assert_close(getattr(again, part).to(tensor.dtype), tensor)
    assert again.places.dtype == torch.int32


def test_other_missing_and_broken_files_are_named(tmp_path):
    path = tmp_path / "f"
    factors().save(path, torch.float32)
    with pytest.raises(
        RankwiseError, match=r"f: expected schema rankwise/tokens@1, found rankwise/factors@3"
    ):
        Tokens.load(path)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(RankwiseError, match="f is not a whole safetensors file"):
        GroupFactors.load(path)
    with pytest.raises(RankwiseError, match="does not exist"):
        GroupFactors.load(tmp_path / "none")
