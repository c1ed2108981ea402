"""Pools gathered by several jobs and added up are the bytes of one job, in memory or streamed."""

import pytest
import torch

from rankwise.artifacts.tokens import Tokens
from rankwise.errors import RankwiseError
from rankwise.files.atomic import write_json
from rankwise.params.compute import Compute
from rankwise.params.covariance import CovarianceParams
from rankwise.stages.covariance import command
from rankwise.validation.params import load_params
from tests.conftest import random_ids
from tests.parameters import changed
from tests.saved_models import save_tokenizer
from tests.statistics.streaming import case, llama

POOLS, GROUPS = 8, 2


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    save_tokenizer(folder / "model")
    manifest, _ = case(llama(), folder / "model")
    manifest.save(folder / "model.json")
    write_json(folder / "compute.json", Compute(layers_per_job=2).model_dump())
    ids = random_ids()
    Tokens(ids, torch.arange(len(ids)), "calibration", "c", "0" * 64, 0).save(folder / "tokens")
    return folder


def gathered(study, folder, shards, *, streaming):
    """The bytes of every group, as the rules would have them made by so many jobs."""
    asked = CovarianceParams(pools=POOLS, batch=3, shards=shards, streaming=streaming)
    write_json(folder / "covariance.json", asked.model_dump())
    shared = {
        "params": folder / "covariance.json", "compute": study / "compute.json",
        "model": study / "model.json", "checkpoint": study / "model.json", "tokens": study / "tokens",
    }  # fmt: skip
    out = [folder / f"group_{group}" for group in range(GROUPS)]
    if shards == 1:
        command(**shared, work=folder / "work", out=out)
        return [path.read_bytes() for path in out]
    parts = []
    for shard in range(shards):
        own = [
            folder / f"{shard}_{part}_{group}"
            for part in range(POOLS // shards)
            for group in range(GROUPS)
        ]
        command(**shared, work=folder / f"work_{shard}", out=own, shard=shard)
        parts += own
    command(**shared, work=folder / "work", out=out, parts=parts)
    return [path.read_bytes() for path in out]


def test_any_number_of_shards_gives_the_same_bytes(study, tmp_path):
    found = {}
    for shards in (1, 2, 8):
        for streaming in (False, True):
            folder = tmp_path / f"{shards}_{streaming}"
            folder.mkdir()
            found[shards, streaming] = gathered(study, folder, shards, streaming=streaming)
    assert len({tuple(files) for files in found.values()}) == 1, list(found)


def test_shards_divide_the_pools(tmp_path):
    path = changed(tmp_path, "covariance", "shards", value=3)
    with pytest.raises(RankwiseError, match=r"covariance.shards: 3 does not divide .*pools = 8"):
        load_params(path)
