"""The stage allocate reads the statistics that its allocator needs."""

import pytest
import torch

from rankwise.allocate.mgaa import MGAA
from rankwise.artifacts.factors import GroupFactors
from rankwise.artifacts.statistics import GroupStatistics
from rankwise.decompose.factoring import factor_group
from rankwise.decompose.svd import SVD
from rankwise.errors import RankwiseError
from rankwise.files.atomic import write_json
from rankwise.model.weights import Weights
from rankwise.params.build import Build
from rankwise.params.compute import Compute
from rankwise.params.runs import Run
from rankwise.records.allocation import AllocationRecord
from rankwise.stages import allocate
from tests.conftest import tiny_llama
from tests.saved_models import save_model


def test_the_stage_hands_statistics_to_those_who_ask(tmp_path, tiny_statistics):
    """``mgaa`` without covariance files is refused; with them, likeness steers what is kept."""
    manifest = save_model(tiny_llama(), tmp_path / "dense")
    manifest.save(tmp_path / "model.json")
    cosines = {(0, "attention"): 0.9, (0, "mlp"): 0.1, (1, "attention"): 0.1, (1, "mlp"): 0.9}
    tokens = tiny_statistics[0, "mlp_in"].tokens
    block = GroupStatistics(
        [0, 1], tiny_statistics, {key: value * tokens for key, value in cosines.items()}
    )
    block.save(tmp_path / "group_0")
    factors = dict(
        factor_group(
            Weights(tmp_path / "dense", manifest.family), block, SVD(), torch.device("cpu")
        )
    )
    GroupFactors("svd", [0, 1], factors).save(tmp_path / "factors", torch.float32)
    sections = {
        "build": Build(),
        "compute": Compute(),
        "run": Run(decompose="svd", allocate="mgaa", keep=0.6),
    }
    for name, value in sections.items():
        (tmp_path / f"{name}.json").write_text(value.model_dump_json())
    write_json(
        tmp_path / "params.json", {"method": "mgaa", **MGAA(multiple=1, floor=0.05).model_dump()}
    )
    files = {
        name: tmp_path / f"{name}.json" for name in (*sections, "params", "model", "trials", "out")
    }
    paths = {**files, "factors": [tmp_path / "factors"], "work": tmp_path / "work"}
    with pytest.raises(RankwiseError, match=r"mgaa asks .*--statistics"):
        allocate.command(**paths)
    allocate.command(**paths, statistics=[tmp_path / "group_0"])
    linears = AllocationRecord.load(files["out"]).linears

    def kept(prefix):
        return sum(one.parameters for name, one in linears.items() if prefix in name)

    assert kept("layers.0.self_attn") < kept("layers.1.self_attn")
    assert kept("layers.1.mlp") < kept("layers.0.mlp")
