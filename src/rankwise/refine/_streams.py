"""Running decoder layers one at a time: the hidden states of a text, moved from block to block."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

Arguments = dict[str, Any]
"""What a decoder layer is given beside the hidden states: positions, mask."""


class _Reached(Exception):  # noqa: N818 (no error: it ends a forward pass that has done its part)
    """The first block was reached."""


@torch.no_grad()
def block_inputs(model: Any, blocks: nn.ModuleList, ids: Tensor, batch: int) -> Tensor:
    """Return the hidden states before the first block, [sequences, length, width], on the CPU."""
    parts: list[Tensor] = []

    def take(_module: nn.Module, given: tuple[Tensor, ...], _named: Arguments) -> None:
        parts.append(given[0].cpu())
        raise _Reached

    with _before([blocks[0]], lambda _: take):
        for part in ids.split(batch):
            try:
                model.get_decoder()(part.to(model.device, torch.long), use_cache=False)
            except _Reached:
                continue
    return torch.cat(parts)


@torch.no_grad()
def block_arguments(model: Any, blocks: nn.ModuleList, ids: Tensor) -> list[Arguments]:
    """Return what each block is given beside the hidden states, in float32, from one sequence.

    All windows having the same length, it is the same for every sequence and broadcasts over them.
    """
    found: list[Arguments] = [{} for _ in blocks]

    def taker(index: int) -> Callable[..., None]:
        def take(module: nn.Module, given: tuple[Any, ...], named: Arguments) -> None:
            # Some models give more than the hidden states by position.
            names = inspect.signature(module.forward).parameters
            rest = dict(zip(names, given, strict=False)) | named
            rest.pop(next(iter(names)))
            found[index] = {name: _float32(value) for name, value in rest.items()}

        return take

    with _before(list(blocks), taker):
        model.get_decoder()(ids[:1].to(model.device, torch.long), use_cache=False)
    return found


def outputs(block: nn.Module, hidden: Tensor, arguments: Arguments) -> Tensor:
    """Return what a block (in float32) makes of ``hidden`` [batch, length, width], in float32."""
    device = next(block.parameters()).device
    made = block(hidden.to(device, torch.float32), **arguments)
    result: Tensor = made if isinstance(made, Tensor) else made[0]
    return result


@torch.no_grad()
def advance(block: nn.Module, stream: Tensor, arguments: Arguments, batch: int) -> None:
    """Replace ``stream`` [sequences, length, width] by what the block makes of it, batch by batch."""
    for part in stream.split(batch):
        part.copy_(outputs(block, part, arguments))


@contextmanager
def _before(modules: list[nn.Module], hook: Callable[[int], Callable[..., None]]) -> Iterator[None]:
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
    """Return tensors of floating-point numbers, also those in tuples, in float32."""
    if isinstance(value, tuple):
        return tuple(_float32(part) for part in value)
    if isinstance(value, Tensor) and value.is_floating_point():
        return value.float()
    return value
