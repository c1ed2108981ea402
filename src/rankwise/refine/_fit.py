"""The training loop of all refiners: AdamW, cosine decay, and the best state on held-out text."""

import hashlib
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from rankwise.records.refine import Curve
from rankwise.refine.base import Refiner


def fit(
    parameters: list[nn.Parameter],
    loss: Callable[[Tensor], Tensor],
    held_out: Callable[[], float],
    refiner: Refiner,
    training: int,
    layer: int | None,
) -> Curve:
    """Train ``parameters`` in place, end in the best state (the initial one included), and return the curve.

    ``loss`` maps indices [batch] of training sequences to their mean loss. ``held_out`` measures the
    current state on text that is never trained on, before the first and after every epoch. The order of
    sequences depends only on the seed and ``layer``, so that one layer can be trained alone with the same
    result. Weight decay is 0, because it would pull the factors towards a worse product.
    Memory: three more copies of the parameters (AdamW's two moments, the best state).
    """
    if not parameters:
        return Curve(layer=layer, train=[], held_out=finite([held_out()]), best=0)
    for parameter in parameters:
        parameter.requires_grad = True
    generator = _seed_generator(refiner.seed, layer)
    optimizer = torch.optim.AdamW(parameters, lr=refiner.learning_rate, weight_decay=0.0)
    steps = refiner.epochs * math.ceil(training / refiner.batch)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    best_state, held_out_losses, train_losses, best_epoch = (
        _copy_state(parameters),
        [held_out()],
        list[float](),
        0,
    )
    bar = tqdm(
        range(1, refiner.epochs + 1),
        "refine" if layer is None else f"refine layer {layer}",
        disable=None,
    )
    for epoch in bar:
        total = 0.0
        for part in torch.randperm(training, generator=generator).split(refiner.batch):
            batch_loss = loss(part)
            optimizer.zero_grad()
            batch_loss.backward()
            optimizer.step()
            decay.step()
            total += float(batch_loss.detach()) * len(part)
        train_losses.append(total / training)
        held_out_losses.append(held_out())
        bar.set_postfix_str(f"held out {held_out_losses[-1]:.4g}, was {held_out_losses[0]:.4g}")
        if held_out_losses[-1] < held_out_losses[best_epoch]:
            best_state, best_epoch = _copy_state(parameters), epoch
        elif epoch - best_epoch >= refiner.patience or not math.isfinite(held_out_losses[-1]):
            break
    with torch.no_grad():
        for parameter, state in zip(parameters, best_state, strict=True):
            parameter.copy_(state)
            parameter.requires_grad = False
    return Curve(
        layer=layer, train=finite(train_losses), held_out=finite(held_out_losses), best=best_epoch
    )


def next_token_loss(model: Any, ids: Tensor) -> Tensor:
    """Return the mean negative log-likelihood of every token but the first of ``ids`` [batch, length]."""
    ids = ids.to(model.device, torch.long)
    logits = model(input_ids=ids, use_cache=False).logits[:, :-1].float()
    return functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())


@torch.no_grad()
def text_loss(model: Any, ids: Tensor, batch: int) -> float:
    """Return `next_token_loss` over all of ``ids`` [nats/token]; not finite where the model is broken."""
    parts = [float(next_token_loss(model, part)) * len(part) for part in ids.split(batch)]
    return sum(parts) / len(ids)


def finite(values: list[float]) -> list[float | None]:
    """Return ``values`` as a record holds them: None for a value that is not finite."""
    return [value if math.isfinite(value) else None for value in values]


def _copy_state(parameters: list[nn.Parameter]) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in parameters]


def _seed_generator(seed: int, layer: int | None) -> torch.Generator:
    digest = hashlib.sha256(f"{seed},{layer}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:4], "big"))
