"""The stages evaluate and speed over a tiny model on disk, through the command line."""

from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from rankwise.artifacts import Tokens
from rankwise.cli import app
from rankwise.errors import RankwiseError
from rankwise.evaluate.perplexity import perplexity, window_losses
from rankwise.evaluate.speed import in_turn, measure
from rankwise.files import write_json
from rankwise.models import family_of
from rankwise.records import ModelManifest, Scores, SpeedRecord
from rankwise.sources import hashes
from tests.evaluate.conftest import manifest


def invoke(*arguments: object) -> None:
    """Run a command; an exception is the test's to see."""
    CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


@pytest.fixture
def data(model: Any, tokenizer: Any, folder: Path) -> Path:
    """The files that the two stages read."""
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    ModelManifest(
        source=str(folder / "model"),
        revision=None,
        dtype="float32",
        architecture="LlamaForCausalLM",
        family=family_of("LlamaForCausalLM"),
        layers=2,
        parameters=sum(p.numel() for p in model.parameters()),
        files=hashes(folder / "model", ("*.json", "*.safetensors")),
    ).save(folder / "model.json")
    manifest(folder).save(folder / "tasks.json")
    ids = torch.randint(13, (6, 12), generator=torch.Generator().manual_seed(1), dtype=torch.int32)
    Tokens(ids, torch.arange(6), "test", "corpus", "0" * 64, 0).save(folder / "test.safetensors")
    write_json(folder / "evaluate.json", {"batch": 4, "tasks": ["tiny"], "limit": 3})
    write_json(
        folder / "speed.json", {"batches": [2, 1], "length": 8, "new_tokens": 3, "repeats": 3}
    )
    write_json(folder / "compute.json", {"device": "cpu", "threads": 1})
    return folder


def evaluate(data: Path, run: str, out: Path) -> None:
    sections = ["--params", data / "evaluate.json", "--compute", data / "compute.json"]
    inputs = ["--checkpoint", data / "model.json", "--tokens", data / "test.safetensors"]
    invoke(
        "evaluate", *sections, "--run", run, *inputs, "--tasks", data / "tasks.json", "--out", out
    )


def test_evaluate(model: Any, data: Path) -> None:
    evaluate(data, "dense", data / "one.json")
    evaluate(data, "dense", data / "two.json")
    assert (data / "one.json").read_bytes() == (data / "two.json").read_bytes()
    scores = Scores.load(data / "one.json")
    ids = Tokens.load(data / "test.safetensors").ids
    assert scores.perplexity == pytest.approx(perplexity(window_losses(model, ids, 6)), rel=1e-5)
    assert (scores.windows, scores.window_length, scores.tokens) == (6, 12, 66)
    assert scores.zero_shot["tiny"].items == 3
    assert scores.zero_shot_average == scores.zero_shot["tiny"].acc
    assert scores.parameters == sum(p.numel() for p in model.parameters())
    assert scores.checkpoint_bytes == (data / "model/model.safetensors").stat().st_size
    assert set(scores.versions) == {"rankwise", "torch", "transformers", "lm_eval"}
    assert scores.parameters_section == {"batch": 4, "tasks": ["tiny"], "limit": 3}


def test_evaluate_refuses_the_checkpoint_of_another_run(data: Path) -> None:
    with pytest.raises(RankwiseError, match="checkpoint of run 'dense', asked was 'svd-80'"):
        evaluate(data, "svd-80", data / "one.json")
    assert not (data / "one.json").exists()


def test_speed(data: Path) -> None:
    sections = ["--params", data / "speed.json", "--compute", data / "compute.json"]
    inputs = ["--checkpoint", data / "model.json", "--against", data / "model.json"]
    invoke("speed", *sections, "--run", "dense", *inputs, "--out", data / "speed.out.json")
    record = SpeedRecord.load(data / "speed.out.json")
    for points in (record.points, record.dense):
        assert [point.batch for point in points] == [1, 2]
        for rate in (rate for point in points for rate in (point.prefill, point.decode)):
            low, high = rate.quartiles
            assert 0 < low <= rate.median <= high
    assert record.tokens_per_second == record.points[1].prefill.median
    assert (record.length, record.new_tokens, record.repeats, record.device) == (8, 3, 3, "cpu")


def test_jobs_take_turns() -> None:
    """Two jobs, warmed up, in an order that is reversed at every repeat."""
    calls: list[str] = []

    def job(name: str) -> int:
        calls.append(name)
        return len(calls)

    returned = in_turn([lambda: job("a"), lambda: job("b")], 3)
    assert "".join(calls) == "ab" + "ab" + "ba" + "ab"
    assert returned == [[3, 6, 7], [4, 5, 8]]


def test_memory_is_weights_keys_and_values(model: Any) -> None:
    """2 layers, 2 heads of 8 for keys and values, batch 3, and 4 + 5 tokens that have passed through."""
    ids = torch.zeros(3, 4, dtype=torch.long)
    [point] = measure([model], ids, 5, 3)
    assert (
        point.memory_bytes == 4 * model.num_parameters() + buffers(model) + 2 * 2 * 3 * 9 * 16 * 4
    )


def buffers(model: Any) -> int:
    return sum(tensor.nbytes for tensor in {id(b): b for b in model.buffers()}.values())
