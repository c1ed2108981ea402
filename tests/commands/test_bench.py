"""``rankwise bench``: what it prints, what it says of slow checkpoints, what it refuses."""

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from rankwise.checkpoint import loading, saving
from rankwise.checkpoint.weight_files import count_parameters, read_headers
from rankwise.cli import app
from rankwise.commands.bench import manifests, remarks
from rankwise.errors import RankwiseError
from rankwise.evaluate import multiples
from rankwise.hub.linears import LowRankLinear, LowRankSparseLinear
from rankwise.inputs.sources import hash_files
from rankwise.records.checkpoint import CheckpointManifest
from rankwise.records.speed import Rate, SpeedPoint, SpeedRecord
from tests.conftest import tiny_llama
from tests.saved_models import save_model


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data of a study: a dense model, and a checkpoint of it with one factored linear."""
    data = tmp_path_factory.mktemp("study")
    model = tiny_llama()
    dense = save_model(model, data / "dense")
    dense.save(data / "prepare/model.json")
    _, tokenizer = loading.load_dense(dense)
    model.set_submodule("model.layers.0.mlp.up_proj", LowRankLinear(32, 56, 7, bias=False))
    folder = data / "checkpoints/it"
    saving.save_checkpoint(model, tokenizer, folder, "it", torch.float32)
    CheckpointManifest(
        run="it",
        keep_asked=0.9,
        keep_reached=0.9,
        parameters=count_parameters(read_headers(folder)),
        files=hash_files(folder, ("*",)),
    ).save(data / "checkpoints/it.json")
    return data


def bench(*arguments: object) -> str:
    done = CliRunner().invoke(app, ["bench", *map(str, arguments)], catch_exceptions=False)
    return done.stdout


QUICK = (
    "--batch",
    2,
    "--batch",
    1,
    "--length",
    8,
    "--new-tokens",
    2,
    "--repeats",
    3,
    "--threads",
    1,
)


def test_json_holds_every_batch_size_and_the_sizes(study: Path) -> None:
    said = json.loads(bench(study / "checkpoints/it", *QUICK, "--json"))
    assert said["schema"] == "rankwise/bench@1"
    assert [point["batch"] for point in said["speed"]["points"]] == [1, 2]
    for name, folder in (("run", "checkpoints/it"), ("dense", "dense")):
        weights = (study / folder / "model.safetensors").stat().st_size
        assert said["sizes"][name]["checkpoint_bytes"] == weights
    dense, run = (said["sizes"][name]["parameters"] for name in ("dense", "run"))
    assert dense - run == 32 * 56 - 7 * (32 + 56)


def test_the_table_says_what_was_measured(study: Path) -> None:
    said = bench(study / "checkpoints/it.json", *QUICK)
    for words in ("prefill", "decode", "quartiles of 3 repeats", "activations are not counted"):
        assert words in said


def test_what_is_not_there_is_named(study: Path) -> None:
    with pytest.raises(RankwiseError, match=r"found no manifest .*nowhere.json; name a folder"):
        manifests(Path("nowhere"), None)
    with pytest.raises(RankwiseError, match=r"no manifest of the dense model, .*--against"):
        manifests(study / "checkpoints/it", study / "none.json")


def record(factor: float) -> SpeedRecord:
    """Prefill at ``factor`` times the dense model's speed, decoding twice as fast."""
    rates = [Rate(median=value, quartiles=(value, value)) for value in (factor, 2, 1)]
    point = SpeedPoint(batch=4, prefill=rates[0], decode=rates[1], memory_bytes=1)
    dense = SpeedPoint(batch=4, prefill=rates[2], decode=rates[2], memory_bytes=1)
    facts = {"length": 8, "new_tokens": 1, "repeats": 3, "device": "cpu", "threads": 1}
    return SpeedRecord(run="it", points=[point], dense=[dense], **facts)


@pytest.mark.parametrize(
    ("helps", "says"), [(16, "multiples of 16 .* would help"), (None, "No rank multiple up to 64")]
)
def test_slower_than_dense_is_said_with_what_would_help(
    monkeypatch: pytest.MonkeyPatch, helps: int | None, says: str
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(
        multiples, "find_helpful_multiple", lambda _, tokens: asked.append(tokens) or helps
    )
    run: Any = SimpleNamespace(model=torch.nn.Sequential())
    assert remarks(run, record(1.5)) == []
    slower, advice = remarks(run, record(0.8))
    assert slower == "Slower than the dense model: prefill at batch 4 (0.80 times its speed)."
    assert re.search(says, advice)
    assert asked == [32]
    sparse: Any = SimpleNamespace(model=LowRankSparseLinear(8, 8, 2, entries=3, bias=False))
    assert "multiplied as dense matrices" in remarks(sparse, record(1.5))[0]


def test_the_multiple_that_is_named_is_the_one_whose_ranks_cost_least(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = torch.nn.Sequential(LowRankLinear(64, 48, 13, bias=False), torch.nn.ReLU())
    seconds = {1: 1.0, 8: 0.97, 16: 0.97, 32: 0.5, 64: 0.4}
    monkeypatch.setattr(multiples, "_time_ranks", lambda _kinds, multiple, *_: seconds[multiple])
    assert multiples.find_helpful_multiple(model, 4) == 32
    seconds |= {32: 0.96, 64: 0.96}
    assert multiples.find_helpful_multiple(model, 4) is None
    assert multiples.find_helpful_multiple(torch.nn.ReLU(), 4) is None


def test_multiples_are_timed_on_the_linears_of_the_model() -> None:
    model = torch.nn.Sequential(LowRankLinear(64, 48, 13, bias=False))
    assert multiples.find_helpful_multiple(model, 2) in (None, *multiples.MULTIPLES)
