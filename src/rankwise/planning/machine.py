"""How large and how fast this machine is: a probe of some seconds."""

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
from rankwise.decompose.factoring import FACTORISE, factor_linear
from rankwise.forkserver.server import PRELOADED
from rankwise.linalg import factorisations
from rankwise.model.device import DTYPES, set_up_device
from rankwise.model.family import Linear
from rankwise.params.stages import Params
from rankwise.planning.sizes import Sizes, shapes_by_outputs
from rankwise.planning.study import gathered
from rankwise.validation.params import instantiate_method

LONG = 0.25
"""A measurement is long enough when it takes this much [s]."""
SMALLEST, LARGEST = 64, 1024
"""Smaller sides of the matrices that decomposers are tried on."""
GROWTH = 2.8
"""Power of a matrix's side with which a decomposer's time grows: 2.4 from 512 on, 2.9 from 2048 on [-]."""
TRIED = Linear("probe", 0, "probe", "probe", "probe")
TOKENS = 2048
"""Tokens that one layer is tried on, at most."""
FILE = 2**26
"""Size of the file that is written and read [bytes]."""


@dataclass(frozen=True)
class Room:
    """What this machine has to give, now."""

    memory: int
    """Main memory that is free or can be freed [bytes]."""
    disk: int
    """On the file system of the study: free, or held by its results, which new ones replace [bytes]."""
    gpu: int
    """Free memory of the device that the study computes on, 0 on the CPU [bytes]."""

    @classmethod
    def here(cls, device: str) -> "Room":
        """Ask the system; a limit of a control group counts."""
        found = {
            line.split(":")[0]: int(line.split()[1]) * 1024
            for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        }
        memory = min(found["MemAvailable"], _group_limit())
        there = device != "cpu" and torch.cuda.is_available()
        gpu = torch.cuda.mem_get_info(torch.device(device))[0] if there else 0
        held = sum(_bytes(Path(folder)) for folder in ("data", ".dvc/cache"))
        return cls(memory, shutil.disk_usage(Path()).free + held, gpu)


def _bytes(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())


def libraries() -> int:
    """Return what the libraries of a stage take in memory, as this process finds when it loads them [bytes].

    To be asked before `probe`, which takes more. Jobs are forked from one process: of the libraries' files
    a job has those pages that it uses, about a third.
    """
    for module in PRELOADED:
        importlib.import_module(module)
    status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    found = {line.split(":")[0]: line.split()[1] for line in status if line.startswith("Rss")}
    return 1024 * (int(found["RssAnon"]) + int(found["RssFile"]) // 3)


def _group_limit(folder: Path = Path("/sys/fs/cgroup")) -> int:
    """Return what a control group leaves to this process [bytes]; without one, no limit."""
    limit = folder / "memory.max"
    text = limit.read_text(encoding="ascii").strip() if limit.is_file() else "max"
    if text == "max":
        return 2**62
    return int(text) - int(limit.with_name("memory.current").read_text(encoding="ascii"))


@dataclass(frozen=True)
class Speed:
    """Measured times, from which those of the study are extrapolated."""

    layer: float
    """Forward pass of one decoder layer, per token [s]."""
    head: float
    """Embeddings, last norm and head, per token [s]."""
    product: float
    """A multiplication and addition of float32 matrices [s]."""
    write: float
    """Writing a file and its digest, per byte [s]."""
    read: float
    """Reading one and its digest, per byte [s]."""
    factoring: dict[tuple[str, tuple[int, int]], float]
    """Section of decompose and shape [out, in] → one matrix [s]."""


def probe(params: Params, sizes: Sizes) -> Speed:
    """Measure on the device and with the threads that the study names.

    One decoder layer of the model with random weights, on a few tokens; products; a file; every
    decomposer on matrices of the model's shapes or, where those take too long, on smaller ones of the same
    proportions (`_factoring`).
    """
    device = set_up_device(params.compute)
    layer, head = _forward(params, sizes, device)
    square = torch.randn(1024, 1024, device=device)
    product = _seconds(lambda: square @ square, device) / 1024**3
    factoring = {}
    by_outputs = shapes_by_outputs(sizes.matrices, gathered(params))
    for name in dict.fromkeys(run.decompose for run in params.compressions().values()):
        method = instantiate_method(params, "decompose", name)
        for shape in sizes.shapes():
            outputs = shape in by_outputs
            factoring[name, shape] = _factoring(method, shape, device, outputs=outputs)
    return Speed(layer, head, product, *_disk(), factoring)


def _seconds(action: Callable[[], Any], device: torch.device) -> float:
    """Return what an action takes: the least of some calls, the first not counted unless it is long [s]."""
    taken: list[float] = []
    begin = time.perf_counter()
    while not taken or (time.perf_counter() - begin < LONG and len(taken) < 5):
        before = time.perf_counter()
        action()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.append(time.perf_counter() - before)
    return min(taken)


@torch.no_grad()
def _forward(params: Params, sizes: Sizes, device: torch.device) -> tuple[float, float]:
    """Return seconds a token of one decoder layer, and of what is around the layers."""
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
    found = []
    for _ in range(3):
        spent = 0.0
        begin = time.perf_counter()
        hidden = decoder(ids, use_cache=False).last_hidden_state
        model.get_output_embeddings()(hidden)
        found.append((spent, time.perf_counter() - begin - spent))
    layer, around = min(found)
    return layer / ids.numel(), around / ids.numel()


def _factoring(
    method: Decomposer, shape: tuple[int, int], device: torch.device, *, outputs: bool
) -> float:
    """Return what a decomposer takes for a matrix of this shape [s]; a large one from a smaller of its proportions."""
    scale = SMALLEST / min(shape)
    while True:
        small = shape if scale >= 1 else tuple(max(8, round(scale * side)) for side in shape)
        weight, inputs = _random(small, device, outputs=outputs)
        # Each time with statistics of its own: what a site's linears share is found anew.
        tried = lambda: factor_linear(TRIED, weight, inputs.to(device), method)  # noqa: B023, E731
        taken = _seconds(tried, device)
        if small == shape or taken > LONG or min(small) >= LARGEST:
            return taken * max(1.0, 1 / scale) ** GROWTH
        scale *= 2


def _random(
    shape: tuple[int, ...], device: torch.device, *, outputs: bool
) -> tuple[Tensor, InputStatistics]:
    """Return a random weight [out, in] and moments of its inputs, or of its ``outputs``, and of gradients."""
    out, columns = shape
    generator = torch.Generator().manual_seed(0)
    draw = lambda *sides: torch.randn(*sides, generator=generator, dtype=FACTORISE)  # noqa: E731
    gram = lambda side: factorisations.symmetric_product((rows := draw(2 * side, side)).T, rows)  # noqa: E731
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


def _disk() -> tuple[float, float]:
    """Return seconds a byte of writing a file in the study, and of reading it, its digest included in both."""
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
