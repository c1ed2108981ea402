"""A file gets its name once it is whole, and nothing else is left behind."""

import os
from pathlib import Path

import pytest
import torch

from rankwise.artifacts.factors import Factors, GroupFactors
from rankwise.files.atomic import atomic_write, write_json


def test_no_temporary_file_is_left(tmp_path):
    factors = Factors(torch.ones(6, 3), torch.ones(3, 4), torch.ones(4))
    GroupFactors("svd", [0], {"a.b": factors}).save(tmp_path / "f", torch.float32)
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


def test_nothing_is_left_of_a_write_that_failed_or_of_a_process_that_died(tmp_path) -> None:
    path = tmp_path / "a.json"
    (tmp_path / ".a.json.4194304.tmp").mkdir()  # no process has such a number
    (tmp_path / ".a.json.4194305.tmp").touch()
    (tmp_path / ".b.json.4194305.tmp").touch()
    write_json(path, {})
    with pytest.raises(ValueError, match="Out of range float"):
        write_json(path, {"a": float("nan")})
    assert {p.name for p in tmp_path.iterdir()} == {"a.json", ".b.json.4194305.tmp"}
