"""Checkpoints: a folder in Hugging Face form whose linears are factored, and how it is read again.

What the folder holds and how transformers opens it is said in `rankwise.hub`, whose files travel in it.
"""

import errno
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from rankwise import __version__
from rankwise.artifacts.factors import Factors
from rankwise.budget.costs import Kept
from rankwise.errors import RankwiseError
from rankwise.hub.checks import SCHEMA, CheckpointError
from rankwise.hub.experts import Experts, separate
from rankwise.hub.linears import LowRankLinear, LowRankSparseLinear
from rankwise.inputs.architecture import read_tokenizer
from rankwise.inputs.sources import check, model_folder
from rankwise.model.device import DTYPES
from rankwise.params.runs import DENSE
from rankwise.params.target import Target
from rankwise.records.base import schema_of
from rankwise.records.inputs import ModelManifest
from rankwise.records.made import CheckpointManifest
from rankwise.weight_files import SHARD_SIZE


@dataclass(frozen=True)
class LoadedModel:
    """A model in evaluation mode and what is known of it."""

    model: Any
    """A transformers causal language model."""
    tokenizer: Any
    run: str
    asked: Target
    keep_reached: float
    parameters: int
    """All parameters, tied ones once [-]."""
    checkpoint_bytes: int
    """Bytes of the weight files [bytes]."""


def manifest_of(checkpoint: Path) -> Path:
    """Return the manifest of a checkpoint that a person names by its folder or its manifest."""
    manifest = checkpoint if checkpoint.suffix == ".json" else Path(f"{checkpoint}.json")
    if not manifest.is_file():
        raise RankwiseError(
            f"{checkpoint}: found no manifest {manifest}; name a folder below data/checkpoints, or its .json"
        )
    return manifest


def load(manifest: Path, device: torch.device | str = "cpu") -> LoadedModel:
    """Load the dense model or a checkpoint by its manifest, ready to be measured."""
    if schema_of(manifest) == ModelManifest.schema_name:
        dense = ModelManifest.load(manifest)
        facts = (DENSE, Target("keep", 1.0), 1.0, dense.parameters)
        model, tokenizer = load_dense(dense)
        files = dense.files
    else:
        record = CheckpointManifest.load(manifest)
        facts = (record.run, record.asked, record.keep_reached, record.parameters)
        folder = manifest.with_suffix("")
        check(folder, record.files, shlex.quote(str(folder)))
        model, tokenizer = load_folder(folder)
        files = record.files
    weights = sum(file.bytes for file in files if file.path.endswith(".safetensors"))
    model.to(device).eval().requires_grad_(requires_grad=False)
    return LoadedModel(model, tokenizer, *facts, weights)


def load_dense(manifest: ModelManifest) -> tuple[Any, Any]:
    """Return the dense model, in the precision of its manifest, and its tokenizer."""
    from transformers import AutoModelForCausalLM

    _quiet_unless_watched()
    folder = model_folder(manifest.source, manifest.revision)
    check(folder, manifest.files, "prepare.model")
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=DTYPES[manifest.dtype], local_files_only=True, trust_remote_code=False
    )
    separate(model, manifest.family.fused(range(manifest.layers)))
    return model.eval(), read_tokenizer(folder)


def save(model: Any, tokenizer: Any, folder: Path, run: str, dtype: torch.dtype) -> None:
    """Write a model with factored linears as a checkpoint folder.

    ``model`` is the dense one with some linears replaced (`replace`), or one loaded from a checkpoint.
    """
    from huggingface_hub import save_torch_state_dict

    from rankwise.hub.configuration_rankwise import AUTO_MAP, RankwiseConfig

    folder.mkdir(parents=True)
    model.to(dtype)
    state = model.state_dict()
    for tied in model.all_tied_weights_keys:
        state.pop(tied, None)
    try:
        save_torch_state_dict(state, folder, max_shard_size=SHARD_SIZE)
    except SafetensorError as error:  # the disk's, which the library wraps
        raise OSError(errno.EIO, str(error)) from error
    given = model.config.to_dict()
    before = given.get("rankwise") or {}
    given |= {
        "model_type": RankwiseConfig.model_type,
        "architectures": ["RankwiseForCausalLM"],
        "auto_map": AUTO_MAP,
        "dtype": str(dtype).removeprefix("torch."),
        "rankwise": {
            "schema": SCHEMA,
            "version": __version__,
            "run": run,
            "model_type": before.get("model_type", model.config.model_type),
            "architecture": before.get("architecture", type(model).__name__),
            "experts": [name for name, m in model.named_modules() if isinstance(m, Experts)],
            "linears": {
                name: _described(module)
                for name, module in model.named_modules()
                if isinstance(module, LowRankLinear)
            },
        },
    }
    RankwiseConfig.from_dict(given).save_pretrained(folder)  # with the code that travels
    model.generation_config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _described(linear: LowRankLinear) -> dict[str, Any]:
    """Return what config.json says of a factored linear; enough to build it empty."""
    shape = [linear.out_features, linear.in_features]
    said = {"shape": shape, "rank": linear.rank, "bias": linear.left.bias is not None}
    if isinstance(linear, LowRankSparseLinear):
        said |= {"entries": linear.entries, "format": linear.format}
    return said


def replace(model: Any, name: str, factors: Factors, kept: Kept) -> None:
    """Put a linear holding a copy of the factors' first components and entries at ``name``."""
    rank, bias = kept.rank, factors.bias(kept.rank)
    dtype = next(model.get_submodule(name).parameters()).dtype
    sizes = factors.shape[1], factors.shape[0], rank
    new: LowRankLinear
    with torch.device("meta"):
        if kept.entries:
            new = LowRankSparseLinear(*sizes, entries=kept.entries, bias=bias is not None)
        else:
            new = LowRankLinear(*sizes, bias=bias is not None)
    new.right.weight = nn.Parameter(factors.right[:rank].to(dtype).clone())
    new.left.weight = nn.Parameter(factors.left[:, :rank].to(dtype).contiguous().clone())
    if bias is not None:
        new.left.bias = nn.Parameter(bias.to(dtype).clone())
    if isinstance(new, LowRankSparseLinear) and factors.sparse is not None:
        sparse = factors.sparse
        new.hold(sparse.places[: kept.entries], sparse.values_of(kept.entries).to(dtype))
    model.set_submodule(name, new)


def load_folder(folder: Path) -> tuple[Any, Any]:
    """Return model and tokenizer of a checkpoint folder; every tensor must be there, and no other."""
    from transformers import AutoModelForCausalLM

    _quiet_unless_watched()
    try:
        model = AutoModelForCausalLM.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except CheckpointError as error:
        raise RankwiseError(str(error)) from error
    return model.eval(), read_tokenizer(folder, model.config)


def _quiet_unless_watched() -> None:
    """Turn transformers' progress bars off where no person sees them."""
    from transformers.utils import logging

    if not sys.stderr.isatty():
        logging.disable_progress_bar()
