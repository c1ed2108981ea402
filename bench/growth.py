"""How the cost of statistics and decomposition grows with width, layers and tokens, and what that makes of 7B to 70B.

    python bench/growth.py         writes a block of docs/dev/performance.md and docs/dev/figures/growth.svg

LLaMA-shaped models with random weights, the inner width 43/16 of the width as in LLaMA-2-7B, one size varied at a
time; a fresh process each. CPU seconds, which other processes disturb little, and peak memory above that of
a process that has loaded the libraries and the empty model. Exponents are slopes of log cost over log
size by least squares over the three largest sizes. Estimates scale the largest width by them.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from document import ROOT, fill, plt
from scale import CPU, FAMILY, VOCABULARY, Clock, manifest_of, peak_memory, save_model, streamed

from rankwise.artifacts.statistics import GroupStatistics
from rankwise.decompose.factoring import factor_group
from rankwise.decompose.pooled_pca import PooledPCA
from rankwise.inputs.empty_model import build_empty_dense
from rankwise.model.weights import Weights

BASE = {"width": 512, "layers": 2, "tokens": 4096}
VARIED = {
    "width": (256, 512, 1024, 2048),
    "layers": (1, 2, 4, 8),
    "tokens": (2048, 4096, 8192, 16384),
}
LENGTH, SEQUENCES = 256, 8
"""Of a window [tokens]; of the least text, a multiple of the pools' number [-]."""
MODELS = {"LLaMA-2-7B": (4096, 32), "LLaMA-2-13B": (5120, 40), "LLaMA-2-70B": (8192, 80)}
TEXT = 256 * 2048
COSTS = {
    "covariance": "covariance, CPU s",
    "decomposition": "decomposition, CPU s",
    "memory": "memory, MB",
}


def measure(folder: Path, tokens: int) -> dict[str, float]:
    """Gather and decompose every layer; called in a fresh process."""
    build_empty_dense(manifest_of(folder), folder)
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(0, VOCABULARY, (tokens // LENGTH, LENGTH), generator=generator)
    before, clock = peak_memory(), Clock()
    paths = streamed(folder, ids)
    _, gathered = clock.lap()
    for path in paths:
        for _, factors in factor_group(
            Weights(folder, FAMILY), GroupStatistics.load(path), PooledPCA(), CPU
        ):
            factors.stored(torch.float32)
    _, factored = clock.lap()
    memory = (peak_memory() - before) / 1024
    return {"covariance": gathered, "decomposition": factored, "memory": memory}


def point(width: int, layers: int, tokens: int) -> dict[str, float]:
    """Measure one model in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="rankwise-") as name:
        save_model(Path(name), width, width * 43 // 16, layers)
        command = [sys.executable, __file__, "--folder", name, "--tokens", str(tokens)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def exponent(sizes: tuple[int, ...], costs: list[float]) -> float:
    """Return the slope of log cost over log size, over the three largest."""
    return float(np.polyfit(np.log(sizes[-3:]), np.log(costs[-3:]), 1)[0])


def draw(found: dict[str, list[dict[str, float]]], slopes: dict[str, dict[str, float]]) -> None:
    """Draw costs over sizes, both logarithmic."""
    figure, axes = plt.subplots(1, 3, figsize=(10, 4), sharey=True)
    for axis, (name, sizes) in zip(axes, VARIED.items(), strict=True):
        for cost, title in COSTS.items():
            label = f"{title}: {slopes[name][cost]:.1f}"
            axis.loglog(sizes, [each[cost] for each in found[name]], "o-", label=label)
        axis.set_xticks(sizes, [f"{size:,}" for size in sizes])
        axis.minorticks_off()
        axis.set_xlabel(name)
        axis.legend(
                fontsize=7, title="exponents", title_fontsize=7, loc="upper left",
                bbox_to_anchor=(0, -0.22),
            )  # fmt: skip
        axis.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(
        ROOT / "docs/dev/figures/growth.svg", bbox_inches="tight", metadata={"Date": None}
    )


def estimates(at: dict[str, float], slopes: dict[str, dict[str, float]]) -> list[str]:
    """Return a row a model: what one core takes by the fitted exponents, a layer in memory at a time."""
    rows = []
    largest = VARIED["width"][-1]
    for model, (width, layers) in MODELS.items():
        cost = {name: at[name] * (width / largest) ** slopes["width"][name] for name in COSTS}
        many = layers / BASE["layers"]
        text = (TEXT / BASE["tokens"]) ** slopes["tokens"]["covariance"]
        hours = cost["covariance"] * many * text / 3600, cost["decomposition"] * many / 3600
        rows.append(
            f"| {model} | {hours[0]:,.1f} | {hours[1]:,.1f} | {cost['memory'] / 1024:.1f} |"
        )
    return rows


def report() -> str:
    """Measure every point; return the tables."""
    found: dict[str, list[dict[str, float]]] = {}
    for name, sizes in VARIED.items():
        found[name] = [point(**(BASE | {name: size})) for size in sizes]
        print(name, found[name], file=sys.stderr, flush=True)
    slopes = {
        name: {cost: exponent(sizes, [each[cost] for each in found[name]]) for cost in COSTS}
        for name, sizes in VARIED.items()
    }
    draw(found, slopes)
    lines = [f"| | {' | '.join(COSTS.values())} |", "|---|---:|---:|---:|"]
    for name, sizes in VARIED.items():
        for size, each in zip(sizes, found[name], strict=True):
            numbers = " | ".join(f"{each[cost]:,.1f}" for cost in COSTS)
            lines.append(f"| {name} {size:,} | {numbers} |")
        powers = " | ".join(f"{slopes[name][cost]:.2f}" for cost in COSTS)
        lines.append(f"| *exponent over {name}* | {powers} |")
    return "\n".join(
        [
            f"Unless stated otherwise: width {BASE['width']}, {BASE['layers']} layers, {BASE['tokens']:,} tokens.",
            "",
            *lines,
            "",
            f"By these exponents, for {TEXT:,} tokens, one core of the same machine, float32, one layer in memory:",
            "",
            "| | covariance, h | decomposition, h | memory, GB |",
            "|---|---:|---:|---:|",
            *estimates(found["width"][-1], slopes),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--tokens", type=int)
    asked: Any = parser.parse_args()
    torch.set_num_threads(1)
    if asked.folder is None:
        fill(ROOT / "docs/dev/performance.md", "growth", report())
    else:
        json.dump(measure(asked.folder, asked.tokens), sys.stdout)


if __name__ == "__main__":
    main()
