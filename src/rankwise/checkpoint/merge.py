"""A checkpoint's factors multiplied back into a model of the original architecture, stock to every runtime."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rankwise.decompose.factoring import FACTORISE
from rankwise.errors import RankwiseError
from rankwise.hub.linears import LowRankLinear, LowRankSparseLinear
from rankwise.inputs.architecture import build_empty_model

BIAS_KEYS = ("attention_bias", "mlp_bias", "use_bias", "qkv_bias", "enable_bias")
"""Keys by which configurations of transformers give linears a bias."""
CHECKED_TOKENS = 64
"""Tokens on which the stock model is compared with the factored one."""
TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.1, torch.float16: 0.02}
"""What one rounding more of every weight may change of the logits, of their largest size [-]."""


@dataclass(frozen=True)
class MergedModel:
    """A model of the original architecture, and what it could not hold."""

    model: Any
    dropped: list[str]
    """Linears whose bias the architecture has no place for."""


@torch.no_grad()
def merge_factors(factored: Any, *, drop_bias: bool) -> MergedModel:
    """Return the model whose linears are the products of ``factored``'s, in its precision.

    Products in float64; experts go back into the library's tensors. A bias goes where the architecture
    has one or a key of its configuration (`BIAS_KEYS`) gives it one; elsewhere it is refused with
    RankwiseError, or left out with ``drop_bias``. Nothing else of the model is changed, which is checked
    on some tokens. Cost: both models in memory, a product a linear.
    """
    linears = {n: m for n, m in factored.named_modules() if isinstance(m, LowRankLinear)}
    biased = [name for name, linear in linears.items() if linear.left.bias is not None]
    config = _original(factored.config)
    empty, dropped = _with_bias_keys(config, biased, factored.dtype)
    if dropped and not drop_bias:
        raise RankwiseError(
            f"export: {len(dropped)} linears have a bias for which {type(empty).__name__} has no place, such as {dropped[0]}; "
            "export without --dense, or leave the biases out with --drop-bias, and say with --text what that costs"
        )
    state = _state(factored, empty, linears)
    empty.load_state_dict(state, strict=True, assign=True)
    empty.tie_weights()
    empty.generation_config = factored.generation_config
    empty.eval()
    if not dropped:
        _refuse_other_logits(factored, empty)
    return MergedModel(empty, dropped)


def _original(config: Any) -> Any:
    """Return the configuration of the original model, with nothing of ours in it."""
    from transformers import AutoConfig

    section = config.rankwise
    given = config.to_dict() | {"architectures": [section["architecture"]]}
    for key in ("rankwise", "auto_map", "model_type"):
        given.pop(key, None)
    return AutoConfig.for_model(section["model_type"], **given)


def _with_bias_keys(
    config: Any, biased: Iterable[str], dtype: torch.dtype
) -> tuple[Any, list[str]]:
    """Return the empty model with as many places for biases as its configuration can give, and who has none."""

    def missing(model: Any) -> list[str]:
        there = model.state_dict().keys()
        return [name for name in biased if f"{name}.bias" not in there]

    empty = build_empty_model(config, dtype)
    for key in BIAS_KEYS:
        before = missing(empty)
        if before and getattr(config, key, None) is False:
            setattr(config, key, True)
            more = build_empty_model(config, dtype)
            if len(missing(more)) < len(before):
                empty = more
            else:
                setattr(config, key, False)
    return empty, missing(empty)


def _state(factored: Any, empty: Any, linears: dict[str, LowRankLinear]) -> dict[str, Tensor]:
    """Return every tensor of the stock model, in the shapes and precision of the ``empty`` one."""
    given, experts = factored.state_dict(), factored.config.rankwise["experts"]
    found = {}
    for name, place in empty.state_dict().items():
        owner, _, part = name.rpartition(".")
        if name in given:
            tensor = given[name]
        elif owner in experts:
            modules = [expert.get_submodule(part) for expert in factored.get_submodule(owner)]
            tensor = torch.stack([_weight(module) for module in modules])
        elif part == "weight":
            tensor = _weight(linears[owner])
            if hasattr(empty.get_submodule(owner), "nf"):  # GPT-2's Conv1D is [in, out]
                tensor = tensor.T.contiguous()
        else:  # a bias: where there is none, a key of the configuration gave it with those of others
            bias = linears[owner].left.bias if owner in linears else None
            tensor = torch.zeros(place.shape) if bias is None else bias
        found[name] = tensor.to(place.dtype)
    return found


def _weight(linear: Any) -> Tensor:
    """Return the weight [out, in] of a linear, factored or not, in float64."""
    if not isinstance(linear, LowRankLinear):
        whole: Tensor = linear.weight.to(FACTORISE)
        return whole
    weight = linear.left.weight.to(FACTORISE) @ linear.right.weight.to(FACTORISE)
    return weight + linear.sparse() if isinstance(linear, LowRankSparseLinear) else weight


def _refuse_other_logits(factored: Any, made: Any) -> None:
    """Compare both models on some tokens."""
    vocabulary = factored.config.vocab_size
    ids = torch.randint(vocabulary, (1, CHECKED_TOKENS), generator=torch.Generator().manual_seed(0))
    ours, theirs = (model(ids).logits.float() for model in (factored, made))
    off = float((ours - theirs).abs().max() / ours.abs().max())
    if not off <= TOLERANCE[made.dtype]:
        raise RankwiseError(
            f"export: the dense model's logits are {off:.2g} of their size away from the checkpoint's (allowed: "
            f"{TOLERANCE[made.dtype]}); export without --dense, and report this"
        )
