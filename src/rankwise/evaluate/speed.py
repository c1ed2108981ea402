"""Speed of a model beside the dense one, in one process: prefill, decoding, memory."""

import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor

from rankwise.params.stages import Speed
from rankwise.records.measured import Rate, SpeedPoint, SpeedRecord

T = TypeVar("T")
WARM_UP = 1
"""Passes of each job before the clock runs [-]."""


def compare_speed(run: str, ours: Any, dense: Any, given: Speed) -> SpeedRecord:
    """Return what a run does beside the dense model, at every batch size of ``given``; random prompts."""
    points: list[list[SpeedPoint]] = []
    for batch in sorted(set(given.batches)):
        generator = torch.Generator().manual_seed(0)
        ids = torch.randint(ours.config.vocab_size, (batch, given.length), generator=generator)
        points.append(time_models([ours, dense], ids, given.new_tokens, given.repeats))
    return SpeedRecord(
        run=run,
        points=[point for point, _ in points],
        dense=[point for _, point in points],
        length=given.length,
        new_tokens=given.new_tokens,
        repeats=given.repeats,
        device=ours.device.type,
        threads=torch.get_num_threads(),
    )


@torch.no_grad()
def time_models(models: list[Any], ids: Tensor, new: int, repeats: int) -> list[SpeedPoint]:
    """Time prefill of prompts [batch, length] and the decoding of ``new`` tokens behind them.

    Prefill is what a first generated token costs: keys and values of the whole prompt are kept,
    logits are computed for its last position. Decoding is ``new`` passes of one token a sequence with
    the keys and values so far, the most likely token being the next. The models take turns, see
    `in_turn`. Returns a point a model; cost: (repeats + 1) of these a model.
    """
    jobs = [partial(_prefill_and_decode, model, ids.to(model.device), new) for model in models]
    points = []
    for model, taken in zip(models, interleave(jobs, repeats), strict=True):
        prefills, decodes, memories = zip(*taken, strict=True)
        points.append(
            SpeedPoint(
                batch=len(ids),
                prefill=_rate(ids.numel(), prefills),
                decode=_rate(len(ids) * new, decodes),
                memory_bytes=_weights(model) + max(memories),
            )
        )
    return points


def interleave(jobs: Sequence[Callable[[], T]], repeats: int) -> list[list[T]]:
    """Call all jobs ``repeats`` times and return what each returned, in order, warm-up left out.

    The jobs take turns inside every repeat, the order reversed each time, so that a slow spell of
    the machine meets all of them.
    """
    for job in jobs:
        for _ in range(WARM_UP):
            job()
    returned: list[list[T]] = [[] for _ in jobs]
    order = list(range(len(jobs)))
    for repeat in range(repeats):
        for index in order if repeat % 2 == 0 else reversed(order):
            returned[index].append(jobs[index]())
    return returned


def time_calls(job: Callable[[], Any], device: torch.device) -> float:
    """Return the wall time of one call with the device synchronised [s]."""
    _wait(device)
    began = time.perf_counter()
    job()
    _wait(device)
    return time.perf_counter() - began


def _prefill_and_decode(model: Any, prompt: Tensor, new: int) -> tuple[float, float, int]:
    """Return the seconds of prefill and of decoding, and the memory that both took beside weights [bytes]."""
    device = prompt.device
    before = _begin_peak(device)
    made: list[Any] = []
    prefill = time_calls(
        lambda: made.append(model(input_ids=prompt, use_cache=True, logits_to_keep=1)), device
    )
    decode = time_calls(partial(_decode, model, made[0], new), device)
    return prefill, decode, _peak(device, before, made[0].past_key_values)


def _decode(model: Any, output: Any, new: int) -> None:
    """Generate ``new`` tokens greedily behind ``output``; its cache grows."""
    for _ in range(new):
        token = output.logits[:, -1:].argmax(-1)
        output = model(input_ids=token, past_key_values=output.past_key_values, use_cache=True)


def _weights(model: Any) -> int:
    """Return the bytes of all parameters and buffers, the dense form of a sparse part among them."""
    tensors = {t.data_ptr(): t.nbytes for t in (*model.parameters(), *model.buffers())}
    return sum(tensors.values())


def _rate(tokens: int, seconds: tuple[float, ...]) -> Rate:
    rates = [tokens / second for second in seconds]
    lower, median, upper = statistics.quantiles(rates, n=4, method="inclusive")
    return Rate(median=median, quartiles=(lower, upper))


def _begin_peak(device: torch.device) -> int:
    """Forget the peak so far and return what is allocated [bytes]; only a GPU's allocator is asked."""
    if device.type != "cuda":
        return 0
    torch.cuda.reset_peak_memory_stats(device)
    return torch.cuda.memory_allocated(device)


def _peak(device: torch.device, before: int, cache: Any) -> int:
    """Return what was allocated above ``before``; on the CPU the keys and values alone [bytes]."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) - before
    return sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
