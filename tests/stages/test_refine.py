"""The stage refine over a tiny model on disk, through the command line."""

import json
from random import Random

import pytest
import torch
from typer.testing import CliRunner

from rankwise.artifacts.tokens import Tokens
from rankwise.checkpoint import loading, saving
from rankwise.cli import app
from rankwise.errors import RankwiseError
from rankwise.files.atomic import write_json
from rankwise.inputs.sources import hash_files
from rankwise.records.build import BuildRecord, SelfCheck
from rankwise.records.checkpoint import CheckpointManifest
from rankwise.records.refine import RefineRecord
from rankwise.refine import refiners
from tests.conftest import tiny_llama
from tests.refine.compressed import compress, factored
from tests.report.conftest import make_allocation
from tests.saved_models import save_model

METHODS = sorted(refiners)
SETTINGS = {"epochs": 2, "batch": 8, "learning_rate": 1e-2}


@pytest.fixture
def study(tmp_path):
    """A dense model, a checkpoint of it at keep 0.5 named 'start', and text that the model wrote."""
    model = tiny_llama(initializer_range=0.25)
    torch.manual_seed(0)
    first = torch.randint(3, 67, (48, 1))
    ids = model.generate(first, do_sample=True, min_new_tokens=15, max_new_tokens=15).int()
    Tokens(ids, torch.arange(48), "calibration", "c", "0" * 64, 0).save(tmp_path / "c.safetensors")
    dense = save_model(model, tmp_path / "dense")
    dense.save(tmp_path / "model.json")
    before = model.num_parameters()
    _, tokenizer = loading.load_dense(dense)
    compressed = compress(model)
    compressed.generation_config.max_length = 50
    saving.save_checkpoint(compressed, tokenizer, tmp_path / "start", "start", torch.float32)
    BuildRecord(
        run="start",
        command="rankwise build",
        model=dense,
        calibration={},
        allocation=make_allocation("svd-50", Random(0)),
        versions={},
        notes={},
        check=SelfCheck(
            sequences=8, length=16, dense_loss=1, expected_loss=2, loss=2, unigram_loss=3
        ),
        linears={},
    ).save(tmp_path / "start/record.json")
    CheckpointManifest(
        run="start",
        keep_asked=0.5,
        keep_reached=compressed.num_parameters() / before,
        parameters=compressed.num_parameters(),
        files=hash_files(tmp_path / "start", ("*",)),
    ).save(tmp_path / "start.json")
    write_json(tmp_path / "compute.json", {"device": "cpu", "threads": 1})
    return tmp_path


def refine(study, method, run="better", tokens="c.safetensors", **settings):
    section = refiners[method](**(SETTINGS | settings)).model_dump(mode="json")
    file = study / f"refine.{method}.json"
    write_json(file, {"method": method, **section})
    arguments = [
        *("refine", "--params", file),
        *("--compute", study / "compute.json", "--model", study / "model.json"),
        *("--tokens", study / tokens, "--start", study / "start.json"),
        *("--checkpoint", study / run, "--out", study / f"{run}.json"),
        *("--record", study / f"{run}.record.json", "--work", study / "work" / run),
    ]
    CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    return RefineRecord.load(study / f"{run}.record.json")


def weights(study, run):
    return loading.load_model(study / f"{run}.json").model.state_dict()


@pytest.mark.parametrize("method", METHODS)
def test_writes_a_checkpoint_that_is_better_and_no_larger(study, method):
    record = refine(study, method)
    assert not record.returned_input
    assert record.dense_loss < record.loss_after < record.loss_before
    assert (record.run, record.of, record.method) == ("better", "start", method)
    folder = study / "better"
    assert (folder / "record.json").read_bytes() == (study / "start/record.json").read_bytes()
    assert RefineRecord.load(folder / "refine.better.json") == record
    assert f"then trained on calibration text by `{method}`" in (folder / "README.md").read_text()
    assert (record.training_sequences, record.held_out_sequences) == (42, 6)
    start, better = (CheckpointManifest.load(study / f"{r}.json") for r in ("start", "better"))
    assert better.run == "better"
    assert better.keep_reached == start.keep_reached
    assert better.parameters == start.parameters
    loaded = loading.load_model(study / "better.json")
    assert loaded.run == "better"
    assert loaded.model.num_parameters() == start.parameters
    for name in ("generation_config.json", "tokenizer.json"):
        assert (study / "better" / name).read_bytes() == (study / "start" / name).read_bytes()
    ids = Tokens.load(study / "c.safetensors").ids[42:].long()
    with torch.no_grad():
        loss = float(loaded.model(ids, labels=ids).loss)
    assert loss == pytest.approx(record.loss_after, rel=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_same_seed_same_files(study, method):
    for run in ("better", "again"):
        refine(study, method, run)
    one, two = (study / run / "model.safetensors" for run in ("better", "again"))
    assert one.read_bytes() == two.read_bytes()
    one, two = (json.loads((study / f"{r}.record.json").read_text()) for r in ("better", "again"))
    same = {"run": None, "sha256": None}
    assert one | same == two | same


@pytest.mark.parametrize("method", METHODS)
def test_what_does_not_help_returns_the_input_and_says_so(study, method):
    record = refine(study, method, learning_rate=1e30)
    assert record.returned_input
    assert record.loss_after == record.loss_before
    start, better = weights(study, "start"), weights(study, "better")
    assert all(torch.equal(start[name], better[name]) for name in start)


def test_blocks_that_are_better_and_a_model_that_is_worse_return_the_input(study, monkeypatch):
    """Every block is nearer to its target, but the whole model predicts held-out text worse."""
    cls = refiners["blockwise"]
    call = cls.__call__

    def spoiled(self, problem):
        curves = call(self, problem)
        for module in factored(problem.compressed):
            module.left.weight.data.mul_(-1)
        return curves

    monkeypatch.setattr(cls, "__call__", spoiled)
    record = refine(study, "blockwise")
    assert record.returned_input
    assert record.loss_after > record.loss_before
    assert all(curve.best > 0 for curve in record.curves)
    start, better = weights(study, "start"), weights(study, "better")
    assert all(torch.equal(start[name], better[name]) for name in start)


def test_only_calibration_text_is_taken(study):
    text = Tokens.load(study / "c.safetensors")
    Tokens(text.ids, text.starts, "test", "c", "0" * 64, 0).save(study / "t.safetensors")
    with pytest.raises(RankwiseError, match=r"role 'test' given, .* calibration text only"):
        refine(study, "blockwise", tokens="t.safetensors")
    Tokens(text.ids[:1], text.starts[:1], "calibration", "c", "0" * 64, 0).save(
        study / "t.safetensors"
    )
    with pytest.raises(RankwiseError, match="needs calibration text"):
        refine(study, "blockwise", tokens="t.safetensors")
    with pytest.raises(RankwiseError, match="does not exist"):
        refine(study, "blockwise", tokens="none.safetensors")


def test_a_fault_between_writing_and_opening_leaves_no_checkpoint(study, monkeypatch):
    save = saving.save_checkpoint

    def spoiling(model, *rest):
        model.model.norm.weight.data.mul_(2)
        save(model, *rest)

    monkeypatch.setattr(saving, "save_checkpoint", spoiling)
    with pytest.raises(RankwiseError, match=r"refine: the checkpoint, opened again, loses"):
        refine(study, "blockwise")
    assert not (study / "better").exists()
    assert not (study / "better.json").exists()
    assert not (study / "better.record.json").exists()
