"""Speed and memory of a model next to the dense one, in one process: prefill and decoding."""

import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor

from rankwise.params.speed import Speed
from rankwise.records.speed import Rate, SpeedPoint, SpeedRecord

T = TypeVar("T")
WARM_UP = 1
"""Untimed passes of each job before the timed ones [-]."""


def compare_speed(run: str, ours: Any, dense: Any, settings: Speed) -> SpeedRecord:
    """Time a run and the dense model at every batch size of ``settings``, on random prompts."""
    points: list[list[SpeedPoint]] = []
    for batch in sorted(set(settings.batches)):
        generator = torch.Generator().manual_seed(0)
        ids = torch.randint(ours.config.vocab_size, (batch, settings.length), generator=generator)
        points.append(time_models([ours, dense], ids, settings.new_tokens, settings.repeats))
    return SpeedRecord(
        run=run,
        points=[point for point, _ in points],
        dense=[point for _, point in points],
        length=settings.length,
        new_tokens=settings.new_tokens,
        repeats=settings.repeats,
        device=ours.device.type,
        threads=torch.get_num_threads(),
    )


@torch.no_grad()
def time_models(models: list[Any], ids: Tensor, new: int, repeats: int) -> list[SpeedPoint]:
    """Time prefill of prompts [batch, length] and the decoding of ``new`` tokens after them.

    Prefill is the cost of the first generated token: the model stores keys and values of the complete
    prompt and computes logits for its last position. Decoding is ``new`` passes of one token per
    sequence, with the keys and values so far; the next token is the most likely one. `interleave`
    alternates between the models. Returns one point per model; cost: (repeats + 1) of these per model.
    """
    jobs = [partial(_prefill_and_decode, model, ids.to(model.device), new) for model in models]
    points = []
    for model, timings in zip(models, interleave(jobs, repeats), strict=True):
        prefills, decodes, memories = zip(*timings, strict=True)
        points.append(
            SpeedPoint(
                batch=len(ids),
                prefill=_summarise_rate(ids.numel(), prefills),
                decode=_summarise_rate(len(ids) * new, decodes),
                memory_bytes=_count_weight_bytes(model) + max(memories),
            )
        )
    return points


def interleave(jobs: Sequence[Callable[[], T]], repeats: int) -> list[list[T]]:
    """Call all jobs ``repeats`` times and return each job's results in order, without the warm-up.

    Every repeat calls all jobs, in alternating order, so that a slow phase of the machine affects all
    of them.
    """
    for job in jobs:
        for _ in range(WARM_UP):
            job()
    results: list[list[T]] = [[] for _ in jobs]
    order = list(range(len(jobs)))
    for repeat in range(repeats):
        for index in order if repeat % 2 == 0 else reversed(order):
            results[index].append(jobs[index]())
    return results


def time_calls(job: Callable[[], Any], device: torch.device) -> float:
    """Return the wall time of one call with the device synchronised [s]."""
    _synchronise(device)
    began = time.perf_counter()
    job()
    _synchronise(device)
    return time.perf_counter() - began


def _prefill_and_decode(model: Any, prompt: Tensor, new: int) -> tuple[float, float, int]:
    """Return the seconds of prefill and of decoding, and the memory of both without weights [bytes]."""
    device = prompt.device
    before = _reset_peak(device)
    outputs: list[Any] = []
    prefill = time_calls(
        lambda: outputs.append(model(input_ids=prompt, use_cache=True, logits_to_keep=1)), device
    )
    decode = time_calls(partial(_decode, model, outputs[0], new), device)
    return prefill, decode, _measure_peak(device, before, outputs[0].past_key_values)


def _decode(model: Any, output: Any, new: int) -> None:
    """Generate ``new`` tokens greedily after ``output``; its cache grows."""
    for _ in range(new):
        token = output.logits[:, -1:].argmax(-1)
        output = model(input_ids=token, past_key_values=output.past_key_values, use_cache=True)


def _count_weight_bytes(model: Any) -> int:
    """Return the bytes of all parameters and buffers, the dense form of sparse parts included."""
    tensors = {t.data_ptr(): t.nbytes for t in (*model.parameters(), *model.buffers())}
    return sum(tensors.values())


def _summarise_rate(tokens: int, seconds: tuple[float, ...]) -> Rate:
    rates = [tokens / second for second in seconds]
    lower, median, upper = statistics.quantiles(rates, n=4, method="inclusive")
    return Rate(median=median, quartiles=(lower, upper))


def _reset_peak(device: torch.device) -> int:
    """Reset the peak and return the memory allocated now [bytes]; 0 on the CPU."""
    if device.type != "cuda":
        return 0
    torch.cuda.reset_peak_memory_stats(device)
    return torch.cuda.memory_allocated(device)


def _measure_peak(device: torch.device, before: int, cache: Any) -> int:
    """Return the peak above ``before``; on the CPU only the keys and values [bytes]."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) - before
    return sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
