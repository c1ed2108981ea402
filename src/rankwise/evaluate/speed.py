"""Prefill throughput of a model beside the dense one, in one process."""

import statistics
import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

WARM_UP = 2
"""Passes of each model before the clock runs [-]."""


@dataclass(frozen=True)
class Throughput:
    """Tokens per second of one model over the timed repeats [tokens/s]."""

    median: float
    quartiles: tuple[float, float]


@torch.no_grad()
def prefill(models: list[Any], ids: Tensor, repeats: int) -> list[Throughput]:
    """Time one pass over a prompt [batch, length], for all models in turn, ``repeats`` times.

    A pass is what a first generated token costs: keys and values of the whole prompt are kept,
    logits are computed for its last position. The models take turns inside every repeat, the order
    reversed each time, so that a slow spell of the machine meets all of them. Wall time, with the
    device synchronised.
    """
    inputs = [ids.to(model.device) for model in models]
    for model, prompt in zip(models, inputs, strict=True):
        for _ in range(WARM_UP):
            _timed(model, prompt)
    seconds: list[list[float]] = [[] for _ in models]
    order = list(range(len(models)))
    for repeat in range(repeats):
        for index in order if repeat % 2 == 0 else reversed(order):
            seconds[index].append(_timed(models[index], inputs[index]))
    return [_summary([ids.numel() / second for second in taken]) for taken in seconds]


def _timed(model: Any, prompt: Tensor) -> float:
    _wait(prompt.device)
    began = time.perf_counter()
    model(input_ids=prompt, use_cache=True, logits_to_keep=1)
    _wait(prompt.device)
    return time.perf_counter() - began


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _summary(rates: list[float]) -> Throughput:
    lower, median, upper = statistics.quantiles(rates, n=4, method="inclusive")
    return Throughput(median, (lower, upper))
