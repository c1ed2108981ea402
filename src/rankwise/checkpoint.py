"""Checkpoints: a folder in Hugging Face form whose linears are factored, and how it is read again.

``config.json`` keeps the original configuration and says ``model_type: rankwise``, so that a library
that does not know the format refuses it rather than filling the missing weights at random.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rankwise import __version__
from rankwise.artifacts import Factors
from rankwise.budget import Choices, Kept
from rankwise.compute import DTYPES
from rankwise.errors import RankwiseError
from rankwise.files import read_json, write_json
from rankwise.layers import LowRankLinear
from rankwise.params import DENSE
from rankwise.records import CheckpointManifest, ModelManifest
from rankwise.sources import check, model_folder

MODEL_TYPE = "rankwise"
SCHEMA = 1
SHARD_SIZE = "5GB"


@dataclass(frozen=True)
class LoadedModel:
    """A model in evaluation mode and what is known of it."""

    model: Any
    """A transformers causal language model."""
    tokenizer: Any
    run: str
    keep_asked: float
    keep_reached: float
    parameters: int
    """All parameters, tied ones once [-]."""
    checkpoint_bytes: int
    """Bytes of the weight files [bytes]."""


def load(manifest: Path, device: torch.device | str = "cpu") -> LoadedModel:
    """Load the dense model or a checkpoint by its manifest, ready to be measured."""
    if read_json(manifest).get("schema") == ModelManifest.schema_name:
        dense = ModelManifest.load(manifest)
        facts = (DENSE, 1.0, 1.0, dense.parameters)
        model, tokenizer = load_dense(dense)
        files = dense.files
    else:
        record = CheckpointManifest.load(manifest)
        facts = (record.run, record.keep_asked, record.keep_reached, record.parameters)
        folder = manifest.with_suffix("")
        check(folder, record.files, f"checkpoint of run {record.run}")
        model, tokenizer = load_folder(folder)
        files = record.files
    weights = sum(file.bytes for file in files if file.path.endswith(".safetensors"))
    model.to(device).eval().requires_grad_(requires_grad=False)
    return LoadedModel(model, tokenizer, *facts, weights)


def load_dense(manifest: ModelManifest) -> tuple[Any, Any]:
    """Return the dense model, in the precision of its manifest, and its tokenizer."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    _quiet_unless_watched()
    folder = model_folder(manifest.source, manifest.revision)
    check(folder, manifest.files, "prepare.model")
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=DTYPES[manifest.dtype], local_files_only=True
    )
    return model.eval(), AutoTokenizer.from_pretrained(folder, local_files_only=True)


def save(
    model: Any, tokenizer: Any, folder: Path, choices: Choices, run: str, dtype: torch.dtype
) -> None:
    """Write a model whose linears were replaced (`replace`) as a checkpoint folder."""
    _quiet_unless_watched()
    config = model.config
    model.to(dtype).save_pretrained(folder, max_shard_size=SHARD_SIZE)
    tokenizer.save_pretrained(folder)
    value = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    biased = [
        name
        for name, kept in choices.items()
        if kept and model.get_submodule(name).left.bias is not None
    ]
    value["rankwise"] = {
        "schema": SCHEMA,
        "version": __version__,
        "run": run,
        "model_type": config.model_type,
        "architectures": value["architectures"],
        "linears": {
            n: {"rank": kept.rank, "bias": n in biased} for n, kept in choices.items() if kept
        },
    }
    value["model_type"] = MODEL_TYPE
    value["architectures"] = ["RankwiseForCausalLM"]
    write_json(folder / "config.json", value)


def replace(model: Any, name: str, factors: Factors, kept: Kept) -> None:
    """Put a `LowRankLinear` holding a copy of the factors' first components at ``name``."""
    rank = kept.rank
    old = model.get_submodule(name)
    bias = factors.bias(rank)
    new = LowRankLinear(
        factors.right.shape[1], factors.left.shape[0], rank, bias=bias is not None, device="meta"
    )
    dtype = old.weight.dtype
    new.right.weight = nn.Parameter(factors.right[:rank].to(dtype).clone())
    new.left.weight = nn.Parameter(factors.left[:, :rank].to(dtype).contiguous().clone())
    if bias is not None:
        new.left.bias = nn.Parameter(bias.to(dtype).clone())
    model.set_submodule(name, new)


def load_folder(folder: Path) -> tuple[Any, Any]:
    """Return model and tokenizer of a checkpoint folder; every tensor must be there, and no other."""
    from accelerate import init_empty_weights
    from safetensors.torch import load_file
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    value = read_json(folder / "config.json")
    section = value.pop("rankwise", None)
    if section is None or section.get("schema") != SCHEMA:
        found = None if section is None else section.get("schema")
        raise RankwiseError(
            f"{folder}/config.json: expected rankwise.schema {SCHEMA}, found {found}"
        )
    value |= {key: section[key] for key in ("model_type", "architectures")}
    with init_empty_weights(include_buffers=False):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**value))
        for name, linear in section["linears"].items():
            old = model.get_submodule(name)
            new = LowRankLinear(
                old.in_features, old.out_features, linear["rank"], bias=linear["bias"]
            )
            model.set_submodule(name, new)
    state: dict[str, torch.Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        state |= load_file(path)
    _fill(model, state, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder, config=model.config, local_files_only=True)
    return model.eval(), tokenizer


def _quiet_unless_watched() -> None:
    """Turn transformers' progress bars off where no person sees them."""
    from transformers.utils import logging

    if not sys.stderr.isatty():
        logging.disable_progress_bar()


def _fill(model: Any, state: dict[str, torch.Tensor], folder: Path) -> None:
    """Put the tensors in; what is missing must be a tied copy of something that is there."""
    wrong = [
        f"{name} is {list(state[name].shape)}, the config says {list(parameter.shape)}"
        for name, parameter in model.named_parameters()
        if name in state and state[name].shape != parameter.shape
    ]
    if wrong:
        raise RankwiseError(f"{folder}: tensors do not fit config.json: {'; '.join(wrong[:3])}")
    result = model.load_state_dict(state, strict=False, assign=True)
    model.tie_weights()
    missing = [name for name, parameter in model.named_parameters() if parameter.is_meta]
    if missing or result.unexpected_keys:
        raise RankwiseError(
            f"{folder}: tensors do not fit config.json: missing {missing[:3]}, "
            f"unexpected {result.unexpected_keys[:3]}; build the checkpoint again"
        )
