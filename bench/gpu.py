"""Every tensor stage on the shapes of LLaMA-2-7B, random weights made on the device: times, rates, memory.

    python bench/gpu.py                                       one GPU of 80 GB or more
    python bench/gpu.py --device cpu --width 256 --inner 688 --layers 2 --sequences 8 --length 64

Statistics and gradients of all calibration text, the decomposition of all layers, one search trial, and
generation beside the dense model. Rates stand beside that of a large product in the same run and precision; they
count the linears' own work, as does what is asked: forward passes at 0.60 of the product, statistics and
decomposition in 120 s together. Writes a block of docs/dev/performance.md unless the device is the CPU.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from document import ROOT, fill
from transformers import LlamaConfig, LlamaForCausalLM

from rankwise.artifacts.factors import Factors
from rankwise.artifacts.statistics import GroupStatistics
from rankwise.budget.costs import Kept
from rankwise.checkpoint import saving
from rankwise.decompose.factoring import factor_linear, largest_rank
from rankwise.decompose.pooled_pca import PooledPCA
from rankwise.evaluate.speed import time_calls, time_models
from rankwise.linalg.precision import FACTORISE
from rankwise.model.device import DTYPES, set_up_device
from rankwise.model.families import family_of
from rankwise.params.compute import Compute
from rankwise.params.covariance import CovarianceParams
from rankwise.params.fisher import FisherParams
from rankwise.search.scorer import SearchModel
from rankwise.statistics.covariance import gather_covariance
from rankwise.statistics.fisher import gather_fisher as gather_gradients

FAMILY = family_of("LlamaForCausalLM")
SHARE = 0.8
"""Of the break-even rank that trial and generation keep [-]."""
MIB = 2**20


@dataclass
class Bench:
    """A model on a device, and what has been measured on it."""

    model: Any
    device: torch.device
    peak_rate: float
    """Of a large product in the model's precision [FLOP/s]."""
    rows: list[str] = field(default_factory=list)

    def row(self, what: str, job: Callable[[], Any], flops: float | None = None) -> Any:
        """Run a job, note its time, its rate where its operations are counted, and its peak memory."""
        cuda = self.device.type == "cuda"
        if cuda:
            torch.cuda.reset_peak_memory_stats(self.device)
        made: list[Any] = []
        seconds = time_calls(lambda: made.append(job()), self.device)
        rate = "–" if flops is None else f"{flops / seconds / 1e12:.2f}"
        share = "–" if flops is None else f"{flops / seconds / self.peak_rate:.2f}"
        memory = f"{torch.cuda.max_memory_allocated(self.device) / MIB:,.0f}" if cuda else "–"
        self.rows.append(f"| {what} | {seconds:.2f} | {rate} | {share} | {memory} |")
        print(self.rows[-1], flush=True)
        return made[0]

    @property
    def linear_numbers(self) -> int:
        """Numbers in the linears of all layers [-]."""
        names = [linear.name for linear in FAMILY.linears(range(len(self.model.model.layers)))]
        return sum(self.model.get_submodule(name).weight.numel() for name in names)


def product_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Return the rate of a large product, the best of five [FLOP/s]."""
    side = 8192 if device.type == "cuda" else 1024
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    return 2 * side**3 / min(time_calls(lambda: a @ b, device) for _ in range(5))


def random_model(config: LlamaConfig, device: torch.device, dtype: torch.dtype) -> Any:
    """Return a LLaMA made on the device."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with device:
            return LlamaForCausalLM(config).eval().requires_grad_(requires_grad=False)
    finally:
        torch.set_default_dtype(before)


def decomposed(model: Any, blocks: list[GroupStatistics], device: torch.device) -> dict[str, Any]:
    """Return the factors of all linears, in the model's precision, on the CPU."""
    found, method = {}, PooledPCA()
    for block in blocks:
        for linear in FAMILY.linears(block.layers):
            if linear.kind in method.dense:
                continue
            weight = model.get_submodule(linear.name).weight.to(FACTORISE)
            site = block.sites[linear.layer, linear.site]
            inputs = replace(site, outputs=block.outputs.get(linear.name)).to(device)
            factors = factor_linear(linear, weight, inputs, method)
            found[linear.name] = factors.to(torch.device("cpu")).stored(model.dtype)
    return found


def gathered(bench: Bench, ids: torch.Tensor, asked: argparse.Namespace) -> dict[str, Factors]:
    """Measure forward passes, statistics, decomposition and gradients; return the factors."""
    model = bench.model
    weight_of = lambda name: model.get_submodule(name).weight  # noqa: E731
    given = model, FAMILY, weight_of, ids, [[layer] for layer in range(asked.layers)]
    flops = 2 * ids.numel() * bench.linear_numbers

    @torch.no_grad()
    def forward() -> None:
        for part in ids.split(asked.batch):
            model.get_decoder()(part.to(bench.device), use_cache=False)

    bench.row("forward passes", forward, flops)
    wanted = CovarianceParams(pools=asked.pools, batch=asked.batch, moments="smaller")
    sums = bench.row("covariance", partial(gather_covariance, *given, wanted), flops)
    factors: dict[str, Factors] = bench.row(
        "decomposition", partial(decomposed, model, sums, bench.device)
    )
    once = FisherParams(batch=1)
    bench.row("fisher", partial(gather_gradients, *given, once), 2 * flops)
    return factors


def searched(
    bench: Bench, ids: torch.Tensor, factors: dict[str, Factors], ranks: dict[str, int]
) -> None:
    """Measure one trial."""
    dense = random_model(bench.model.config, bench.device, bench.model.dtype)
    dense.load_state_dict(bench.model.state_dict())
    search = SearchModel(dense, factors, ids, min(4, len(ids)))
    choices = {name: Kept(rank) for name, rank in ranks.items()}
    bench.row(f"a trial, {len(ids)} sequences", partial(search.score, choices))


def generated(
    bench: Bench, ids: torch.Tensor, factors: dict[str, Factors], ranks: dict[str, int]
) -> None:
    """Measure generation beside the dense model."""
    smaller = random_model(bench.model.config, bench.device, bench.model.dtype)
    smaller.load_state_dict(bench.model.state_dict())
    for name, linear in factors.items():
        saving.replace_linear(smaller, name, linear.to(bench.device), Kept(ranks[name]))
    for batch in (1, 8):
        ours, theirs = time_models([smaller, bench.model], ids[:batch, :128], 32, 3)
        ratio = ours.decode.median / theirs.decode.median
        bench.rows.append(
            f"| generation, {batch} at once: {ours.decode.median:.0f} tokens/s, dense "
            f"{theirs.decode.median:.0f}, ratio {ratio:.2f} | – | – | – | – |"
        )


def run(asked: argparse.Namespace) -> list[str]:
    """Measure every stage; return the table."""
    torch.manual_seed(0)
    device = set_up_device(Compute(device=asked.device, threads=asked.threads))
    config = LlamaConfig(
        hidden_size=asked.width, intermediate_size=asked.inner, num_hidden_layers=asked.layers,
        num_attention_heads=max(1, asked.width // 128), max_position_embeddings=asked.length + 64,
    )  # fmt: skip
    model = random_model(config, device, DTYPES[asked.dtype])
    bench = Bench(model, device, product_rate(device, model.dtype))
    ids = torch.randint(config.vocab_size, (asked.sequences, asked.length))
    factors = gathered(bench, ids, asked)
    ranks = {name: int(SHARE * largest_rank(linear.shape)) for name, linear in factors.items()}
    searched(bench, ids[: asked.trial], factors, ranks)
    generated(bench, ids, factors, ranks)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    return [
        f"{name}, {asked.dtype}; {asked.layers} layers of {asked.width} and {asked.inner}, {ids.numel():,} tokens; "
        f"a large product runs at {bench.peak_rate / 1e12:.2f} TFLOP/s.",
        "",
        "| stage | seconds | TFLOP/s of the linears | of a product | peak MiB |",
        "|---|---:|---:|---:|---:|",
        *bench.rows,
    ]


def main(arguments: list[str] | None = None) -> list[str]:
    parser = argparse.ArgumentParser(description=__doc__)
    sizes = {"width": 4096, "inner": 11008, "layers": 32, "sequences": 256, "length": 2048}
    for name, value in {**sizes, "batch": 4, "pools": 8, "trial": 8, "threads": 1}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", choices=list(DTYPES), default="bfloat16")
    asked = parser.parse_args(arguments)
    lines = run(asked)
    print("\n".join(lines))
    if asked.device != "cpu":
        fill(ROOT / "docs/dev/performance.md", "gpu", "\n".join(lines))
    return lines


if __name__ == "__main__":
    main()
