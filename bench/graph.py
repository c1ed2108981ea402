"""How the job graph grows: jobs and planning time of a study of many layers and runs, nothing run.

    python bench/graph.py                   writes a block of docs/dev/performance.md
    python bench/graph.py --profile FILE    planning of the largest graph under cProfile

Four models of 80 layers are four studies of ten runs each: five decomposers, two of them with the
backward pass, two budgets, one search of 24 trials in rounds of 8. Models and texts are empty files of
the right names: a plan (`snakemake --dry-run`) looks at no weights. Every plan is a fresh process.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from document import ROOT, fill

MODELS, LAYERS = 4, 80
RUNS = """{
  svd: {decompose: svd, allocate: uniform, keep: [0.8, 0.6]},
  svd-llm: {decompose: whitened_svd, allocate: uniform, keep: [0.8, 0.6]},
  bolaco: {decompose: pooled_pca, allocate: hyperopt, keep: [0.8, 0.6]},
  closed: {decompose: kfac, allocate: least_loss, keep: [0.8, 0.6]},
  ours: {decompose: kfac_sparse, allocate: least_loss, keep: [0.8, 0.6]}}"""
SETTINGS = (
    "prepare.model.source=model", f"prepare.model.layers={LAYERS}", "prepare.tasks.source=null",
    "decompose={svd: {}, whitened_svd: {}, pooled_pca: {dense: [v]}, kfac: {}, kfac_sparse: {}}",
    "allocate={uniform: {}, hyperopt: {trials: 24, q: 8}, least_loss: {}}", f"runs={RUNS}",
)  # fmt: skip


def make_study(folder: Path, layers_per_job: int) -> None:
    """Make a study with `rankwise init`, and stand-ins for its model and texts."""
    settings = [*SETTINGS, f"compute.layers_per_job={layers_per_job}"]
    options = [word for setting in settings for word in ("--set", setting)]
    command = [sys.executable, "-m", "rankwise", "init", str(folder), "--preset", "local"]
    subprocess.run([*command, *options], check=True, capture_output=True)
    for name in ("train.txt", "test.txt", "model/config.json", "model/model.safetensors"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()


def plan(folder: Path, *python: str) -> tuple[int, float]:
    """Return the number of jobs of a dry run, and the seconds that it takes."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *python, "-m", "snakemake", "--dry-run"], cwd=folder, check=True,
        capture_output=True, text=True, env=os.environ | {"PATH": path},
    )  # fmt: skip
    seconds = time.perf_counter() - began
    [total] = set(re.findall(r"^total +(\d+)$", done.stdout + done.stderr, re.MULTILINE))
    return int(total), seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", type=Path, metavar="FILE", help="write a cProfile here")
    profile = parser.parse_args().profile
    lines = [
        "| layers in a job | jobs a study | jobs, four studies | planning, four studies | of one, longest |",
        "|---:|---:|---:|---:|---:|",
    ]
    for layers_per_job in (10, 1) if profile is None else (1,):
        with tempfile.TemporaryDirectory() as temporary:
            studies = [Path(temporary) / f"study_{number}" for number in range(MODELS)]
            for study in studies if profile is None else studies[:1]:
                make_study(study, layers_per_job)
            if profile is not None:
                plan(studies[0], "-m", "cProfile", "-o", str(profile.resolve()))
                return
            plans = [plan(study) for study in studies]
        jobs, seconds = plans[0][0], [seconds for _, seconds in plans]
        lines.append(
            f"| {layers_per_job} | {jobs:,} | {sum(found for found, _ in plans):,} "
            f"| {sum(seconds):.0f} s | {max(seconds):.1f} s |"
        )
    fill(ROOT / "docs/dev/performance.md", "graph", "\n".join(lines))


if __name__ == "__main__":
    main()
