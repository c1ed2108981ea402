"""What `rankwise plan` says before a run beside what the run then took, on three sizes of model.

    python bench/plan.py FOLDER                   writes a group of docs/dev/performance.md
    python bench/plan.py FOLDER --sizes large     another one

Models: the embedded one; and two LLaMA-shaped ones with random weights, 13 and 169 million
parameters, with the embedded tokenizer and texts. The large one has eight layers of LLaMA-2-7B, 1.9 billion
parameters in bfloat16, and one run of Bolaco's decomposition at equal shares, streamed. The plan is asked first, in a fresh process; then the
study runs, one job at a time. Memory: of the largest job of a stage, by the system's count; disk: the bytes
of the files that remain; time: the jobs of a stage, added up.
"""

import argparse
import json
import shutil
import subprocess
import sys
from contextlib import chdir
from pathlib import Path

import torch
from document import ROOT, fill
from transformers import LlamaConfig, LlamaForCausalLM

from rankwise.embedded import files
from rankwise.report.costs import read_costs
from rankwise.workflow import engines

SIZES = {
    "small": (384, 1024, 6, 4000),
    "medium": (1024, 2816, 8, 32000),
    "large": (4096, 11008, 8, 32000),
}
"""Width, inner width, layers, vocabulary."""
LARGE = "large"
RUNS = {
    "svd-80": {"decompose": "svd", "allocate": "uniform", "keep": 0.8},
    "bolaco-80": {"decompose": "pooled_pca", "allocate": "hyperopt", "keep": 0.8},
    "rankwise-80": {"decompose": "kfac", "allocate": "least_loss", "keep": 0.8},
}
ENOUGH = 1.0
"""Stages that take less are start-up and not compared in time [s]."""


SMALLER = (
    "sample.calibration.sequences=64",
    "sample.search.sequences=16",
    "sample.test.sequences=64",
    "evaluate.limit=20",
    "allocate.hyperopt.trials=8",
    "compute.layers_per_job=2",
)
SMALLEST = (
    "prepare.model.dtype=bfloat16",
    "decompose={pooled_pca: {dense: [v]}}",
    f"runs={json.dumps({'bolaco-uniform-80': RUNS['svd-80'] | {'decompose': 'pooled_pca'}})}",
    "sample.calibration.sequences=16",
    "sample.test.sequences=8",
    "covariance={pools: 8, batch: 4, streaming: true}",
    "evaluate={batch: 4, limit: 2}",
    "speed={batches: [1], length: 64, new_tokens: 2, repeats: 3}",
    "compute.layers_per_job=1",
)


def save_model(folder: Path, width: int, inner: int, layers: int, vocabulary: int) -> None:
    """Write a random LLaMA with the embedded tokenizer, the large one in bfloat16."""
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16 if folder.name.startswith(LARGE) else torch.float32)
    config = LlamaConfig(
        vocab_size=vocabulary, hidden_size=width, intermediate_size=inner, num_hidden_layers=layers,
        num_attention_heads=width // 64, max_position_embeddings=512,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(files.MODEL / name, folder)


def study(folder: Path, size: str) -> Path:
    """Make the study of one model, anew."""
    there = folder / size
    shutil.rmtree(there, ignore_errors=True)
    keys = [f"runs={json.dumps(RUNS)}", "speed.repeats=3", "build.worse_than_unigram=record"]
    if size != "embedded":
        save_model(folder / f"{size}-model", *SIZES[size])
        keys += [
            f"prepare.model.source={folder / f'{size}-model'}",
            f"prepare.model.layers={SIZES[size][2]}",
            *(SMALLEST if size == LARGE else SMALLER),
        ]
    options = [word for key in keys for word in ("--set", key)]
    command = [sys.executable, "-m", "rankwise", "init", str(there), *options]
    subprocess.run(command, check=True)
    return there


def disk(there: Path) -> int:
    """Return the bytes of a study's results and of DVC's copy of them."""
    folders = (there / "data", there / ".dvc/cache")
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return sum(path.stat().st_size for path in files)


def compare(there: Path, size: str) -> list[str]:
    """Plan, run, and return a row a stage."""
    with chdir(there):
        asked = engines.run_command(sys.executable, "-m", "rankwise", "plan", "--json")
        if asked.returncode not in (0, 3):
            raise SystemExit(asked.stderr)
        plan = json.loads(asked.stdout)
        if not Path("data/report/index.html").exists():
            words = ["run", "--cores", "1", "--anyway"]
            subprocess.run([sys.executable, "-m", "rankwise", *words], check=True)
        measured = {cost.stage: cost for cost in read_costs(Path("logs"))}
    rows = []
    for stage in plan["stages"]:
        found = measured[stage["stage"]]
        memory = stage["memory_mib"] / found.peak_mb
        time = stage["seconds"] / found.seconds
        timed = f"{stage['seconds']:.1f} | {found.seconds:.1f} | " + (
            f"{time:.2f}" if found.seconds / found.jobs > ENOUGH else "–"
        )
        rows.append(
            f"| {size} | {stage['stage']} | {stage['memory_mib']:,} | {found.peak_mb:,} | {memory:.2f} | {timed} |"
        )
    planned, real = plan["disk_mib"], disk(there) / 2**20
    rows.append(
        f"| {size} | *disk, MiB* | {planned:,} | {real:,.0f} | {planned / real:.2f} | | | |"
    )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    sizes = ["embedded", "small", "medium"]
    parser.add_argument("--sizes", nargs="+", choices=[*sizes, LARGE], default=sizes)
    parser.add_argument("--again", action="store_true", help="only plan, for runs that are there")
    given = parser.parse_args()
    folder = given.folder.resolve()
    lines = [
        "| model | stage | MiB planned | MiB taken | ratio | s planned | s taken | ratio |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for size in given.sizes:
        there = folder / size if given.again else study(folder, size)
        lines += compare(there, size)
    print(*lines, sep="\n")
    for group, of_block in (("plan", sizes), (LARGE, [LARGE])):
        if given.sizes == of_block:
            fill(ROOT / "docs/dev/performance.md", group, "\n".join(lines))


if __name__ == "__main__":
    main()
