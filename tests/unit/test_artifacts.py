"""Artifacts: they come back equal, equal ones have equal bytes, and broken files are named."""

import os
from pathlib import Path

import pytest
import torch

from rankwise.artifacts.factors import Factors, GroupFactors, SparsePart
from rankwise.artifacts.statistics import GroupStatistics
from rankwise.artifacts.tokens import Tokens
from rankwise.errors import RankwiseError
from rankwise.files.atomic import atomic_write, write_json
from rankwise.files.checksummed import read_json, with_checksum
from rankwise.linalg.packed import whole
from rankwise.records.inputs import ModelManifest
from rankwise.records.measured import SpeedRecord

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


def test_no_temporary_file_is_left(tmp_path):
    factors().save(tmp_path / "f", torch.float32)
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


def test_a_file_gets_its_name_after_the_disk_has_its_bytes(tmp_path, monkeypatch):
    """And the folder's names are flushed after it, so that a power cut leaves all of it or nothing."""
    done, fsync, replace = [], os.fsync, Path.replace

    def flushed(number):
        fsync(number)
        done.append(("flushed", Path(f"/proc/self/fd/{number}").readlink().name))

    def renamed(path, target):
        done.append(("renamed", path.name))
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(Path, "replace", renamed)
    temporary, folder = f".a.json.{os.getpid()}.tmp", tmp_path.name
    write_json(tmp_path / "a.json", {})
    assert done == [("flushed", temporary), ("renamed", temporary), ("flushed", folder)]
    done.clear()
    with atomic_write(tmp_path / "b") as within:
        within.mkdir()
        (within / "x").touch()
    temporary = f".b.{os.getpid()}.tmp"
    written = [("flushed", "x"), ("flushed", temporary)]
    assert done == [*written, ("renamed", temporary), ("flushed", folder)]


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


def test_records_refuse_another_schema_and_unknown_keys(tmp_path):
    path = tmp_path / "speed.json"
    SpeedRecord(
        run="a", points=[], dense=[], length=1, new_tokens=1, repeats=3, device="cpu", threads=1,
    ).save(path)  # fmt: skip
    assert SpeedRecord.load(path).run == "a"
    with pytest.raises(
        RankwiseError, match="expected schema rankwise/model@2, found rankwise/speed@2"
    ):
        ModelManifest.load(path)
    write_json(path, with_checksum(read_json(path) | {"rum": "a"}))
    with pytest.raises(RankwiseError, match=r"speed.json: rum: Extra"):
        SpeedRecord.load(path)
