"""The Fisher pass: second moments of the loss's gradient at the outputs of every linear, in one backward pass.

Precision: gradients have the model's dtype, products of one batch at least float32, sums float64.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from rankwise.artifacts.gradients import GroupFisher, OutputGradient
from rankwise.errors import RankwiseError
from rankwise.linalg import symmetric
from rankwise.linalg.packed import Panels, is_finite
from rankwise.model.family import Family, Linear
from rankwise.params.fisher import FisherParams
from rankwise.statistics.accumulators import ACCUMULATE, WHAT_TO_DO, Position, column_sums


class GradientSums:
    """Running sums of one linear: Σ g gᵀ on the smaller side of its weight, and Σ g² of every output.

    ``g`` [out] is the gradient of the loss at the output y = W x. Where out > in, it sums
    (Wᵀ g)(Wᵀ g)ᵀ [in, in] instead, so that no matrix is larger than [min(out, in)]² (methods.md §6.3).
    That needs ``weight``: W [out, in] of the dense model.
    """

    def __init__(
        self, linear: Linear, shape: tuple[int, int], weight: Tensor | None, position: Position
    ) -> None:
        self.linear, self.weight, self.position = linear, weight, position
        self.second: Panels | None = None
        self.size = min(shape)
        self.squares = torch.zeros(shape[0], dtype=ACCUMULATE, device=position.device)

    def add(self, gradient: Tensor) -> None:
        """Add gradients [..., out] of some tokens."""
        self.position.watch(f"{self}: gradients", gradient)
        rows = gradient.detach().reshape(-1, gradient.shape[-1])
        if rows.dtype in (torch.bfloat16, torch.float16):
            rows = rows.float()
        self.squares += column_sums(rows, torch.square)
        if self.weight is not None:
            rows = rows @ self.weight.to(rows)
        if self.second is None:
            self.second = self._zeros()
        self.second.add_gram(rows)

    def gradient(self, tokens: int) -> OutputGradient:
        """Return the sums over ``tokens``, on the device; raises RankwiseError where one has overflowed."""
        if self.second is None:  # no gradient reached this linear: the loss does not depend on it
            self.second = self._zeros()
        if not (is_finite(self.second) and symmetric.is_finite(self.squares)):
            raise RankwiseError(f"{self}: second moments are NaN or infinite; {WHAT_TO_DO}")
        side = "out" if self.weight is None else "in"
        return OutputGradient(self.second, side, self.squares, tokens)

    def _zeros(self) -> Panels:
        return Panels.zeros(self.size, ACCUMULATE, self.position.device)

    def __str__(self) -> str:
        """Name the linear, for errors."""
        return f"fisher of layer {self.linear.layer}, {self.linear.name}"


def gather_fisher(
    model: Any,
    family: Family,
    weight_of: Callable[[str], Tensor],
    ids: Tensor,
    groups: list[list[int]],
    params: FisherParams,
) -> list[GroupFisher]:
    """Return the gradients' second moments of every linear, one `GroupFisher` per layer group.

    The loss of a token is its negative log-likelihood [nats]; the gradient at one position is that of
    the sum over its sequence. Labels from the text give the empirical Fisher information. Labels drawn
    from the model's own prediction give the Fisher information itself (Gauss–Newton).
    ``weight_of`` returns the dense model's weights by name; the model may be compressed. ``ids``
    [sequences, length]. Cost: a forward and a backward pass to the activations (no weight gradients),
    and min(out, in)² multiplications a token and linear.
    """
    layers = [layer for group in groups for layer in group]
    generator = torch.Generator().manual_seed(params.seed)
    position = Position(model.device)
    with record_gradients(model, family, layers, weight_of, position) as sums:
        for batch in tqdm(ids.split(params.batch), "fisher", disable=None):
            summed_loss(model, batch.to(model.device), params, generator).backward()
            position.refuse_not_finite()
            position.sequence += len(batch)
    return [group_of(group, sums, ids) for group in groups]


def summed_loss(
    model: Any, ids: Tensor, params: FisherParams, generator: torch.Generator
) -> Tensor:
    """Return the sum over tokens of the negative log-likelihood [nats] of the labels ``params.labels``."""
    logits = model(ids, use_cache=False).logits[:, :-1]
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    labels = ids[:, 1:] if params.labels == "text" else _draw_labels(logits, generator)
    return functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum")


def group_of(group: list[int], sums: dict[str, GradientSums], ids: Tensor) -> GroupFisher:
    """Return the gradients' second moments of a layer group, from sums over ``ids`` [sequences, length]."""
    tokens = ids[:, 1:].numel()
    gradients = {name: s.gradient(tokens) for name, s in sums.items() if s.linear.layer in group}
    return GroupFisher(group, gradients)


def _draw_labels(logits: Tensor, generator: torch.Generator) -> Tensor:
    """Draw a next token [sequences, length] from every prediction, on the CPU: every device draws the same."""
    probabilities = logits.detach().softmax(-1).cpu()
    drawn = torch.multinomial(probabilities.flatten(0, 1), 1, generator=generator)
    return drawn.view(logits.shape[:2]).to(logits.device)


@contextmanager
def record_gradients(
    model: nn.Module,
    family: Family,
    layers: list[int],
    weight_of: Callable[[str], Tensor],
    position: Position,
) -> Iterator[dict[str, GradientSums]]:
    """Hook the outputs of all linears; only activations get gradients, starting at the embeddings."""
    sums: dict[str, GradientSums] = {}
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    model.requires_grad_(requires_grad=False)
    embeddings: nn.Module = model.get_input_embeddings()  # type: ignore[operator]
    hooks = [embeddings.register_forward_hook(lambda *io: io[-1].detach().requires_grad_(True))]
    for linear in family.linears(layers):
        weight = weight_of(linear.name)
        out, columns = weight.shape
        weight_on_device = weight.to(position.device) if out > columns else None
        sums[linear.name] = GradientSums(linear, (out, columns), weight_on_device, position)
        module = model.get_submodule(linear.name)
        hooks.append(module.register_forward_hook(_make_output_hook(sums[linear.name])))
    try:
        yield sums
    finally:
        for hook in hooks:
            hook.remove()
        for parameter, flag in flags:
            parameter.requires_grad_(flag)


def _make_output_hook(sums: GradientSums) -> Any:
    def hook(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        output.register_hook(sums.add)

    return hook
