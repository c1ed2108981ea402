"""Writing of a checkpoint: a folder in Hugging Face format whose linears are factored."""

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

    ``model`` is the dense model with some linears replaced (`replace_linear`), or a loaded checkpoint.
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
    except SafetensorError as error:  # an error of the disk, which the library wraps
        raise OSError(errno.EIO, str(error)) from error
    config = model.config.to_dict()
    previous = config.get("rankwise") or {}
    config |= {
        "model_type": RankwiseConfig.model_type,
        "architectures": ["RankwiseForCausalLM"],
        "auto_map": AUTO_MAP,
        "dtype": str(dtype).removeprefix("torch."),
        "rankwise": {
            "schema": SCHEMA,
            "version": __version__,
            "run": run,
            "model_type": previous.get("model_type", model.config.model_type),
            "architecture": previous.get("architecture", type(model).__name__),
            "experts": [name for name, m in model.named_modules() if isinstance(m, Experts)],
            "linears": {
                name: _describe_linear(module)
                for name, module in model.named_modules()
                if isinstance(module, LowRankLinear)
            },
        },
    }
    RankwiseConfig.from_dict(config).save_pretrained(folder)  # with the code for loading it
    model.generation_config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _describe_linear(linear: LowRankLinear) -> dict[str, Any]:
    """Return config.json's description of a factored linear, enough to build it without weights."""
    shape = [linear.out_features, linear.in_features]
    config = {"shape": shape, "rank": linear.rank, "bias": linear.left.bias is not None}
    if isinstance(linear, LowRankSparseLinear):
        config |= {"entries": linear.entries, "format": linear.format}
    return config


def replace_linear(model: Any, name: str, factors: Factors, choice: Kept) -> None:
    """Replace the linear ``name`` by a copy of the factors' first components and nonzeros."""
    rank, bias = choice.rank, factors.bias(choice.rank)
    dtype = next(model.get_submodule(name).parameters()).dtype
    sizes = factors.shape[1], factors.shape[0], rank
    factored: LowRankLinear
    with torch.device("meta"):
        if choice.entries:
            factored = LowRankSparseLinear(*sizes, entries=choice.entries, bias=bias is not None)
        else:
            factored = LowRankLinear(*sizes, bias=bias is not None)
    factored.right.weight = nn.Parameter(factors.right[:rank].to(dtype).clone())
    factored.left.weight = nn.Parameter(factors.left[:, :rank].to(dtype).contiguous().clone())
    if bias is not None:
        factored.left.bias = nn.Parameter(bias.to(dtype).clone())
    if isinstance(factored, LowRankSparseLinear) and factors.sparse is not None:
        sparse = factors.sparse
        factored.hold(sparse.places[: choice.entries], sparse.values_of(choice.entries).to(dtype))
    model.set_submodule(name, factored)
