"""Free memory and speed of this machine, measured in some seconds."""

import importlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rankwise.artifacts.gradients import OutputGradient
from rankwise.artifacts.statistics import InputStatistics
from rankwise.decompose import Decomposer
from rankwise.decompose.factoring import factor_linear
from rankwise.forkserver.server import PRELOADED
from rankwise.linalg import symmetric
from rankwise.linalg.precision import FACTORISE
from rankwise.model.device import DTYPES, set_up_device
from rankwise.model.family import Linear
from rankwise.params.study import Params
from rankwise.planning.sizes import Sizes, shapes_by_outputs
from rankwise.planning.study import gathered_statistics
from rankwise.validation.params import instantiate_method

LONG = 0.25
"""A measurement is long enough when it takes this much [s]."""
SMALLEST, LARGEST = 64, 1024
"""Range of the smaller side of the matrices on which decomposers are timed."""
GROWTH = 2.8
"""Exponent of a decomposer's time in a matrix's side: 2.4 from 512 on, 2.9 from 2048 on [-]."""
TRIED = Linear("probe", 0, "probe", "probe", "probe")
TOKENS = 2048
"""Most tokens on which one layer is timed."""
FILE = 2**26
"""Size of the file for timing the disk [bytes]."""


@dataclass(frozen=True)
class Room:
    """Memory and disk that are free on this machine now."""

    memory: int
    """Main memory that is free or that the system can free [bytes]."""
    disk: int
    """Disk of the study: free, or used by its results, which new results replace [bytes]."""
    gpu: int
    """Free memory of the study's compute device, 0 on the CPU [bytes]."""

    @classmethod
    def here(cls, device: str) -> "Room":
        """Read the free memory and disk from the system; a control group's limit applies."""
        meminfo = {
            line.split(":")[0]: int(line.split()[1]) * 1024
            for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        }
        memory = min(meminfo["MemAvailable"], _group_limit())
        has_gpu = device != "cpu" and torch.cuda.is_available()
        gpu = torch.cuda.mem_get_info(torch.device(device))[0] if has_gpu else 0
        replaceable = sum(_folder_bytes(Path(folder)) for folder in ("data", ".dvc/cache"))
        return cls(memory, shutil.disk_usage(Path()).free + replaceable, gpu)


def _folder_bytes(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())


def libraries() -> int:
    """Return the memory of a stage's libraries, measured in this process after loading them [bytes].

    Call it before `probe`, which uses more memory. Jobs are forked from one process: a job maps only the
    pages of the libraries' files that it uses, about a third.
    """
    for module in PRELOADED:
        importlib.import_module(module)
    status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    resident = {line.split(":")[0]: line.split()[1] for line in status if line.startswith("Rss")}
    return 1024 * (int(resident["RssAnon"]) + int(resident["RssFile"]) // 3)


def _group_limit(folder: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the memory that the control group leaves to this process [bytes]; 2**62 without a limit."""
    limit = folder / "memory.max"
    text = limit.read_text(encoding="ascii").strip() if limit.is_file() else "max"
    if text == "max":
        return 2**62
    return int(text) - int(limit.with_name("memory.current").read_text(encoding="ascii"))


@dataclass(frozen=True)
class Speed:
    """Measured times, from which the plan extrapolates the study's times."""

    layer: float
    """Forward pass of one decoder layer, per token [s]."""
    head: float
    """Embeddings, last norm and head, per token [s]."""
    product: float
    """One multiplication and addition in a product of float32 matrices [s]."""
    write: float
    """Writing a file and its digest, per byte [s]."""
    read: float
    """Reading a file and its digest, per byte [s]."""
    factoring: dict[tuple[str, tuple[int, int]], float]
    """Section of decompose and shape [out, in] → one matrix [s]."""


def probe(params: Params, sizes: Sizes) -> Speed:
    """Measure the speed of the study's device, with its number of threads.

    Times one decoder layer of the model with random weights, on a few tokens; matrix products; a file; and
    every decomposer on matrices of the model's shapes. Where a shape takes too long, it times a smaller
    matrix of the same proportions (`_time_factoring`).
    """
    device = set_up_device(params.compute)
    layer, head = _time_forward(params, sizes, device)
    square = torch.randn(1024, 1024, device=device)
    product = _time_call(lambda: square @ square, device) / 1024**3
    factoring = {}
    by_outputs = shapes_by_outputs(sizes.matrices, gathered_statistics(params))
    for name in dict.fromkeys(run.decompose for run in params.compressions().values()):
        method = instantiate_method(params, "decompose", name)
        for shape in sizes.shapes():
            outputs = shape in by_outputs
            factoring[name, shape] = _time_factoring(method, shape, device, outputs=outputs)
    return Speed(layer, head, product, *_time_disk(), factoring)


def _time_call(action: Callable[[], Any], device: torch.device) -> float:
    """Return the least time of up to five calls, or of one call if it takes longer than `LONG` [s]."""
    durations: list[float] = []
    first_start = time.perf_counter()
    while not durations or (time.perf_counter() - first_start < LONG and len(durations) < 5):
        start = time.perf_counter()
        action()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        durations.append(time.perf_counter() - start)
    return min(durations)


@torch.no_grad()
def _time_forward(params: Params, sizes: Sizes, device: torch.device) -> tuple[float, float]:
    """Return the time per token of one decoder layer, and of embeddings, last norm and head [s]."""
    import copy

    from transformers import AutoModelForCausalLM

    config = copy.deepcopy(sizes.config)
    config.num_hidden_layers = 1
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[:1]
    model = AutoModelForCausalLM.from_config(
        config, dtype=DTYPES[params.prepare.model.dtype], trust_remote_code=False
    )
    model = model.to(device).eval()
    length = params.sample.calibration.length
    numbers = 2 * length * sum(parameter.numel() for parameter in model.parameters())
    batch = max(1, min(params.covariance.batch, TOKENS // length, round(2e11 / numbers)))
    ids = torch.randint(sizes.vocabulary, (batch, length), device=device)
    decoder = model.get_decoder()
    layer = model.get_submodule(f"{sizes.family.layers}.0")
    spent = 0.0

    def enter(*_: Any) -> None:
        nonlocal spent
        spent -= time.perf_counter()

    def leave(*_: Any) -> None:
        nonlocal spent
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        spent += time.perf_counter()

    layer.register_forward_pre_hook(enter)
    layer.register_forward_hook(leave)
    timings = []
    for _ in range(3):
        spent = 0.0
        begin = time.perf_counter()
        hidden = decoder(ids, use_cache=False).last_hidden_state
        model.get_output_embeddings()(hidden)
        timings.append((spent, time.perf_counter() - begin - spent))
    layer, around = min(timings)
    return layer / ids.numel(), around / ids.numel()


def _time_factoring(
    method: Decomposer, shape: tuple[int, int], device: torch.device, *, outputs: bool
) -> float:
    """Return a decomposer's time for a matrix of this shape [s]; extrapolated for large ones."""
    scale = SMALLEST / min(shape)
    while True:
        small = shape if scale >= 1 else tuple(max(8, round(scale * side)) for side in shape)
        weight, inputs = _random(small, device, outputs=outputs)
        # A new copy of the statistics each time, so that no result is cached between calls.
        factor = lambda: factor_linear(TRIED, weight, inputs.to(device), method)  # noqa: B023, E731
        duration = _time_call(factor, device)
        if small == shape or duration > LONG or min(small) >= LARGEST:
            return duration * max(1.0, 1 / scale) ** GROWTH
        scale *= 2


def _random(
    shape: tuple[int, ...], device: torch.device, *, outputs: bool
) -> tuple[Tensor, InputStatistics]:
    """Return a random weight [out, in] and second moments of inputs (or ``outputs``) and of gradients."""
    out, columns = shape
    generator = torch.Generator().manual_seed(0)
    draw = lambda *sides: torch.randn(*sides, generator=generator, dtype=FACTORISE)  # noqa: E731
    gram = lambda side: symmetric.symmetric_product((rows := draw(2 * side, side)).T, rows)  # noqa: E731
    weight, squares = draw(out, columns), draw(columns).square()
    side = "in" if out > columns else "out"
    gradient = OutputGradient(gram(min(shape)), side, draw(out).square(), 2 * min(shape))
    inputs = InputStatistics(
        second=squares if outputs else gram(columns),
        pool_means=draw(1, columns) / columns,
        pool_tokens=torch.tensor([2 * (out if outputs else columns)]),
        absolute=squares.sqrt(),
        gradient=gradient,
        outputs=gram(out) if outputs else None,
    )
    return weight.to(device), inputs.to(device)


def _time_disk() -> tuple[float, float]:
    """Return the time per byte of writing a file in the study and of reading it, both with its digest [s]."""
    import hashlib

    data = os.urandom(FILE)
    with tempfile.NamedTemporaryFile(dir=Path(), prefix=".rankwise-") as file:
        begin = time.perf_counter()
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
        written = time.perf_counter()
        file.seek(0)
        hashlib.sha256(file.read())
        read = time.perf_counter() - written
        return (written - begin + read) / FILE, read / FILE
