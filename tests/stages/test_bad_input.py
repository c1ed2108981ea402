"""Bad input at the command line: one sentence, exit code 2, no traceback, nothing written."""

import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file

from rankwise.artifacts.tokens import Tokens
from tests.conftest import random_ids, tiny_llama
from tests.saved_models import save_model


@pytest.fixture
def rankwise(forked):
    """Run a command; it is forked, so that only this file's first one takes seconds to start."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "rankwise", *map(str, arguments)]
        return subprocess.run(command, env=forked, capture_output=True, text=True, check=False)

    return run


def refused(result: subprocess.CompletedProcess[str], says: str) -> None:
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    assert says in result.stderr


@pytest.fixture
def model(tmp_path):
    save_model(tiny_llama(), tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def prepare_model(rankwise, tmp_path):
    def prepare(**changes):
        section = {
            "source": str(tmp_path / "model"), "revision": None, "layers": 2, "dtype": "float32",
        }  # fmt: skip
        (tmp_path / "section.json").write_text(json.dumps(section | changes))
        out = tmp_path / "model.json"
        return rankwise(
            "prepare", "model", "--params", tmp_path / "section.json", "--out", out
        ), out

    return prepare


def test_model_folder_without_weights(model, prepare_model):
    (model / "model.safetensors").unlink()
    result, out = prepare_model()
    refused(result, "has no weights (*.safetensors)")
    assert not out.exists()


def test_model_folder_that_is_none(tmp_path, prepare_model):
    refused(prepare_model()[0], "does not exist")
    (tmp_path / "model").mkdir()
    refused(prepare_model()[0], "has no config.json")


def test_unknown_family_and_wrong_number_of_layers(model, prepare_model):
    refused(prepare_model(layers=3)[0], "3 given, but config.json")
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"architectures": ["LamaForCausalLM"]}))
    refused(prepare_model()[0], "did you mean 'LlamaForCausalLM'")


def test_a_study_s_own_family(model, rankwise, prepare_model, tmp_path):
    """Its data goes into the manifest; a mistake in it is a sentence."""
    text = (
        "architectures: [LlamaForCausalLM]\nlayers: model.layers\n"
        "sublayers:\n"
        "  attention: {adds: self_attn, sites: {mine: {o: self_attn.o_proj}}}\n"
        "dense: [self_attn.q_proj, self_attn.k_proj, self_attn.v_proj, mlp.gate_proj, mlp.up_proj, mlp.down_proj]\n"
    )
    assert prepare_model()[0].returncode == 0
    families = tmp_path / "families"
    families.mkdir()
    arguments = ["prepare", "model", "--params", tmp_path / "section.json"]
    arguments += ["--families", families, "--out", tmp_path / "own.json"]
    (families / "mine.yaml").write_text(text.replace("self_attn.o_proj", "self_attn.out"))
    refused(rankwise(*arguments), "mine.o: the model has no module 'model.layers.0.self_attn.out'")
    (families / "mine.yaml").write_text(text.replace("adds", "add"))
    refused(rankwise(*arguments), "mine.yaml: sublayers.attention.add: no such key")
    assert not (tmp_path / "own.json").exists()
    (families / "mine.yaml").write_text(text)
    assert rankwise(*arguments).returncode == 0
    found, shipped = (json.loads((tmp_path / f"{n}.json").read_text()) for n in ("own", "model"))
    assert list(found["family"]["sublayers"]["attention"]["sites"]) == ["mine"]
    assert list(shipped["family"]["sublayers"]) == ["attention", "mlp"]
    assert found["parameters"] == shipped["parameters"] == tiny_llama().num_parameters()


def test_truncated_weights(model, prepare_model):
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-50])
    refused(prepare_model()[0], "is not a whole safetensors file")


@pytest.fixture
def corpora(rankwise, tmp_path):
    def prepare(**texts):
        given = {}
        for name, text in texts.items():
            (tmp_path / f"{name}.txt").write_text(text)
            given[name] = {"source": str(tmp_path / f"{name}.txt")}
        section, out = tmp_path / "corpora.section.json", tmp_path / "corpora.json"
        section.write_text(json.dumps(given))
        return rankwise("prepare", "corpora", "--params", section, "--out", out)

    return prepare


def test_the_same_text_under_two_names(corpora):
    refused(corpora(train="w1 w2", test="w1 w2"), "are the same bytes")


def test_text_too_short_for_the_sequences_asked(tmp_path, model, rankwise, prepare_model, corpora):
    prepare_model()
    assert corpora(train="w1 w2 w3 " * 20).returncode == 0
    section = {"corpus": "train", "sequences": 9, "length": 16, "seed": 0}
    (tmp_path / "sample.calibration.json").write_text(json.dumps(section))
    result = rankwise(
        *("sample", "--params", tmp_path / "sample.calibration.json"),
        *("--model", tmp_path / "model.json", "--corpora", tmp_path / "corpora.json"),
        *("--out", tmp_path / "tokens"),
    )
    refused(
        result,
        "sample.calibration: 9 sequences of 16 tokens asked, the text has 60 tokens, enough for 3",
    )
    assert not (tmp_path / "tokens").exists()


def test_nan_in_statistics_names_layer_sublayer_and_sequence(tmp_path, rankwise, prepare_model):
    broken = tiny_llama()
    broken.model.layers[1].self_attn.o_proj.weight.data.fill_(float("nan"))
    save_model(broken, tmp_path / "model")
    prepare_model()
    ids = random_ids(4, 8).int()
    Tokens(ids, torch.arange(4), "calibration", "c", "h", 0).save(tmp_path / "tokens")
    (tmp_path / "covariance.json").write_text('{"pools": 2, "batch": 2}')
    (tmp_path / "compute.json").write_text('{"device": "cpu", "threads": 1}')
    result = rankwise(
        *("covariance", "--params", tmp_path / "covariance.json"),
        *("--compute", tmp_path / "compute.json", "--model", tmp_path / "model.json"),
        *("--checkpoint", tmp_path / "model.json"),
        *(
            "--tokens",
            tmp_path / "tokens",
            "--work",
            tmp_path / "work",
            "--out",
            tmp_path / "group_0",
        ),
    )
    refused(result, "layer 1, sublayer attention: hidden states are NaN or infinite in sequence 0")
    assert not (tmp_path / "group_0").exists()


def test_an_artifact_of_another_kind(tmp_path, model, rankwise, prepare_model):
    prepare_model()
    save_file({"a": torch.zeros(1)}, tmp_path / "foreign")
    (tmp_path / "covariance.json").write_text('{"pools": 2, "batch": 2}')
    (tmp_path / "compute.json").write_text('{"device": "cpu", "threads": 1}')
    result = rankwise(
        *("covariance", "--params", tmp_path / "covariance.json"),
        *("--compute", tmp_path / "compute.json", "--model", tmp_path / "model.json"),
        *("--checkpoint", tmp_path / "model.json"),
        *(
            "--tokens",
            tmp_path / "foreign",
            "--work",
            tmp_path / "work",
            "--out",
            tmp_path / "group_0",
        ),
    )
    refused(result, "expected schema rankwise/tokens@1, found None")
