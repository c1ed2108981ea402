"""Giving a checkpoint away: as it is with its scores, or multiplied back; the openings are in test_opening."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from rankwise.card.model_card import render_card
from rankwise.checkpoint.loading import load_folder
from rankwise.checkpoint.merge import merge_factors
from rankwise.cli import app
from rankwise.errors import RankwiseError
from rankwise.evaluate.perplexity import mean_loss, window_losses
from rankwise.records.build import BuildRecord
from rankwise.records.checkpoint import CheckpointManifest
from tests.checkpoints import made
from tests.families import ids
from tests.report.conftest import make_scores


def export(*arguments):
    return CliRunner().invoke(app, ["export", *map(str, arguments)], catch_exceptions=False).output


@pytest.fixture(scope="module")
def placeless(tmp_path_factory):
    """Mistral has no biases and no key that gives it some."""
    return made(tmp_path_factory.mktemp("mistral"), "llama-MistralForCausalLM", "pooled_pca")


def test_the_copy_has_the_same_files_and_the_measured_table(placeless, tmp_path):
    for run, perplexity in (("dense", 20.0), ("it", 23.5)):
        scores = make_scores(run, 1.0, Random(0)).model_copy(update={"perplexity": perplexity})
        scores.save(placeless.study / f"data/scores/{run}.json")
    export(placeless.manifest, tmp_path / "copy")
    for file in CheckpointManifest.load(placeless.manifest).files:
        if file.path != "README.md":
            given, copied = placeless.folder / file.path, tmp_path / "copy" / file.path
            assert copied.read_bytes() == given.read_bytes()
    render_card = (tmp_path / "copy/README.md").read_text()
    assert "| perplexity, test text | 20.0 | 23.5 |" in render_card
    assert "zero-shot average" in render_card
    before = (placeless.folder / "README.md").read_text()
    assert "nats a token" in before
    assert "23.5" not in before


def test_a_source_s_name_stays_a_name_in_the_card(placeless):
    record = BuildRecord.load(placeless.folder / "record.json")
    source = "a`b</code>\n<img src=x onerror=alert(1)>"
    hostile = record.model_copy(
        update={"model": record.model.model_copy(update={"source": source})}
    )
    assert "(`` a`b</code> <img src=x onerror=alert(1)> ``)" in render_card(hostile, 9)


def test_biases_without_a_place_are_refused_or_dropped_and_measured(placeless, tmp_path):
    with pytest.raises(RankwiseError, match=r"12 linears have a bias .* MistralForCausalLM has no"):
        export(placeless.folder, tmp_path / "stock", "--dense")
    assert not list(tmp_path.iterdir())
    with pytest.raises(RankwiseError, match=r"--drop-bias goes with --dense and with --text"):
        export(placeless.folder, tmp_path / "stock", "--dense", "--drop-bias")
    text = tmp_path / "text.txt"
    text.write_text(" ".join(f"w{token}" for token in ids(8, 64).flatten().tolist()))
    said = export(placeless.folder, tmp_path / "stock", "--dense", "--drop-bias", "--text", text)
    model, _ = load_folder(placeless.folder)
    windows = ids(8, 64)
    with_biases = mean_loss(window_losses(model, windows, 1))
    without = mean_loss(window_losses(merge_factors(model, drop_bias=True).model, windows, 1))
    assert abs(with_biases - without) > 1e-4
    assert f"12 biases left out: {without:.4f} nats" in said
    assert f"in place of {with_biases:.4f}" in said


def test_biases_go_where_a_key_of_the_configuration_gives_them_a_place(tmp_path):
    found = made(tmp_path / "it", "untied", "pooled_pca")
    model, _ = load_folder(found.folder)
    whole = merge_factors(model, drop_bias=False).model
    assert whole.config.attention_bias
    assert whole.config.mlp_bias
    with torch.no_grad():
        expected = model(ids(2, 8)).logits
        torch.testing.assert_close(whole(ids(2, 8)).logits, expected, rtol=1e-4, atol=1e-4)
    assert "model.layers.0.mlp.down_proj.bias" in whole.state_dict()


def test_what_is_there_is_not_written_over(placeless, tmp_path):
    (tmp_path / "there").mkdir()
    with pytest.raises(RankwiseError, match=r"there exists already; name another folder"):
        export(placeless.folder, tmp_path / "there", "--dense")
    with pytest.raises(RankwiseError, match=r"found no manifest .*nothing.json"):
        export(tmp_path / "nothing", tmp_path / "new")
    assert not list((tmp_path / "there").iterdir())


def test_products_are_those_of_float64(tmp_path):
    found = made(tmp_path / "it", "tied", "svd")
    export(found.folder, tmp_path / "stock", "--dense")
    given = load_file(found.folder / "model.safetensors")
    written = load_file(tmp_path / "stock/model.safetensors")
    name = "model.layers.1.mlp.down_proj"
    expected = given[f"{name}.left.weight"].double() @ given[f"{name}.right.weight"].double()
    assert torch.equal(written[f"{name}.weight"], expected.float())
    assert not any("left" in tensor or "right" in tensor for tensor in written)


def test_the_page_s_code_runs(placeless, tmp_path, monkeypatch):
    """docs/checkpoints.md, in a folder that has the checkpoint it speaks of."""
    page = (Path(__file__).parents[2] / "docs/checkpoints.md").read_text()
    [opening, trusting] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    checkpoints = tmp_path / "data/checkpoints"
    checkpoints.mkdir(parents=True)
    (checkpoints / "rankwise-80").symlink_to(placeless.folder)
    shutil.copy(placeless.manifest, checkpoints / "rankwise-80.json")
    for code in (opening, trusting):
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path, env=os.environ | {"HF_MODULES_CACHE": str(tmp_path / "modules")},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    monkeypatch.chdir(tmp_path)
    Path("TEXT").write_text(" ".join(f"w{token}" for token in ids(8, 64).flatten().tolist()))
    commands = re.findall(r"^rankwise export (.*)$", page, re.MULTILINE)
    for command in commands:
        export(*command.split())
    assert {"exported", "stock"} <= {path.name for path in tmp_path.iterdir()}
