"""Writing a checkpoint: a folder in Hugging Face form whose linears are factored."""

import errno
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from rankwise import __version__
from rankwise.artifacts.factors import Factors
from rankwise.budget.costs import Kept
from rankwise.checkpoint.weight_files import SHARD_SIZE
from rankwise.hub.checks import SCHEMA
from rankwise.hub.experts import Experts
from rankwise.hub.linears import LowRankLinear, LowRankSparseLinear


def save_checkpoint(model: Any, tokenizer: Any, folder: Path, run: str, dtype: torch.dtype) -> None:
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
                name: _linear_config(module)
                for name, module in model.named_modules()
                if isinstance(module, LowRankLinear)
            },
        },
    }
    RankwiseConfig.from_dict(given).save_pretrained(folder)  # with the code that travels
    model.generation_config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _linear_config(linear: LowRankLinear) -> dict[str, Any]:
    """Return what config.json says of a factored linear; enough to build it empty."""
    shape = [linear.out_features, linear.in_features]
    said = {"shape": shape, "rank": linear.rank, "bias": linear.left.bias is not None}
    if isinstance(linear, LowRankSparseLinear):
        said |= {"entries": linear.entries, "format": linear.format}
    return said


def replace_linear(model: Any, name: str, factors: Factors, kept: Kept) -> None:
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
