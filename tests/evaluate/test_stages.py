"""The stages evaluate and speed over a tiny model on disk, through the command line."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from rankwise.artifacts.tokens import Tokens
from rankwise.checkpoint.loading import load_model
from rankwise.cli import app
from rankwise.errors import RankwiseError
from rankwise.evaluate.divergence import measure_divergence
from rankwise.evaluate.perplexity import to_perplexity, window_losses
from rankwise.evaluate.speed import interleave, time_models
from rankwise.files.atomic import write_json
from rankwise.inputs.sources import hash_files
from rankwise.model.families import family_of
from rankwise.records.items import Items
from rankwise.records.model import ModelManifest
from rankwise.records.scores import Scores
from rankwise.records.speed import SpeedRecord
from rankwise.stages.evaluate import text_score
from tests.conftest import tiny_llama
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
        files=hash_files(folder / "model", ("*.json", "*.safetensors")),
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
    outputs = ["--items", out.with_suffix(".items.json"), "--out", out]
    against = ["--against", data / "model.json"]
    invoke(
        "evaluate",
        *sections,
        "--run",
        run,
        *inputs,
        *against,
        "--tasks",
        data / "tasks.json",
        *outputs,
    )


def test_evaluate(model: Any, data: Path) -> None:
    evaluate(data, "dense", data / "one.json")
    evaluate(data, "dense", data / "two.json")
    assert (data / "one.json").read_bytes() == (data / "two.json").read_bytes()
    scores = Scores.load(data / "one.json")
    ids = Tokens.load(data / "test.safetensors").ids
    assert scores.perplexity == pytest.approx(to_perplexity(window_losses(model, ids, 6)), rel=1e-5)
    assert (scores.windows, scores.window_length, scores.tokens) == (6, 12, 66)
    assert scores.zero_shot["tiny"].items == 3
    assert scores.zero_shot_average == scores.zero_shot["tiny"].acc
    assert scores.parameters == sum(p.numel() for p in model.parameters())
    assert scores.checkpoint_bytes == (data / "model/model.safetensors").stat().st_size
    assert set(scores.versions) == {"rankwise", "torch", "transformers", "lm_eval"}
    assert {"batch": 4, "tasks": ["tiny"], "limit": 3}.items() <= scores.parameters_section.items()
    items = Items.load(data / "one.items.json")
    assert sum(items.texts["test"].losses) / 6 == pytest.approx(scores.loss, rel=1e-6)
    assert sum(items.tasks["tiny"].acc) / 3 == scores.zero_shot["tiny"].acc
    assert scores.zero_shot["tiny"].data == "tiny.jsonl"
    assert (scores.kl, scores.agreement, items.continuations) == (None, None, [])


def test_uniform_model_has_the_perplexity_of_its_vocabulary(
    model: Any, tokenizer: Any, data: Path
) -> None:
    """Through the whole stage, from a checkpoint whose weights are zeros."""
    zero = type(model)(model.config)
    for parameter in zero.parameters():
        parameter.data.zero_()
    zero.save_pretrained(data / "model")
    before = ModelManifest.load(data / "model.json")
    files = hash_files(data / "model", ("*.json", "*.safetensors"))
    before.model_copy(update={"files": files}).save(data / "model.json")
    evaluate(data, "dense", data / "one.json")
    scores = Scores.load(data / "one.json")
    assert scores.perplexity == pytest.approx(model.config.vocab_size, rel=1e-6)
    losses = Items.load(data / "one.items.json").texts["test"].losses
    assert losses == pytest.approx([math.log(model.config.vocab_size)] * 6, rel=1e-6)


def test_measures_beside_the_dense_model(model: Any, tokenizer: Any, data: Path) -> None:
    """Of the dense model itself nothing differs; of another model, as computed by hand."""
    section = {"batch": 4, "tasks": [], "divergence": True, "prompts": ["the cat"], "new_tokens": 5}
    write_json(data / "evaluate.json", section)
    evaluate(data, "dense", data / "one.json")
    scores = Scores.load(data / "one.json")
    assert (scores.kl, scores.agreement) == (0, 1)
    [said] = Items.load(data / "one.items.json").continuations
    ids = tokenizer("the cat", return_tensors="pt").input_ids
    for _ in range(5):
        ids = torch.cat([ids, model(ids).logits[:, -1:].argmax(-1)], 1)
    assert said.model_dump() == {
        "prompt": "the cat",
        "text": tokenizer.decode(ids[0, 2:], skip_special_tokens=True),
    }
    other = tiny_llama(3, vocab_size=model.config.vocab_size, pad_token_id=1, initializer_range=0.5)
    windows = Tokens.load(data / "test.safetensors").ids.long()
    ours, theirs = (one(windows).logits[:, :-1].double().log_softmax(-1) for one in (other, model))
    kl, agreement = measure_divergence(other, model, windows, 4)
    assert kl == pytest.approx(
        float((theirs.exp() * (theirs - ours)).sum(-1).mean().detach()), rel=1e-5
    )
    assert agreement == pytest.approx(float((ours.argmax(-1) == theirs.argmax(-1)).double().mean()))


def test_bad_text_and_lost_checkpoint_are_named(model: Any, data: Path) -> None:
    one = torch.zeros(1, 12, dtype=torch.int32)
    with pytest.raises(RankwiseError, match="run 'dense', text 'test': 1 window of 12 tokens"):
        text_score(load_model(data / "model.json"), Tokens(one, one[0], "test", "c", "0", 0), 2)
    long = torch.zeros(2, model.config.max_position_embeddings + 1, dtype=torch.int32)
    with pytest.raises(RankwiseError, match="windows of 65 tokens, but the model has 64 positions"):
        text_score(load_model(data / "model.json"), Tokens(long, long[0], "test", "c", "0", 0), 2)
    (data / "model/model.safetensors").unlink()
    with pytest.raises(RankwiseError, match=r"model\.safetensors is gone"):
        evaluate(data, "dense", data / "one.json")
    assert not (data / "one.json").exists()


def test_evaluate_refuses_the_checkpoint_of_another_run(data: Path) -> None:
    with pytest.raises(RankwiseError, match="checkpoint of run 'dense', asked was 'svd-80'"):
        evaluate(data, "svd-80", data / "one.json")
    assert not (data / "one.json").exists()


def test_speed_of_no_batch_is_refused(data: Path) -> None:
    write_json(data / "none.json", {"batches": []})
    sections = ["--params", data / "none.json", "--compute", data / "compute.json"]
    inputs = ["--checkpoint", data / "model.json", "--against", data / "model.json"]
    with pytest.raises(RankwiseError, match=r"speed\.batches names no batch size"):
        invoke("speed", *sections, "--run", "dense", *inputs, "--out", data / "none.out.json")
    assert not (data / "none.out.json").exists()


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

    returned = interleave([lambda: job("a"), lambda: job("b")], 3)
    assert "".join(calls) == "ab" + "ab" + "ba" + "ab"
    assert returned == [[3, 6, 7], [4, 5, 8]]


def test_memory_is_weights_keys_and_values(model: Any) -> None:
    """2 layers, 2 heads of 8 for keys and values, batch 3, and 4 + 5 tokens that have passed through."""
    ids = torch.zeros(3, 4, dtype=torch.long)
    [point] = time_models([model], ids, 5, 3)
    assert (
        point.memory_bytes == 4 * model.num_parameters() + buffers(model) + 2 * 2 * 3 * 9 * 16 * 4
    )


def buffers(model: Any) -> int:
    return sum(tensor.nbytes for tensor in {id(b): b for b in model.buffers()}.values())
