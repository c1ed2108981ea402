"""What a search trial costs beside the forward pass it needs: ratios of one run on one machine.

    python bench/trial.py          after `make run`; writes a block of docs/performance.md

Times, in turn, (a) a forward pass of the dense model over the search text with its loss, (b) the same
of a checkpoint built at the choices, (c) a whole trial at these: setting ranks, slicing, forward
pass, perplexity and KL. (c) / (b) is what the search adds.
"""

import statistics
import time

import torch
from document import ROOT, fill

from rankwise import checkpoint
from rankwise.allocation import choices_of
from rankwise.artifacts import BlockFactors, Tokens
from rankwise.evaluate.perplexity import window_losses
from rankwise.records import AllocationRecord
from rankwise.search import SearchModel

DATA = ROOT / "data"
RUN, BATCH, REPEATS = "bolaco-80", 16, 7


def main() -> None:
    torch.set_num_threads(1)
    record = AllocationRecord.load(DATA / f"allocate/{RUN}.json")
    choices = choices_of(record)
    folder = DATA / "decompose/dense" / record.decompose
    factors = {
        name: f
        for path in sorted(folder.glob("*.safetensors"))
        for name, f in BlockFactors.load(path).linears.items()
    }
    ids = Tokens.load(DATA / "sample/search.safetensors").ids.long()
    dense = checkpoint.load(DATA / "prepare/model.json").model
    built = checkpoint.load(DATA / f"checkpoints/{RUN}.json").model
    search = SearchModel(checkpoint.load(DATA / "prepare/model.json").model, factors, ids, BATCH)
    jobs = {
        "dense forward pass": lambda: window_losses(dense, ids, BATCH),
        "built forward pass": lambda: window_losses(built, ids, BATCH),
        "trial": lambda: search.score(choices),
    }
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(REPEATS):
        for name, job in jobs.items():
            began = time.perf_counter()
            job()
            seconds[name].append(time.perf_counter() - began)
    medians = {name: statistics.median(taken) for name, taken in seconds.items()}
    lines = ["| | median | of a built forward pass |", "|---|---:|---:|"]
    for name, median in medians.items():
        share = median / medians["built forward pass"]
        lines.append(f"| {name} | {1000 * median:.0f} ms | {share:.2f} |")
    fill(ROOT / "docs/performance.md", "trial", "\n".join(lines))


if __name__ == "__main__":
    main()
