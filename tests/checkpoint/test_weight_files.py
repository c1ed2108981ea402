"""Budgets of parameters and of bytes: plan, record and files agree to the last one."""

import json
import math
import struct
from itertools import product

import pytest
from ruamel.yaml import YAML

from rankwise.checkpoint.weight_files import StoredTensor, checkpoint_bytes, file_bytes
from rankwise.errors import RankwiseError
from rankwise.files.atomic import write_json
from rankwise.params.build import Build
from rankwise.params.runs import CompressedRun, Run, expand_steps
from rankwise.records.model import ModelManifest
from rankwise.stages import build
from rankwise.validation.params import load_params
from tests.checkpoint.factored import METHODS, compress, factor
from tests.parameters import ROOT


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("budgets")
    factor(folder)
    return folder


def count(folder):
    """An independent count over the headers: all parameters, those of the blocks' linears, all bytes."""
    parameters = inside = 0
    for path in folder.glob("*.safetensors"):
        raw = path.read_bytes()
        header = json.loads(raw[8 : 8 + struct.unpack("<Q", raw[:8])[0]])
        values = {n[:-7]: t for n, t in header.items() if n.endswith(".values")}
        width = {n: 2 if t["dtype"] == "BF16" else 4 for n, t in values.items()}
        places = dict.fromkeys(width, 0)
        for name, tensor in header.items():
            linear, _, part = name.rpartition(".")
            if part in ("rows", "columns", "mask"):
                places[linear] += math.prod(tensor["shape"]) * int(tensor["dtype"][1:]) // 8
            elif name != "__metadata__":
                parameters += math.prod(tensor["shape"])
                inside += math.prod(tensor["shape"]) * ("proj" in name)
        extra = sum(-(-places[n] // width[n]) for n in places)
        parameters, inside = parameters + extra, inside + extra
    return parameters, inside, sum(p.stat().st_size for p in folder.glob("*.safetensors"))


ASKED = list(product(METHODS, [("total_params", 0.7), ("checkpoint_bytes", 0.72), ("keep", 0.61)]))


@pytest.mark.parametrize(("method", "target"), ASKED)
@pytest.mark.parametrize("dtype", [None, "bfloat16"])
def test_plan_record_and_files_agree(study, method, target, dtype):
    kind, share = target
    dense = ModelManifest.load(study / "model.json")
    size = (study / "dense/model.safetensors").stat().st_size // (1 if dtype is None else 2)
    whole = {"total_params": dense.parameters, "checkpoint_bytes": size, "keep": 1}[kind]
    asked = share if kind == "keep" else int(share * whole)
    run = Run(decompose=method, allocate="uniform", **{kind: asked})
    record, manifest, folder = compress(study, method, run, dtype=dtype)
    parameters, inside, size = count(folder)
    assert (record.parameters_reached, manifest.parameters) == (parameters, parameters)
    assert record.keep_reached == manifest.keep_reached
    before = sum(math.prod(linear.shape) for linear in record.linears.values())
    before += 2 * (48 + 24 + 24 + 48)  # biases of q, k, v, o
    assert inside / before == record.keep_reached
    assert manifest.checkpoint_bytes == size
    assert record.checkpoint_bytes_reached == (size if kind == "checkpoint_bytes" else None)
    assert record.asked == manifest.asked == run.target
    reached = {"total_params": parameters, "checkpoint_bytes": size, "keep": inside / before}[kind]
    # Less is left over than the cheapest rank of any linear costs, its entries in the header aside.
    step = min(map(sum, (linear.shape for linear in record.linears.values())))
    step *= {"total_params": 1, "checkpoint_bytes": 4 if dtype is None else 2, "keep": 1 / before}[
        kind
    ]
    if method != "kfac_sparse":
        assert asked - step - 16 * (kind == "checkpoint_bytes") < reached
    assert reached <= asked


@pytest.mark.parametrize("multiple", [1, 8, 16])
def test_ranks_in_the_files_are_multiples(study, multiple):
    run = Run(decompose="svd", allocate="energy", total_params=25_000)
    record, _, _ = compress(study, "svd", run, allocator="energy", multiple=multiple)
    ranks = [linear.rank for linear in record.linears.values() if linear.rank is not None]
    assert ranks
    assert all(rank % multiple == 0 for rank in ranks)


def test_targets_that_cannot_be_met_are_refused_with_numbers(study):
    dense = ModelManifest.load(study / "model.json").parameters
    size = (study / "dense/model.safetensors").stat().st_size
    for target, says in {
        ("total_params", dense + 1): rf"asked, the dense model has {dense:,}; lower total_params",
        ("checkpoint_bytes", size + 8): rf"the dense model has {size:,}; lower checkpoint_bytes",
        (
            "total_params",
            4000,
        ): r"total_params 4,000 asked, but the floor .* alone comes to [\d,]+; raise",
        (
            "checkpoint_bytes",
            9000,
        ): r"checkpoint_bytes 9,000 asked, but the floor .* comes to [\d,]+;",
    }.items():
        run = Run(decompose="svd", allocate="uniform", **dict([target]))
        with pytest.raises(RankwiseError, match=says):
            compress(study, "svd", run)
    whole = Run(decompose="svd", allocate="uniform", checkpoint_bytes=size)
    record, manifest, _ = compress(study, "svd", whole)
    assert manifest.checkpoint_bytes == size
    assert all(linear.rank is None for linear in record.linears.values())


def test_files_that_hold_more_than_was_asked_are_not_kept(study):
    """A plan for files of bfloat16, built in float32."""
    run = Run(decompose="svd", allocate="uniform", checkpoint_bytes=60_000)
    compress(study, "svd", run, dtype="bfloat16")
    write_json(study / "build.json", Build().model_dump())
    with pytest.raises(
        RankwiseError, match=r"checkpoint_bytes 60,000 asked, the files hold [\d,]+;"
    ):
        build.command(
            params=study / "build.json",
            model=study / "model.json",
            factors=[study / "svd"],
            allocation=study / "allocation.json",
            calibration=study / "calibration",
            checkpoint=study / "over",
            out=study / "over.json",
        )
    assert not (study / "over").exists()
    assert not (study / "over.json").exists()


def test_the_way_down_is_even_from_the_dense_figure():
    runs = {"a": CompressedRun(decompose="svd", allocate="u", total_params=400, steps=3)}
    steps = expand_steps(runs)
    assert [run.way for run in steps.values()] == pytest.approx([1 / 3, 2 / 3, 1])
    asked = [run.target.on_the_way(1000, run.way).value for run in steps.values()]
    assert asked == [800, 600, 400]
    shares = CompressedRun(decompose="svd", allocate="u", keep=0.6, steps=2)
    on_the_way = [
        run.target.on_the_way(1.0, run.way).value for run in expand_steps({"a": shares}).values()
    ]
    assert on_the_way == [0.8, 0.6]


def test_several_files_have_a_header_each(monkeypatch):
    tensors = [StoredTensor(name, "F32", (10, 10)) for name in "abcde"]
    monkeypatch.setattr("rankwise.checkpoint.weight_files.SHARD_SIZE", 900)
    parts = [tensors[:2], tensors[2:4], tensors[4:]]
    assert checkpoint_bytes(tensors) == sum(map(file_bytes, parts))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, r"runs.it: .*give exactly one of keep, total_params, checkpoint_bytes; found none"),
        ({"keep": 0.5, "total_params": 9}, r"runs.it: .*; found keep and total_params"),
        ({"total_params": 0}, r"runs.it.total_params: 0 given"),
        (
            {"total_params": 10**9},
            r"runs.it.total_params: 1,000,000,000 asked, the dense model has [\d,]+; give that or less",
        ),
        (
            {"checkpoint_bytes": 1000},
            r"runs.it.checkpoint_bytes: 1,000 asked, what stays dense alone has [\d,]+; give more",
        ),
    ],
)
def test_params_refuse_budgets_before_anything_runs(tmp_path, given, says):
    yaml = YAML()
    params = yaml.load((ROOT / "params.yaml").read_text())
    params["runs"] = {"it": {"decompose": "svd", "allocate": "uniform", **given}}
    yaml.dump(params, tmp_path / "params.yaml")
    with pytest.raises(RankwiseError, match=says):
        load_params(tmp_path / "params.yaml")
