"""Ours beside the published algorithm at the proportions of LLaMA-2-7B: time, memory, bytes, error.

    python bench/scale.py --width 2048 --inner 5504     writes a block of docs/dev/performance.md

One decoder layer with random weights [width, inner], every part in a fresh process whose peak memory
is the system's own count. LLaMA-2-7B itself is --width 4096 --inner 11008: the two eigenproblems of
11008 alone then take many minutes. Also: peak memory of the streamed passes over 4 and over 12 layers.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import reference
import torch
from document import ROOT, fill
from transformers import LlamaConfig, LlamaForCausalLM

from rankwise.artifacts.factors import GroupFactors
from rankwise.artifacts.statistics import GroupStatistics
from rankwise.decompose.factoring import factor_group
from rankwise.decompose.pooled_pca import PooledPCA
from rankwise.inputs.empty_model import build_empty_dense
from rankwise.inputs.sources import hash_files
from rankwise.model.families import family_of
from rankwise.model.weights import Weights
from rankwise.params.compute import Compute
from rankwise.params.covariance import CovarianceParams
from rankwise.params.fisher import FisherParams
from rankwise.records.model import ModelManifest
from rankwise.statistics.accumulators import ACCUMULATE
from rankwise.statistics.covariance import gather_covariance
from rankwise.statistics.progress import Progress
from rankwise.statistics.streamed import Streamed
from rankwise.statistics.streamed_covariance import stream_covariance
from rankwise.statistics.streamed_fisher import stream_fisher

ARCHITECTURE = "LlamaForCausalLM"
FAMILY = family_of(ARCHITECTURE)
THREADS, SEQUENCES, LENGTH, POOLS, BATCH = 2, 32, 256, 8, 4
VOCABULARY = 8192
"""More than any width: inputs of the first layer are as many different vectors as there are tokens."""
ASKED = CovarianceParams(pools=POOLS, batch=BATCH, moments="smaller", streaming=True)
PRECISION = torch.bfloat16
"""Of factors in files: that of the weights of LLaMA-2-7B [-]."""
FEW = 8
"""Sequences for the models of 4 and of 12 layers."""
CPU = torch.device("cpu")
LAYER_BY_LAYER = Compute(layers_per_job=1)


class Clock:
    """Laps, by the wall and by this process's CPU time, which other processes disturb less [s]."""

    def __init__(self) -> None:
        self._last = self._now()

    def lap(self) -> tuple[float, float]:
        """Return the seconds since the last lap."""
        before, self._last = self._last, self._now()
        return self._last[0] - before[0], self._last[1] - before[1]

    def _now(self) -> tuple[float, float]:
        return time.perf_counter(), time.process_time()


def peak_memory() -> int:
    """Return the most memory this process has held [kB].

    Not getrusage's count, in which a new program starts with the memory of the process that started it.
    """
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    [line] = [line for line in lines if line.startswith("VmHWM:")]
    return int(line.split()[1])


def save_model(
    folder: Path, width: int, inner: int, layers: int, dtype: torch.dtype = torch.float32
) -> None:
    """Write a random LLaMA."""
    torch.manual_seed(0)
    torch.set_default_dtype(dtype)
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=width, intermediate_size=inner, num_hidden_layers=layers,
        num_attention_heads=width // 128, tie_word_embeddings=True,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    torch.set_default_dtype(torch.float32)


def text() -> torch.Tensor:
    """Return random ids [sequences, length]."""
    return torch.randint(
        0, VOCABULARY, (SEQUENCES, LENGTH), generator=torch.Generator().manual_seed(1)
    )


def manifest_of(folder: Path) -> ModelManifest:
    """Return what prepare would say of the model."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return ModelManifest(
        source=str(folder), revision=None, dtype=config["dtype"], architecture=ARCHITECTURE,
        family=FAMILY, layers=config["num_hidden_layers"], parameters=0,
        files=hash_files(folder, ("*.safetensors",)),
    )  # fmt: skip


def streamed(folder: Path, ids: torch.Tensor) -> list[Path]:
    """Gather our statistics, a layer a block."""
    manifest = manifest_of(folder)
    blocks = LAYER_BY_LAYER.layer_groups(manifest.layers)
    return stream_covariance(
        Streamed.of(manifest, CPU), ids, blocks, ASKED, Progress(folder / "work", "")
    )


def ours(folder: Path) -> dict[str, Any]:
    """Gather and decompose one layer."""
    build_empty_dense(manifest_of(folder), folder)  # what it imports is no part of the pass
    clock = Clock()
    [path] = streamed(folder, text())
    gathered = clock.lap()
    block = GroupStatistics.load(path)
    weights = Weights(folder, FAMILY)
    linears = dict(factor_group(weights, block, PooledPCA(), CPU, dtype=PRECISION))
    factored = clock.lap()
    GroupFactors("pooled_pca", [0], linears).save(folder / "factors", PRECISION)
    sizes = path.stat().st_size, (folder / "factors").stat().st_size
    return {"covariance": gathered, "decomposition": factored, "bytes": sizes}


def published(folder: Path) -> dict[str, Any]:
    """Do the same by the published algorithm; its tensors count whole, in the precision of ours."""
    names = [linear.name for linear in FAMILY.linears([0]) if linear.kind != "v"]
    clock = Clock()
    model = LlamaForCausalLM.from_pretrained(folder).eval()
    sums = reference.gather(model, names, text(), POOLS, BATCH)
    gathered = clock.lap()
    numbers = sum(covariance.numel() for covariance, _ in sums.values())
    found = reference.decompose(sums)
    ranks = {name: _rank(model.get_submodule(name).weight.shape) for name in names}
    reference.trial(model, found, ranks)
    factored = clock.lap()
    kept = {name: vectors[:, : ranks[name]].clone() for name, (vectors, _) in found.items()}
    peak = peak_memory()
    torch.save(kept, folder / "published")
    return {
        "covariance": gathered, "decomposition": factored,
        "bytes": (numbers * ACCUMULATE.itemsize, numbers * PRECISION.itemsize), "peak": peak,
    }  # fmt: skip


def layers(folder: Path) -> dict[str, Any]:
    """Stream statistics of a model of some layers."""
    streamed(folder, text()[:FEW])
    return {}


def gradients(folder: Path) -> dict[str, Any]:
    """Stream gradients of a model of some layers."""
    manifest = manifest_of(folder)
    source, blocks = Streamed.of(manifest, CPU), LAYER_BY_LAYER.layer_groups(manifest.layers)
    asked = FisherParams(batch=1, streaming=True)
    stream_fisher(source, text()[:FEW], blocks, asked, Progress(folder / "gradients", ""))
    return {}


def _rank(shape: torch.Size) -> int:
    """Return half of the break-even rank."""
    return shape[0] * shape[1] // (shape[0] + shape[1]) // 2


def largest_difference(folder: Path) -> float:
    """Return the largest relative difference of ‖W X − Ŵ X‖, bias and pooling included, over linears."""
    model = LlamaForCausalLM.from_pretrained(folder).eval()
    weights = Weights(folder, FAMILY)
    asked = CovarianceParams(pools=POOLS, batch=BATCH)
    [block] = gather_covariance(model, FAMILY, weights.get, text(), [[0]], asked)
    theirs = torch.load(folder / "published", weights_only=True)
    ours = GroupFactors.load(folder / "factors").linears
    found = []
    for linear in FAMILY.linears([0]):
        if linear.name not in theirs:
            continue
        weight = weights.get(linear.name).double()
        covariance = block.sites[0, linear.site].covariance
        rank = _rank(weight.shape)
        mine, left = ours[linear.name], theirs[linear.name].double()
        errors = []
        for near in (
            mine.left[:, :rank].double() @ mine.right[:rank].double(), left @ (left.T @ weight)
        ):  # fmt: skip
            rest = weight - near
            errors.append(float(((rest @ covariance) * rest).sum().sqrt()))
        found.append(abs(errors[0] / errors[1] - 1))
    return max(found)


def job(name: str, folder: Path) -> dict[str, Any]:
    """Run one part in a fresh process."""
    done = subprocess.run(
        [sys.executable, __file__, "--job", name, "--folder", str(folder)],
        check=True,
        stdout=subprocess.PIPE,
    )
    return json.loads(done.stdout)


def compare(width: int, inner: int) -> str:
    """Return the table of ours beside the published algorithm, and the lines below it."""
    with tempfile.TemporaryDirectory(prefix="rankwise-") as name:
        folder = Path(name)
        save_model(folder, width, inner, 1)
        mine, theirs = job("ours", folder), job("published", folder)
        difference = largest_difference(folder)
    peaks: dict[str, list[float]] = {"layers": [], "gradients": []}
    for count in (4, 12):
        with tempfile.TemporaryDirectory(prefix="rankwise-") as name:
            save_model(Path(name), width, inner, count, torch.bfloat16)
            for part, found in peaks.items():
                found.append(job(part, Path(name))["peak"] / 1024)
    rows = {
        **_times("s", 0, mine, theirs),
        **_times("CPU s", 1, mine, theirs),
        "peak memory [MB]": (mine["peak"] / 1024, theirs["peak"] / 1024),
        "statistics [MB]": (mine["bytes"][0] / 1e6, theirs["bytes"][0] / 1e6),
        "factors [MB]": (mine["bytes"][1] / 1e6, theirs["bytes"][1] / 1e6),
        "statistics and factors [MB]": (sum(mine["bytes"]) / 1e6, sum(theirs["bytes"]) / 1e6),
    }
    lines = ["| | rankwise | published | ratio |", "|---|---:|---:|---:|"]
    lines += [f"| {what} | {a:.1f} | {b:.1f} | {a / b:.3f} |" for what, (a, b) in rows.items()]
    return "\n".join(
        [
            f"One layer, width {width}, inner width {inner}, {SEQUENCES * LENGTH:,} tokens, {THREADS} threads.",
            "",
            *lines,
            "",
            f"Largest relative difference of ‖WX − ŴX‖ over the matrices, at half the break-even rank: {difference:.1e}.",
            "",
            f"Peak memory of the streamed passes over models of that width in bfloat16, {FEW * LENGTH:,} tokens, 4 and "
            f"12 layers: {_grown('covariance', *peaks['layers'])}; {_grown('fisher', *peaks['gradients'])}.",
        ]
    )


def _grown(what: str, few: float, many: float) -> str:
    return f"{what} {few:,.0f} and {many:,.0f} MB, ratio {many / few:.3f}"


def _times(unit: str, clock: int, mine: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    """Return the rows of one clock."""
    parts = ("covariance", "decomposition")
    rows = {f"{part} [{unit}]": (mine[part][clock], theirs[part][clock]) for part in parts}
    both = [sum(each[part][clock] for part in parts) for each in (mine, theirs)]
    return {**rows, f"both [{unit}]": both}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--inner", type=int, default=2752)
    parser.add_argument("--job", choices=["ours", "published", "layers", "gradients"])
    parser.add_argument("--folder", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(THREADS)
    if asked.job is None:
        fill(ROOT / "docs/dev/performance.md", "scale", compare(asked.width, asked.inner))
        return
    found = globals()[asked.job](asked.folder)
    json.dump({"peak": peak_memory(), **found}, sys.stdout)


if __name__ == "__main__":
    main()
