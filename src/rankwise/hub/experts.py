"""Mixture-of-experts layers with one linear per expert and projection, in place of one tensor for all.

The library keeps the experts of a layer in two tensors, ``gate_up_proj`` [experts, 2·width, in] and
``down_proj`` [experts, in, width]. Here they are modules by name (``experts.3.gate_up_proj``), so that
an expert's linears can be hooked, factored, stored and loaded like any other.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn


class Expert(nn.Module):
    """``down(act(gate) · up)``, gate and up being the two halves of one linear's output."""

    def __init__(self, gate_up: Tensor, down: Tensor, act: Any) -> None:
        super().__init__()
        self.gate_up_proj = _linear(gate_up)
        self.down_proj = _linear(down)
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        """Return [tokens, in] for x [tokens, in]."""
        gate, up = self.gate_up_proj(x).chunk(2, dim=-1)
        made: Tensor = self.down_proj(self.act(gate) * up)
        return made


class Experts(nn.ModuleList):
    """All experts of a layer; called as the library's own module is.

    Experts without a token in a batch are not called. Cost: that of the experts' linears; the copies
    made here take as much memory as the tensors that they replace, one layer at a time.
    """

    def __init__(self, fused: Any) -> None:
        """Take the weights of the library's module; raises ValueError for a form that differs."""
        unknown = [name for name in ("has_bias", "is_transposed") if getattr(fused, name, False)]
        if unknown or not hasattr(fused, "gate_up_proj"):
            raise ValueError(
                f"{type(fused).__name__}: experts with {', '.join(unknown) or 'no gate_up_proj'} have another form"
            )
        super().__init__(
            Expert(gate_up, down, fused.act_fn)
            for gate_up, down in zip(fused.gate_up_proj, fused.down_proj, strict=True)
        )

    def forward(self, x: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
        """Return Σ weight · expert(x) [tokens, in] over the experts ``chosen`` [tokens, k] for each token.

        ``weights`` [tokens, k] are the router's, of the same order as ``chosen``.
        """
        total = torch.zeros_like(x)
        for number, expert in enumerate(self):
            token, place = torch.where(chosen == number)
            if len(token):
                made = expert(x[token]) * weights[token, place, None]
                total.index_add_(0, token, made.to(total.dtype))
        return total


def separate(model: nn.Module, names: Iterable[str]) -> None:
    """Put `Experts` in place of the library's modules of these names."""
    for name in names:
        model.set_submodule(name, Experts(model.get_submodule(name)))


def _linear(weight: Tensor) -> nn.Linear:
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    linear.weight = nn.Parameter(weight.detach().clone(), requires_grad=weight.requires_grad)
    return linear
