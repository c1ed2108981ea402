"""What a search trial costs beside the forward pass it needs: ratios of one run on one machine.

    python bench/trial.py           after `make run`; writes a block of docs/dev/performance.md
    python bench/trial.py --layer [--sequences 1 8 32]     one layer of LLaMA-2-7B, random; another block

Times, in turn, (a) a forward pass of the dense model over the search text with its loss, (b) the same
of a model built at the choices, (c) a whole trial at these: setting ranks, slicing, forward pass, perplexity
and KL. (c) / (b) is what the search adds. With --layer also (d) the published trial: copy the model, factor it
anew, run it (`bench/reference.py`); the vocabulary is a 32nd of LLaMA's, as a layer is of the model.
"""

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from typing import Any

import reference
import torch
from document import ROOT, fill
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM

from rankwise.artifacts.factors import Factors, GroupFactors
from rankwise.artifacts.tokens import Tokens
from rankwise.budget.costs import Kept
from rankwise.checkpoint import loading, saving
from rankwise.checkpoint.choices import read_choices
from rankwise.decompose.factoring import largest_rank
from rankwise.evaluate.perplexity import window_losses
from rankwise.model.families import family_of
from rankwise.records.allocation import AllocationRecord
from rankwise.search.scorer import SearchModel

DATA = ROOT / "data"
PAGE = ROOT / "docs/dev/performance.md"
RUN, BATCH, REPEATS = "bolaco-80", 16, 7
LENGTH = 2048
"""Of a sequence [tokens]."""


def medians(jobs: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Call all jobs in turn; return the median time of each [s]."""
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(repeats):
        for name, job in jobs.items():
            began = time.perf_counter()
            job()
            seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(taken) for name, taken in seconds.items()}


@torch.no_grad()
def loss(model: Any, ids: torch.Tensor) -> float:
    """Return the mean negative log-likelihood over sequences [sequences, length], one at a time [nats]."""
    total = 0.0
    for part in ids.split(1):
        logits = model(part, use_cache=False).logits[0, :-1].float()
        total += float(functional.cross_entropy(logits, part[0, 1:]))
    return total / len(ids)


def embedded() -> str:
    """Return the table of a trial of the embedded study."""
    record = AllocationRecord.load(DATA / f"allocate/{RUN}.json")
    choices = read_choices(record)
    folder = DATA / "decompose/dense" / record.decompose
    factors = {
        name: f
        for path in sorted(folder.glob("*.safetensors"))
        for name, f in GroupFactors.load(path).linears.items()
    }
    ids = Tokens.load(DATA / "sample/search.safetensors").ids.long()
    dense = loading.load_model(DATA / "prepare/model.json").model
    built = loading.load_model(DATA / f"checkpoints/{RUN}.json").model
    search = SearchModel(loading.load_model(DATA / "prepare/model.json").model, factors, ids, BATCH)
    jobs = {
        "dense forward pass": lambda: window_losses(dense, ids, BATCH),
        "built forward pass": lambda: window_losses(built, ids, BATCH),
        "trial": lambda: search.score(choices),
    }
    found = medians(jobs, REPEATS)
    lines = ["| | median | of a built forward pass |", "|---|---:|---:|"]
    for name, median in found.items():
        share = median / found["built forward pass"]
        lines.append(f"| {name} | {1000 * median:.0f} ms | {share:.2f} |")
    return "\n".join(lines)


def layer(counts: list[int]) -> str:
    """Return the table of a trial of one layer of LLaMA-2-7B, over texts of several lengths."""
    torch.manual_seed(0)
    config = LlamaConfig(num_hidden_layers=1, vocab_size=1000)
    dense = LlamaForCausalLM(config).eval().requires_grad_(requires_grad=False)
    names = [linear.name for linear in family_of("LlamaForCausalLM").linears([0])]
    shapes = {name: tuple(dense.get_submodule(name).weight.shape) for name in names}
    draw = lambda *sides: torch.randn(*sides) / sides[-1] ** 0.5  # noqa: E731
    factors, choices, vectors = {}, {}, {}
    for name, (out, columns) in shapes.items():
        most = largest_rank((out, columns))
        factors[name] = Factors(draw(most, out).T, draw(most, columns), torch.ones(most))
        choices[name] = Kept(most // 2)
        vectors[name] = draw(out, out).double(), torch.zeros(out).double()
    built = copy.deepcopy(dense)
    for name, kept in choices.items():
        saving.replace_linear(built, name, factors[name], kept)
    ranks = {name: kept.rank for name, kept in choices.items()}
    rows = []
    for count in counts:
        ids = torch.randint(0, 1000, (count, LENGTH))
        search = SearchModel(copy.deepcopy(dense), factors, ids, 1)
        jobs = {
            "built": lambda ids=ids: loss(built, ids),
            "trial": lambda search=search: search.score(choices),
            "published": lambda ids=ids: loss(reference.trial(dense, vectors, ranks), ids),
        }
        jobs["built"]()  # warm
        found = medians(jobs, max(1, 5 // count))
        rows.append(
            f"| {count} | {found['built']:.2f} s | {found['trial']:.2f} s | {found['trial'] / found['built']:.3f} "
            f"| {found['published']:.2f} s | {found['published'] / found['built']:.2f} |"
        )
    return "\n".join(
        [
            f"| sequences of {LENGTH:,} | built forward pass | trial | ratio | published trial | ratio |",
            "|---:|---:|---:|---:|---:|---:|",
            *rows,
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layer", action="store_true")
    parser.add_argument("--sequences", type=int, nargs="+", default=[1, 8, 32])
    asked = parser.parse_args()
    torch.set_num_threads(2 if asked.layer else 1)
    block, found = ("trial-layer", layer(asked.sequences)) if asked.layer else ("trial", embedded())
    fill(PAGE, block, found)


if __name__ == "__main__":
    main()
