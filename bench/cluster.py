"""A search in rounds on a SLURM cluster of two nodes on this machine: its time beside its critical path.

    python bench/cluster.py [--seconds 60 300 490]

Trials are stand-ins that sleep, so that eight fit beside each other on any machine; what is measured is the
engine: submission, SLURM, Snakemake on the node, and when Snakemake looks again. Needs root, Debian's
packages, and the repository's tests. Writes a block of docs/cluster.md; rows of other lengths stay there.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import datetime
from itertools import product
from pathlib import Path

from document import ROOT, fill

sys.path.insert(0, str(ROOT))
from tests.workflow.studies import Study, make_study
from tools.cluster.local import Cluster, why_not

Q, ROUNDS = 8, 2
PROFILES = ("slurm", "generic")
SETTINGS = (
    "runs={searched: {decompose: svd, allocate: hyperopt, keep: 0.6}}", "compute.layers_per_job=2",
    f"allocate.hyperopt={{multiple: 1, floor: 0.1, trials: {Q * ROUNDS}, q: {Q}, seed: 0}}",
)  # fmt: skip
START = "    log, stage, *rest = arguments[1:]\n"
HEAD = (
    f"| a trial | profile | {ROUNDS} rounds of {Q} | of the trials alone | of the critical path "
    "| submission | on the node | until noticed | overhead a job | load before |\n"
    "|---:|---" + 8 * "|---:" + "|"
)


@dataclass(frozen=True)
class Wave:
    """Jobs that are submitted together, a suggestion or its trials: when what happened, of the job that is last."""

    submitted: float
    """By SLURM, the first of them, in whole seconds."""
    started: float
    """By SLURM, on a node, in whole seconds."""
    began: float
    """The stage, after Snakemake and Python have come up there."""
    ended: float
    """The stage."""


def make(folder: Path, seconds: int) -> Study:
    """Make a study whose search notes when, and whose trials sleep; bring it to where the search begins."""
    study = make_study(folder, quick=True, settings=SETTINGS)
    stages = study.folder / "package/rankwise/__main__.py"
    note = (
        "    import time; began = time.time(); Path(log).parent.mkdir(parents=True, exist_ok=True)\n"
        f"    if stage == 'trial':\n        time.sleep({seconds})\n"
        "    Path(log).with_suffix('.times').write_text(f'[{began}, {time.time()}]')\n"
    )
    text = stages.read_text()
    stages.write_text(text.replace(START, START + note))
    study.do(
        "snakemake",
        "data/decompose/dense/svd/group_0.safetensors",
        "data/sample/search.safetensors",
    )
    return study


def run(study: Study, profile: str) -> tuple[float, list[Wave], list[float]]:
    """Search on the cluster; return its time, its waves, and how long each stayed unnoticed [s]."""
    rows = [f"data/search/searched/trial_{n}.jsonl" for n in range(Q * ROUNDS)]
    began = time.time()
    study.do("snakemake", "--workflow-profile", f"profiles/{profile}", *rows)
    over = time.time()
    left = [job for job in jobs() if job[0] >= int(began)]
    waves = []
    for n in range(ROUNDS):
        trials = [f"trial/searched/trial_{t}" for t in range(n * Q, (n + 1) * Q)]
        for names in ([f"suggest/searched/round_{n}"], trials):
            own, left = left[: len(names)], left[len(names) :]
            files = [study.folder / f"logs/{name}.times" for name in names]
            stages = [json.loads(file.read_text()) for file in files]
            began_last, ended_last = (max(times) for times in zip(*stages, strict=True))
            first, last = min(at for at, _ in own), max(at for _, at in own)
            waves.append(Wave(first, last, began_last, ended_last))
    if left:
        sys.exit(f"{profile}: {len(left)} jobs ran a second time; run it again")
    noticed = [*(wave.submitted for wave in waves[1:]), over]
    return over - began, waves, [at - w.ended for at, w in zip(noticed, waves, strict=True)]


def jobs() -> list[tuple[float, float]]:
    """Return when SLURM was given every job that it knows, the oldest first, and when it started it."""
    words = ["squeue", "--noheader", "--states=all", "--sort=i", "--format=%V %S"]
    lines = subprocess.run(words, check=True, capture_output=True, text=True).stdout.splitlines()
    times = [[datetime.fromisoformat(word).timestamp() for word in line.split()] for line in lines]
    return [(given, started) for given, started in times]


def row(profile: str, seconds: int, study: Study) -> str:
    """Measure one search; return its row."""
    load = os.getloadavg()[0]
    took, waves, unnoticed = run(study, profile)
    alone = ROUNDS * seconds
    submission = [wave.started - wave.submitted for wave in waves]
    starting = [wave.began - wave.started for wave in waves]
    ratios = f"{took / alone:.2f} | {took / (alone + sum(submission)):.2f}"
    means = [sum(part) / len(waves) for part in (submission, starting, unnoticed)]
    parts = " | ".join(f"{mean:.1f} s" for mean in [*means, (took - alone) / len(waves)])
    return f"| {seconds} s | `{profile}` | {took:.0f} s | {ratios} | {parts} | {load:.1f} |"


def there(page: Path) -> dict[tuple[int, str], str]:
    """Return the rows that a page has: length of a trial, profile → row."""
    block = page.read_text(encoding="utf-8").partition("<!-- begin search -->")[2]
    lines = block.partition("<!-- end search -->")[0].splitlines()
    known = [(re.match(r"\| (\d+) s \| `(\w+)` ", line), line) for line in lines]
    return {(int(key[1]), key[2]): line for key, line in known if key}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, nargs="+", default=[60, 300, 490], help="a trial")
    lengths = parser.parse_args().seconds
    if reason := why_not():
        sys.exit(reason)
    page = ROOT / "docs/cluster.md"
    with Cluster(nodes=2, cores=Q) as _, tempfile.TemporaryDirectory(prefix="search-") as folder:
        for seconds, profile in product(lengths, PROFILES):
            study = make(Path(folder) / f"{profile}-{seconds}", seconds)
            line = row(profile, seconds, study)
            print(line, flush=True)
            rows = sorted((there(page) | {(seconds, profile): line}).items())
            fill(page, "search", "\n".join([HEAD, *(line for _, line in rows)]))


if __name__ == "__main__":
    main()
