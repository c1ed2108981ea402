"""Assembly of a compressed model, one layer group after another; memory never holds the complete dense model.

Every layer group runs twice on some text while it is in memory: dense, and with its factors sliced as
in a search. The check of the written checkpoint compares its loss with both losses.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rankwise.artifacts.factors import GroupFactors
from rankwise.budget.costs import Choices
from rankwise.checkpoint.saving import replace_linear
from rankwise.evaluate.perplexity import mean_loss, window_losses
from rankwise.model.sliced_linear import SlicedLinear
from rankwise.statistics.hidden_states import states_argument
from rankwise.statistics.streamed import Streamed


@dataclass(frozen=True)
class ExpectedModel:
    """Expected properties of a compressed model; losses are means [nats/token]."""

    ids: Tensor
    """[sequences, length]: the text of both losses."""
    dense_loss: float
    loss: float
    """Loss of the model with the stored factors, sliced."""
    dense_numbers: int
    """Parameters of the linears that may be factored, before compression [-]."""
    notes: dict[str, dict[str, Any]]
    """Linear → notes of the decomposer."""


@dataclass
class _HeldStates:
    """Hidden states between two layer groups, in memory: [1, length, width] for every sequence."""

    states: list[Tensor] = field(default_factory=list)

    def take(self, *args: Any, **kwargs: Any) -> Tensor:
        """Store the input states; replaces the layer after a layer group."""
        self.states.append(states_argument(args, kwargs))
        return self.states[-1]

    def give(self, *_args: Any, **_kwargs: Any) -> Tensor:
        """Return the next states; replaces the layer before a layer group."""
        return self.states.pop(0)


@dataclass
class _GroupwisePass:
    """Forward pass of one of the two models, by layer groups: the states after the last group that ran."""

    streamed: Streamed
    ids: Tensor
    """[sequences, length]."""
    before: _HeldStates = field(default_factory=_HeldStates)
    loss: float = float("nan")

    def pass_group(self, group: list[int]) -> None:
        """Run one layer group on the states before it; after the last group, compute the loss."""
        after, model = _HeldStates(), self.streamed.model
        with self.streamed.only(group, self.before.give, after.take):
            if group[-1] == self.streamed.layers - 1:
                self.loss = mean_loss(window_losses(model, self.ids, 1))
            else:
                for window in self.ids.long().split(1):
                    model.get_decoder()(window, use_cache=False)
        self.before = after


@torch.no_grad()
def assemble_checkpoint(
    streamed: Streamed, factors: Iterable[Path], choices: Choices, ids: Tensor
) -> tuple[Any, ExpectedModel]:
    """Replace the linears of ``streamed``'s model by factors; return the model and its expected losses.

    ``factors`` are the files of all layer groups, in the order of the layers. The losses are measured
    on ``ids`` [sequences, length]. Memory: the layers compressed so far, one layer group dense and its
    factors, mapped, and the hidden states of ``ids`` twice. Cost: two forward passes.
    """
    model = streamed.model
    numbers = sum(p.numel() for name in choices for p in model.get_submodule(name).parameters())
    streamed.keep(streamed.around() + streamed.behind())
    dense, sliced = _GroupwisePass(streamed, ids), _GroupwisePass(streamed, ids)
    notes: dict[str, dict[str, Any]] = {}
    for path in factors:
        notes |= _add_group(GroupFactors.load(path), dense, sliced, choices)
    return model, ExpectedModel(ids, dense.loss, sliced.loss, numbers, notes)


def _add_group(
    group: GroupFactors, dense: _GroupwisePass, sliced: _GroupwisePass, choices: Choices
) -> dict[str, dict[str, Any]]:
    """Run one layer group dense and sliced, then replace its linears by the factors; return their notes."""
    streamed = dense.streamed
    model, names = streamed.model, streamed.inside(group.layers)
    with streamed.files.unchanged(), streamed.loaded(names):
        dense.pass_group(group.layers)
        for name, linear in group.linears.items():
            sliced_linear = SlicedLinear(model.get_submodule(name), linear)
            sliced_linear.choose(choices[name])
            model.set_submodule(name, sliced_linear)
        sliced.pass_group(group.layers)
        for name in group.linears:
            model.set_submodule(name, model.get_submodule(name).dense)
    for name, linear in group.linears.items():
        if (choice := choices[name]) is not None:
            replace_linear(model, name, linear, choice)
    remaining = set(names) & set(streamed.inside(group.layers))
    streamed.keep([name for name in names if name in remaining])
    return {name: linear.notes for name, linear in group.linears.items()}
