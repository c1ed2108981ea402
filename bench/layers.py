"""Whether layers of LLaMA-2-7B's shapes gain what their FLOPs promise: ratios of one run on one machine.

    python bench/layers.py [--keep 0.5] [--multiples 1 16 64] [--tokens 512] [--layers 1]

Random weights, so no model is needed. Times the prefill of decoder layers as transformers has them,
dense and with every linear factored, in turn, until the quartiles of each lie within ``TIGHT`` of its
median. A pass beside which other processes took more than ``OTHERS`` of the CPUs is taken again. The promise is the ratio of FLOPs, attention's products included; reached / promised is what a
multiple of ranks makes of it. Writes a block of docs/dev/performance.md. On a GPU where there is one.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from document import ROOT, fill
from torch import nn
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaDecoderLayer, LlamaRotaryEmbedding

from rankwise.evaluate.speed import interleave, time_calls
from rankwise.hub.linears import LowRankLinear

CONFIG = LlamaConfig(
    hidden_size=4096,
    intermediate_size=11008,
    num_attention_heads=32,
    num_hidden_layers=1,
    attn_implementation="sdpa",
)
TIGHT = 0.02
"""Half the distance between quartiles, of the median [-]."""
OTHERS, TRIES = 0.03, 2000
"""Share of the CPUs that other work may take beside a pass [-]; passes before that is given up [-]."""
ROUND, MOST = 5, 40
"""Repeats before the quartiles are looked at again, and at most [-]."""


class Layers(nn.Module):
    """Decoder layers behind each other, with the tables that they need."""

    def __init__(self, count: int, keep: float | None, multiple: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(LlamaDecoderLayer(CONFIG, 0) for _ in range(count))
        self.rotary = LlamaRotaryEmbedding(CONFIG)
        for name, linear in list(self.named_modules()):
            if isinstance(linear, nn.Linear) and keep is not None:
                rank = rank_at(keep, linear.out_features, linear.in_features, multiple)
                sizes = linear.in_features, linear.out_features, rank
                self.set_submodule(name, LowRankLinear(*sizes, bias=False))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        places = torch.arange(x.shape[1], device=x.device)[None]
        tables = self.rotary(x, places)
        for layer in self.layers:
            x = layer(x, position_embeddings=tables)
        return x

    def flops(self, tokens: int) -> int:
        """Multiplications and additions of one sequence: linears, and attention's two products.

        Of the products half, since a token sees only those before it.
        """
        numbers = sum(p.numel() for p in self.parameters() if p.ndim == 2)
        return 2 * tokens * numbers + len(self.layers) * 2 * tokens**2 * CONFIG.hidden_size


def rank_at(keep: float, out: int, columns: int, multiple: int) -> int:
    """Return the multiple nearest to the rank that keeps this share."""
    rank = keep * out * columns / (out + columns)
    return max(multiple, round(rank / multiple) * multiple)


@torch.no_grad()
def measure(
    layers: int, keep: float, multiples: list[int], tokens: int, dtype: torch.dtype, device: str
) -> list[str]:
    """Return a row a multiple: what is promised and what is reached."""
    torch.set_default_dtype(dtype)
    torch.set_default_device(device)
    models = [Layers(layers, None, 1), *(Layers(layers, keep, m) for m in multiples)]
    x = torch.randn(1, tokens, CONFIG.hidden_size)
    torch.set_default_dtype(torch.float32)
    torch.set_default_device("cpu")
    jobs = [partial(undisturbed, partial(model.eval(), x), x.device) for model in models]
    seconds: list[list[float]] = [[] for _ in jobs]
    while len(seconds[0]) < MOST and not all(map(tight, seconds)):
        for taken, new in zip(seconds, interleave(jobs, ROUND), strict=True):
            taken.extend(new)
    medians = [statistics.median(taken) for taken in seconds]
    promised = [models[0].flops(tokens) / model.flops(tokens) for model in models]
    rows = []
    name = str(dtype).removeprefix("torch.")
    for multiple, model, median, promise, taken in zip(
        [0, *multiples], models, medians, promised, seconds, strict=True
    ):
        reached = medians[0] / median
        rate = model.flops(tokens) / median / 1e9
        label = f"ranks in multiples of {multiple}" if multiple else "dense"
        rows.append(
            f"| {device}, {name} | {label} | {1e3 * median:.0f} ms ± {100 * spread(taken):.1f} % | {rate:,.0f} "
            f"| {promise:.3f} | {reached:.3f} | {reached / promise:.2f} |"
        )
    return rows


def undisturbed(job: Callable[[], torch.Tensor], device: torch.device) -> float:
    """Return the seconds of a pass that had the machine to itself."""
    for _ in range(TRIES):
        (busy, every), own = cpu_time(), time.process_time()
        seconds = time_calls(job, device)
        (busy_after, every_after), own_after = cpu_time(), time.process_time()
        others = busy_after - busy - (own_after - own)
        if others <= OTHERS * (every_after - every):
            return seconds
        time.sleep(1)
    raise SystemExit("other processes never let a pass have the machine to itself; try later")


def cpu_time() -> tuple[float, float]:
    """Return the time of all CPUs that was not idle, and all of it, since the machine started [s]."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    tick = os.sysconf("SC_CLK_TCK")
    return (sum(fields) - fields[3] - fields[4]) / tick, sum(fields) / tick


def spread(taken: list[float]) -> float:
    """Return half the distance between quartiles, of the median [-]."""
    low, middle, high = statistics.quantiles(taken, n=4, method="inclusive")
    return (high - low) / 2 / middle


def tight(taken: list[float]) -> bool:
    """Tell whether there are enough repeats, and close together."""
    return len(taken) >= 2 * ROUND and spread(taken) < TIGHT


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", type=float, default=0.5)
    parser.add_argument("--multiples", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--layers", type=int, default=1, help="as many as fit")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    lines = [
        "| where | linears | prefill, median and half the quartiles' distance | GFLOP/s | promised | reached | of it |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for device in ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]:
        for dtype in (torch.float32, torch.bfloat16):
            lines += measure(given.layers, given.keep, given.multiples, given.tokens, dtype, device)
            print(*lines[-1 - len(given.multiples) :], sep="\n", flush=True)
    fill(ROOT / "docs/dev/performance.md", "layers", "\n".join(lines))


if __name__ == "__main__":
    main()
