"""The training that refiners share: AdamW, cosine decay, and the best state seen on held-out text."""

import hashlib
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from rankwise.records.made import Curve
from rankwise.refine.base import Refiner


def fit(
    parameters: list[nn.Parameter],
    loss: Callable[[Tensor], Tensor],
    held_out: Callable[[], float],
    refiner: Refiner,
    training: int,
    layer: int | None,
) -> Curve:
    """Train ``parameters`` in place and leave them in the best state seen, the first one included.

    ``loss`` maps indices [batch] of training sequences to their mean loss; ``held_out`` measures
    the present state on text that is never trained on, before the first and after every epoch. The
    order of sequences depends on the seed and ``layer`` alone, so that a block can be trained again
    by itself. Weight decay is 0: it would pull the factors towards a worse product.
    Cost: memory of three more copies of the parameters (AdamW's two moments, the best state).
    """
    if not parameters:
        return Curve(layer=layer, train=[], held_out=finite([held_out()]), best=0)
    for parameter in parameters:
        parameter.requires_grad = True
    generator = _generator(refiner.seed, layer)
    optimizer = torch.optim.AdamW(parameters, lr=refiner.learning_rate, weight_decay=0.0)
    steps = refiner.epochs * math.ceil(training / refiner.batch)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    kept, measured, trained, best = _copies(parameters), [held_out()], list[float](), 0
    bar = tqdm(
        range(1, refiner.epochs + 1),
        "refine" if layer is None else f"refine block {layer}",
        disable=None,
    )
    for epoch in bar:
        total = 0.0
        for part in torch.randperm(training, generator=generator).split(refiner.batch):
            value = loss(part)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            decay.step()
            total += float(value.detach()) * len(part)
        trained.append(total / training)
        measured.append(held_out())
        bar.set_postfix_str(f"held out {measured[-1]:.4g}, was {measured[0]:.4g}")
        if measured[-1] < measured[best]:
            kept, best = _copies(parameters), epoch
        elif epoch - best >= refiner.patience or not math.isfinite(measured[-1]):
            break
    with torch.no_grad():
        for parameter, state in zip(parameters, kept, strict=True):
            parameter.copy_(state)
            parameter.requires_grad = False
    return Curve(layer=layer, train=finite(trained), held_out=finite(measured), best=best)


def next_token_loss(model: Any, ids: Tensor) -> Tensor:
    """Return the mean negative log-likelihood of every token but the first of ``ids`` [batch, length]."""
    ids = ids.to(model.device, torch.long)
    logits = model(input_ids=ids, use_cache=False).logits[:, :-1].float()
    return functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())


@torch.no_grad()
def text_loss(model: Any, ids: Tensor, batch: int) -> float:
    """Return `next_token_loss` over all of ``ids``, not finite where the model is broken [nats/token]."""
    parts = [float(next_token_loss(model, part)) * len(part) for part in ids.split(batch)]
    return sum(parts) / len(ids)


def finite(values: list[float]) -> list[float | None]:
    """Return values as a record holds them: None for what is no number."""
    return [value if math.isfinite(value) else None for value in values]


def _copies(parameters: list[nn.Parameter]) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in parameters]


def _generator(seed: int, layer: int | None) -> torch.Generator:
    digest = hashlib.sha256(f"{seed},{layer}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:4], "big"))
