"""Runs decoder layers one at a time on the hidden states of a text."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

Arguments = dict[str, Any]
"""Arguments of a layer by name, other than the hidden states: positions, mask."""


class _FirstLayerReached(Exception):  # noqa: N818 (no error: it ends a forward pass that has done its part)
    """Ends a forward pass that has reached the first layer."""


@torch.no_grad()
def layer_inputs(model: Any, layers: nn.ModuleList, ids: Tensor, batch: int) -> Tensor:
    """Return the hidden states before the first layer, [sequences, length, width], on the CPU."""
    parts: list[Tensor] = []

    def take(_module: nn.Module, args: tuple[Tensor, ...], _kwargs: Arguments) -> None:
        parts.append(args[0].cpu())
        raise _FirstLayerReached

    with _hook_before([layers[0]], lambda _: take):
        for part in ids.split(batch):
            try:
                model.get_decoder()(part.to(model.device, torch.long), use_cache=False)
            except _FirstLayerReached:
                continue
    return torch.cat(parts)


@torch.no_grad()
def layer_arguments(model: Any, layers: nn.ModuleList, ids: Tensor) -> list[Arguments]:
    """Return each layer's arguments other than the hidden states, in float32, from one sequence.

    They broadcast over all sequences, because all windows have the same length.
    """
    arguments: list[Arguments] = [{} for _ in layers]

    def make_hook(index: int) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: Arguments) -> None:
            # Some models pass more positional arguments than the hidden states.
            names = inspect.signature(module.forward).parameters
            named = dict(zip(names, args, strict=False)) | kwargs
            named.pop(next(iter(names)))
            arguments[index] = {name: _float32(value) for name, value in named.items()}

        return hook

    with _hook_before(list(layers), make_hook):
        model.get_decoder()(ids[:1].to(model.device, torch.long), use_cache=False)
    return arguments


def outputs(layer: nn.Module, hidden: Tensor, arguments: Arguments) -> Tensor:
    """Return a layer's output for ``hidden`` [batch, length, width]; layer and output are in float32."""
    device = next(layer.parameters()).device
    output = layer(hidden.to(device, torch.float32), **arguments)
    result: Tensor = output if isinstance(output, Tensor) else output[0]
    return result


@torch.no_grad()
def advance(layer: nn.Module, stream: Tensor, arguments: Arguments, batch: int) -> None:
    """Replace ``stream`` [sequences, length, width] by the layer's output for it, batch by batch."""
    for part in stream.split(batch):
        part.copy_(outputs(layer, part, arguments))


@contextmanager
def _hook_before(
    modules: list[nn.Module], hook: Callable[[int], Callable[..., None]]
) -> Iterator[None]:
    """Call ``hook(i)`` before every forward pass of module i."""
    handles = [
        module.register_forward_pre_hook(hook(index), with_kwargs=True)
        for index, module in enumerate(modules)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _float32(value: Any) -> Any:
    """Return ``value`` with floating-point tensors, also those in tuples, converted to float32."""
    if isinstance(value, tuple):
        return tuple(_float32(part) for part in value)
    if isinstance(value, Tensor) and value.is_floating_point():
        return value.float()
    return value
