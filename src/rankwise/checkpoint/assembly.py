"""A compressed model put together group by layer group, the dense model never whole in memory.

Every group is run twice on some text while it is there, dense and with its factors sliced as a search
slices them, so that the checkpoint can be compared with both when it is opened again.
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
    """What a compressed model should turn out to be; losses are means [nats/token]."""

    ids: Tensor
    """[sequences, length]: the text that they are of."""
    dense_loss: float
    loss: float
    """Of the factors as they are stored, sliced."""
    dense_numbers: int
    """Parameters of the linears that may be factored, before [-]."""
    notes: dict[str, dict[str, Any]]
    """What the decomposer noted of every linear."""


@dataclass
class _Held:
    """Hidden states between two groups, in memory: [1, length, width] for every sequence."""

    states: list[Tensor] = field(default_factory=list)

    def take(self, *given: Any, **named: Any) -> Tensor:
        """Keep the states that are given: in place of the layer behind a group."""
        self.states.append(states_argument(given, named))
        return self.states[-1]

    def give(self, *_given: Any, **_named: Any) -> Tensor:
        """Return the next states: in place of the layer before a group."""
        return self.states.pop(0)


@dataclass
class _Check:
    """One of the two models on its way through the layers: the states that it has come to."""

    streamed: Streamed
    ids: Tensor
    """[sequences, length]."""
    before: _Held = field(default_factory=_Held)
    loss: float = float("nan")

    def pass_group(self, group: list[int]) -> None:
        """Run one group on the states in front of it; behind the last one, take the loss."""
        behind, model = _Held(), self.streamed.model
        with self.streamed.only(group, self.before.give, behind.take):
            if group[-1] == self.streamed.layers - 1:
                self.loss = mean_loss(window_losses(model, self.ids, 1))
            else:
                for window in self.ids.long().split(1):
                    model.get_decoder()(window, use_cache=False)
        self.before = behind


@torch.no_grad()
def assemble_checkpoint(
    streamed: Streamed, factors: Iterable[Path], choices: Choices, ids: Tensor
) -> tuple[Any, ExpectedModel]:
    """Put a model together from the files of every group's ``factors``, in the order of the layers; what ``streamed`` held.

    ``ids`` [sequences, length] is what the losses are measured on. Memory: what is compressed so far,
    one group dense and its factors, mapped; hidden states of ``ids`` twice. Cost: two forward passes.
    """
    model = streamed.model
    numbers = sum(p.numel() for name in choices for p in model.get_submodule(name).parameters())
    streamed.keep(streamed.around() + streamed.behind())
    dense, sliced = _Check(streamed, ids), _Check(streamed, ids)
    notes: dict[str, dict[str, Any]] = {}
    for path in factors:
        notes |= _add_group(GroupFactors.load(path), dense, sliced, choices)
    return model, ExpectedModel(ids, dense.loss, sliced.loss, numbers, notes)


def _add_group(
    group: GroupFactors, dense: _Check, sliced: _Check, choices: Choices
) -> dict[str, dict[str, Any]]:
    """Run one group both ways, then put its factors into the model for good; returns their notes."""
    streamed = dense.streamed
    model, names = streamed.model, streamed.inside(group.layers)
    with streamed.files.unchanged(), streamed.loaded(names):
        dense.pass_group(group.layers)
        for name, linear in group.linears.items():
            stand_in = SlicedLinear(model.get_submodule(name), linear)
            stand_in.choose(choices[name])
            model.set_submodule(name, stand_in)
        sliced.pass_group(group.layers)
        for name in group.linears:
            model.set_submodule(name, model.get_submodule(name).dense)
    for name, linear in group.linears.items():
        if (kept := choices[name]) is not None:
            replace_linear(model, name, linear, kept)
    left = set(names) & set(streamed.inside(group.layers))
    streamed.keep([name for name in names if name in left])
    return {name: linear.notes for name, linear in group.linears.items()}
