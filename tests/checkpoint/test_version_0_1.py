"""A checkpoint that version 0.1 wrote, before methods and modules were renamed, is of use as before."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner

from rankwise.checkpoint.loading import load_model
from rankwise.cli import app

FIXTURE = Path(__file__).parents[1] / "fixtures/checkpoint_0_1"


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the study that holds the checkpoint."""
    folder = tmp_path / "study"
    shutil.copytree(FIXTURE, folder)
    monkeypatch.chdir(folder)
    return folder


def logits(model: torch.nn.Module, ids: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model(ids).logits


def call(*words: str) -> str:
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_it_loads_and_computes_the_same(study: Path) -> None:
    expected = load_file("logits.safetensors")
    loaded = load_model(Path("data/checkpoints/it.json"))
    torch.testing.assert_close(logits(loaded.model, expected["ids"]), expected["logits"])
    opened = AutoModelForCausalLM.from_pretrained("data/checkpoints/it")
    torch.testing.assert_close(logits(opened, expected["ids"]), expected["logits"])


def test_it_is_verified(study: Path) -> None:
    assert "0 problems" not in call("verify", "data/checkpoints/it")
    assert "as it was written" in call("verify", "data/checkpoints/it")
    with Path("data/checkpoints/it/record.json").open("a") as file:
        file.write("\n")
    done = CliRunner().invoke(app, ["verify", "data/checkpoints/it"])
    assert done.exit_code == 2


def test_it_is_exported(study: Path) -> None:
    expected = load_file("logits.safetensors")
    call("export", "data/checkpoints/it", "copy")
    copied = AutoModelForCausalLM.from_pretrained("copy")
    torch.testing.assert_close(logits(copied, expected["ids"]), expected["logits"])
    call("export", "data/checkpoints/it", "merged", "--dense")
    merged = AutoModelForCausalLM.from_pretrained("merged")
    assert type(merged).__name__ == "LlamaForCausalLM"
    torch.testing.assert_close(
        logits(merged, expected["ids"]), expected["logits"], rtol=1e-4, atol=1e-4
    )
