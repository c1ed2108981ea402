"""Merge of a checkpoint's factors into a model of the original architecture, which every runtime can load."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rankwise.errors import RankwiseError
from rankwise.hub.linears import LowRankLinear, LowRankSparseLinear
from rankwise.inputs.empty_model import build_empty_model
from rankwise.linalg.precision import FACTORISE

BIAS_KEYS = ("attention_bias", "mlp_bias", "use_bias", "qkv_bias", "enable_bias")
"""Keys of transformers configurations that give linears a bias."""
CHECKED_TOKENS = 64
"""Tokens on which the merged model is compared with the factored one."""
TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.1, torch.float16: 0.02}
"""Largest change of the logits by one more rounding of every weight, relative to the largest logit [-]."""


@dataclass(frozen=True)
class MergedModel:
    """A model of the original architecture, and the biases that it cannot hold."""

    model: Any
    dropped: list[str]
    """Linears whose bias was dropped because the architecture has none there."""


@torch.no_grad()
def merge_factors(factored: Any, *, drop_bias: bool) -> MergedModel:
    """Return the model whose linears are the products of ``factored``'s, in its precision.

    Products are in float64; experts go back into the library's tensors. A bias is stored where the
    architecture has one, or where a key of its configuration (`BIAS_KEYS`) adds one. Any other bias
    raises RankwiseError, or is dropped with ``drop_bias``. Nothing else of the model changes; a
    comparison of the logits on some tokens checks this. Cost: both models in memory, one product per
    linear.
    """
    linears = {n: m for n, m in factored.named_modules() if isinstance(m, LowRankLinear)}
    biased = [name for name, linear in linears.items() if linear.left.bias is not None]
    config = _restore_config(factored.config)
    empty, dropped = _build_with_biases(config, biased, factored.dtype)
    if dropped and not drop_bias:
        raise RankwiseError(
            f"export: {len(dropped)} linears have a bias for which {type(empty).__name__} has no place, such as {dropped[0]}; "
            "export without --dense, or leave the biases out with --drop-bias, and say with --text what that costs"
        )
    state = _build_state(factored, empty, linears)
    empty.load_state_dict(state, strict=True, assign=True)
    empty.tie_weights()
    empty.generation_config = factored.generation_config
    empty.eval()
    if not dropped:
        _refuse_other_logits(factored, empty)
    return MergedModel(empty, dropped)


def _restore_config(config: Any) -> Any:
    """Return the configuration of the original model, without the keys that rankwise added."""
    from transformers import AutoConfig

    section = config.rankwise
    values = config.to_dict() | {"architectures": [section["architecture"]]}
    for key in ("rankwise", "auto_map", "model_type"):
        values.pop(key, None)
    return AutoConfig.for_model(section["model_type"], **values)


def _build_with_biases(
    config: Any, biased: Iterable[str], dtype: torch.dtype
) -> tuple[Any, list[str]]:
    """Return the empty model with all biases that its configuration allows, and the linears without one."""

    def missing(model: Any) -> list[str]:
        keys = model.state_dict().keys()
        return [name for name in biased if f"{name}.bias" not in keys]

    empty = build_empty_model(config, dtype)
    for key in BIAS_KEYS:
        unplaced = missing(empty)
        if unplaced and getattr(config, key, None) is False:
            setattr(config, key, True)
            extended = build_empty_model(config, dtype)
            if len(missing(extended)) < len(unplaced):
                empty = extended
            else:
                setattr(config, key, False)
    return empty, missing(empty)


def _build_state(factored: Any, empty: Any, linears: dict[str, LowRankLinear]) -> dict[str, Tensor]:
    """Return every tensor of the merged model, in the shapes and precision of the ``empty`` model."""
    tensors, experts = factored.state_dict(), factored.config.rankwise["experts"]
    state = {}
    for name, target in empty.state_dict().items():
        owner, _, part = name.rpartition(".")
        if name in tensors:
            tensor = tensors[name]
        elif owner in experts:
            modules = [expert.get_submodule(part) for expert in factored.get_submodule(owner)]
            tensor = torch.stack([_multiply_weight(module) for module in modules])
        elif part == "weight":
            tensor = _multiply_weight(linears[owner])
            if hasattr(empty.get_submodule(owner), "nf"):  # GPT-2's Conv1D is [in, out]
                tensor = tensor.T.contiguous()
        else:  # a bias: zeros where a configuration key added one that the checkpoint lacks
            bias = linears[owner].left.bias if owner in linears else None
            tensor = torch.zeros(target.shape) if bias is None else bias
        state[name] = tensor.to(target.dtype)
    return state


def _multiply_weight(linear: Any) -> Tensor:
    """Return the weight [out, in] of a linear, factored or not, in float64."""
    if not isinstance(linear, LowRankLinear):
        dense: Tensor = linear.weight.to(FACTORISE)
        return dense
    weight = linear.left.weight.to(FACTORISE) @ linear.right.weight.to(FACTORISE)
    return weight + linear.sparse() if isinstance(linear, LowRankSparseLinear) else weight


def _refuse_other_logits(factored: Any, merged: Any) -> None:
    """Raise RankwiseError where the logits of both models differ on some tokens."""
    vocabulary = factored.config.vocab_size
    ids = torch.randint(vocabulary, (1, CHECKED_TOKENS), generator=torch.Generator().manual_seed(0))
    expected, actual = (model(ids).logits.float() for model in (factored, merged))
    distance = float((expected - actual).abs().max() / expected.abs().max())
    if not distance <= TOLERANCE[merged.dtype]:
        raise RankwiseError(
            f"export: the dense model's logits are {distance:.2g} of their size away from the checkpoint's (allowed: "
            f"{TOLERANCE[merged.dtype]}); export without --dense, and report this"
        )
