"""A search in rounds on a SLURM cluster of two nodes on this machine: its time beside its critical path.

    python bench/cluster.py [--seconds 180]

Trials are stand-ins that sleep, so that eight fit beside each other on any machine; what is measured is the
engine: submission, SLURM, Snakemake on the node, and when Snakemake looks again. Needs root, Debian's
packages, and the repository's tests. Writes a block of docs/cluster.md.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from document import ROOT, fill

sys.path.insert(0, str(ROOT))
from tests.cluster.local import Cluster, why_not
from tests.workflow.studies import Study, make_study

Q, ROUNDS = 8, 2
PROFILES = ("slurm", "generic")
SETTINGS = (
    "runs={searched: {decompose: svd, allocate: hyperopt, keep: 0.6}}", "compute.layers_per_job=2",
    f"allocate.hyperopt={{multiple: 1, floor: 0.1, trials: {Q * ROUNDS}, q: {Q}, seed: 0}}",
)  # fmt: skip
START = "    log, stage, *rest = arguments[1:]\n"


def make(folder: Path, seconds: float) -> Study:
    """Make a study whose trials sleep and note when; bring it to where the search begins."""
    study = make_study(folder, quick=True, settings=SETTINGS)
    stages = study.folder / "package/rankwise/__main__.py"
    wait = (
        f"    if stage == 'trial':\n        import time; began = time.time(); time.sleep({seconds})\n"
        "        Path(log).with_suffix('.times').write_text(f'[{began}, {time.time()}]')\n"
    )
    text = stages.read_text()
    stages.write_text(
        text.replace(
            START, START + "    Path(log).parent.mkdir(parents=True, exist_ok=True)\n" + wait
        )
    )
    study.do(
        "snakemake",
        "data/decompose/dense/svd/block_0.safetensors",
        "data/sample/search.safetensors",
    )
    return study


def run(study: Study, profile: str) -> tuple[float, float, float]:
    """Search on the cluster; return its time, and means over trials: until a trial begins, until a round is over [s]."""
    rounds = [f"data/search/searched/trial_{n}.jsonl" for n in range(Q * ROUNDS)]
    began = time.time()
    study.do("snakemake", "--workflow-profile", f"profiles/{profile}", *rounds)
    took = time.time() - began
    logs = study.folder / "logs/trial/searched"
    times = [json.loads((logs / f"trial_{n}.times").read_text()) for n in range(Q * ROUNDS)]
    suggested = [
        (study.folder / f"data/search/searched/round_{n}.jsonl").stat().st_mtime
        for n in range(ROUNDS)
    ]
    waits = [at - suggested[n // Q] for n, (at, _) in enumerate(times)]
    ends = [max(end for _, end in times[n * Q : (n + 1) * Q]) for n in range(ROUNDS)]
    seen = [*suggested[1:], began + took]
    return (
        took,
        sum(waits) / len(waits),
        sum(s - e for s, e in zip(seen, ends, strict=True)) / ROUNDS,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=180.0, help="that a trial takes")
    seconds = parser.parse_args().seconds
    if reason := why_not():
        sys.exit(reason)
    lines = [
        f"| profile | {ROUNDS} rounds of {Q} trials of {seconds:.0f} s | of {ROUNDS} × {seconds:.0f} s "
        "| suggested until a trial begins, mean | last trial's end until the next suggestion, mean |",
        "|---|---:|---:|---:|---:|",
    ]
    with Cluster(nodes=2, cores=Q) as _, tempfile.TemporaryDirectory(prefix="search-") as folder:
        for profile in PROFILES:
            study = make(Path(folder) / profile, seconds)
            took, wait, after = run(study, profile)
            ratio = took / (ROUNDS * seconds)
            lines.append(
                f"| `{profile}` | {took:.0f} s | {ratio:.2f} | {wait:.1f} s | {after:.1f} s |"
            )
            print(lines[-1], flush=True)
    fill(ROOT / "docs/cluster.md", "search", "\n".join(lines))


if __name__ == "__main__":
    main()
