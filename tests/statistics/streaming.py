"""Models to stream, and stages that are killed while they do."""

import signal
import subprocess
import sys

import torch
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    MistralConfig,
    MistralForCausalLM,
)

from rankwise.artifacts.tokens import Tokens
from rankwise.inputs.sources import MODEL_FILES, hash_files
from rankwise.model.families import family_of
from rankwise.params.compute import Compute
from rankwise.records.model import ModelManifest
from tests.conftest import random_ids, tiny_llama

GROUPS = [[0], [1, 2], [3]]


SIZES = {
    "vocab_size": 67, "hidden_size": 32, "intermediate_size": 56, "num_hidden_layers": 4,
    "num_attention_heads": 4, "num_key_value_heads": 2, "sliding_window": 5, "pad_token_id": 0,
}  # fmt: skip


def mistral():
    return MistralForCausalLM(MistralConfig(**SIZES))


def gemma():
    """Every other layer sees five tokens back, embeddings are scaled, attention scores capped."""
    types = ["sliding_attention", "full_attention"] * 2
    return Gemma2ForCausalLM(Gemma2Config(**SIZES, head_dim=8, layer_types=types))


def llama():
    return tiny_llama(num_hidden_layers=4, intermediate_size=88)


MODELS = {"llama": llama, "llama in bfloat16": llama, "mistral": mistral, "gemma2": gemma}


def case(model, folder, dtype="float32"):
    """Write a model; return its manifest and its family."""
    model.to(getattr(torch, dtype)).save_pretrained(folder)
    [architecture] = model.config.architectures
    family = family_of(architecture)
    manifest = ModelManifest(
        source=str(folder), revision=None, dtype=dtype, architecture=architecture,
        family=family, layers=4, parameters=model.num_parameters(), files=hash_files(folder, MODEL_FILES),
    )  # fmt: skip
    return manifest, family


def contents(paths):
    return [path.read_bytes() for path in paths]


def killed_stage(folder, manifest, asked, layers_per_job, stage, script, left):
    """Write a stage's inputs and run it in a process that ``script`` kills; return its options and outputs."""
    manifest.save(folder / "model.json")
    Tokens(random_ids().int(), torch.zeros(16).int(), "calibration", "c", "0" * 64, 0).save(
        folder / "tokens"
    )
    compute = Compute(layers_per_job=layers_per_job)
    (folder / "compute.json").write_text(compute.model_dump_json())
    (folder / "params.json").write_text(asked.model_dump_json())
    out = [folder / f"out/group_{at}" for at in range(len(compute.layer_groups(4)))]
    given = {
        "params": folder / "params.json", "compute": folder / "compute.json",
        "model": folder / "model.json", "checkpoint": folder / "model.json",
        "tokens": folder / "tokens", "work": folder / "work",
    }  # fmt: skip
    options = [word for name, path in given.items() for word in (f"--{name}", str(path))]
    options += [word for path in out for word in ("--out", str(path))]
    done = subprocess.run(
        [sys.executable, "-c", script, str(left), stage, *options],
        check=False,
        capture_output=True,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert not out[0].exists()
    return given, out
