"""Checkpoints: a folder in Hugging Face form whose linears are factored, and how it is read again.

``config.json`` keeps the original configuration and says ``model_type: rankwise``, so that a library
that does not know the format refuses it rather than filling the missing weights at random.
"""

import json
import math
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
from rankwise.layers import LowRankLinear, LowRankSparseLinear
from rankwise.records import CheckpointManifest, ModelManifest
from rankwise.runs import DENSE
from rankwise.sources import check, model_folder

MODEL_TYPE = "rankwise"
SCHEMA = 2
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
    value["rankwise"] = {
        "schema": SCHEMA,
        "version": __version__,
        "run": run,
        "model_type": config.model_type,
        "architectures": value["architectures"],
        "linears": {n: _described(model.get_submodule(n)) for n, kept in choices.items() if kept},
    }
    value["model_type"] = MODEL_TYPE
    value["architectures"] = ["RankwiseForCausalLM"]
    write_json(folder / "config.json", value)


def replace(model: Any, name: str, factors: Factors, kept: Kept) -> None:
    """Put a linear holding a copy of the factors' first components and entries at ``name``."""
    rank = kept.rank
    old = model.get_submodule(name)
    bias = factors.bias(rank)
    new = _factored(old, rank, kept.entries, bias=bias is not None)
    dtype = old.weight.dtype
    new.right.weight = nn.Parameter(factors.right[:rank].to(dtype).clone())
    new.left.weight = nn.Parameter(factors.left[:, :rank].to(dtype).contiguous().clone())
    if bias is not None:
        new.left.bias = nn.Parameter(bias.to(dtype).clone())
    if isinstance(new, LowRankSparseLinear) and factors.sparse is not None:
        sparse = factors.sparse
        new.hold(sparse.places[: kept.entries], sparse.values_of(kept.entries).to(dtype))
    model.set_submodule(name, new)


def _factored(old: nn.Linear, rank: int, entries: int, *, bias: bool) -> LowRankLinear:
    """Return the linear that takes the place of ``old``, on the meta device."""
    sizes = old.in_features, old.out_features, rank
    if entries:
        return LowRankSparseLinear(*sizes, entries=entries, bias=bias, device="meta")
    return LowRankLinear(*sizes, bias=bias, device="meta")


def _described(linear: LowRankLinear) -> dict[str, Any]:
    """Return what config.json says of a factored linear; enough to build it empty."""
    said: dict[str, Any] = {"rank": linear.rank, "bias": linear.left.bias is not None}
    if isinstance(linear, LowRankSparseLinear):
        said |= {"entries": linear.entries, "format": linear.format}
    return said


def numbers(model: Any) -> int:
    """Return all parameters, tied ones once; places of sparse entries in numbers of their values' size."""
    places = 0
    for linear in model.modules():
        if isinstance(linear, LowRankSparseLinear):
            stored = sum(b.nbytes for name, b in linear.named_buffers() if name != "_dense")
            places += math.ceil(stored / linear.values.itemsize)
    return int(model.num_parameters()) + places


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
            size = linear["rank"], linear.get("entries", 0)
            new = _factored(model.get_submodule(name), *size, bias=linear["bias"])
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
        f"{name} is {list(state[name].shape)}, the config says {list(tensor.shape)}"
        for name, tensor in model.state_dict().items()
        if name in state and state[name].shape != tensor.shape
    ]
    if wrong:
        raise RankwiseError(f"{folder}: tensors do not fit config.json: {'; '.join(wrong[:3])}")
    result = model.load_state_dict(state, strict=False, assign=True)
    model.tie_weights()
    missing = [name for name, tensor in model.state_dict().items() if tensor.is_meta]
    if missing or result.unexpected_keys:
        raise RankwiseError(
            f"{folder}: tensors do not fit config.json: missing {missing[:3]}, "
            f"unexpected {result.unexpected_keys[:3]}; build the checkpoint again"
        )
