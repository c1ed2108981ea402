"""Every method beside every other: one study a calibration seed, a run a method and budget.

    python bench/methods.py FOLDER [--model embedded|wikitext] [--keeps 0.8 0.6] [--seeds 0 1 2] [--only NAME ...]
    python bench/document.py --methods FOLDER      writes the table of docs/results.md

The studies are ordinary ones, in FOLDER/seed-<n>: run again, only what is missing is done. Model
``wikitext`` is a small real-English LLaMA on WikiText-2, with a C4 sample as a second text; data are
found under RANKWISE_DATA (default ../shared/data).
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

DECOMPOSE: dict[str, dict[str, Any]] = {
    "svd": {},
    "asvd": {},
    "whitened_svd": {},
    "pooled_pca": {"dense": ["v"]},
    "robust_pca": {},
    "curvature": {},
}
SHARES = {"q": 0.4, "k": 0.4, "v": 1.0, "o": 0.6, "gate": 0.9, "up": 0.9, "down": 0.9}
"""For `manual`: a table as LoRD uses one, our own figures."""
SEARCH = {"depth_groups": 4, "trials": 50}
ALLOCATE: dict[str, dict[str, Any]] = {
    "uniform": {},
    "manual": {"shares": SHARES},
    "energy": {},
    "pareto": {},
    "effective_rank": {},
    "mgaa": {},
    "hyperopt": SEARCH,
    "gp": SEARCH,
    "policy_gradient": {},
    "curvature": {},
    "around": {"method": "gp", "space": "losses", "depth_groups": 4, "trials": 50},
}
RUNS: dict[str, dict[str, Any]] = {
    "svd": {"decompose": "svd", "allocate": "uniform"},
    "asvd": {"decompose": "asvd", "allocate": "uniform"},
    "svd-llm": {"decompose": "whitened_svd", "allocate": "uniform"},
    "d-rank": {"decompose": "whitened_svd", "allocate": "effective_rank"},
    "pgsvd": {"decompose": "whitened_svd", "allocate": "pareto"},
    "mgaa": {"decompose": "whitened_svd", "allocate": "mgaa"},
    "pca": {"decompose": "pooled_pca", "allocate": "uniform"},
    "lord": {"decompose": "pooled_pca", "allocate": "manual"},
    "energy": {"decompose": "pooled_pca", "allocate": "energy"},
    "bolaco-tpe": {"decompose": "pooled_pca", "allocate": "hyperopt"},
    "bolaco": {"decompose": "pooled_pca", "allocate": "gp"},
    "oats": {"decompose": "oats", "allocate": "uniform"},
    "rpca": {"decompose": "robust_pca", "allocate": "uniform"},
    "cap": {"decompose": "robust_pca", "allocate": "policy_gradient"},
    "ours-1": {"decompose": "curvature", "allocate": "curvature"},
    "ours": {"decompose": "curvature", "allocate": "curvature", "steps": 4},
    "ours-search": {
        "decompose": "curvature",
        "allocate": "around",
        "steps": 4,
        "steps_allocate": "curvature",
    },
}
REFINED = ("svd", "svd-llm", "mgaa", "bolaco", "cap", "ours", "ours-search")
"""Runs that are also refined by `blockwise`."""


def runs(keeps: list[float], only: list[str]) -> dict[str, dict[str, Any]]:
    """Every method at every budget; OATS factors for one budget, so it has a section for each."""
    found = {}
    for keep in keeps:
        here = {}
        for name, run in RUNS.items():
            here[name] = {**run, "keep": keep}
            if run["decompose"] == "oats":
                here[name]["decompose"] = f"oats-{percent(keep)}"
        for name in REFINED:
            here[f"{name}-refined"] = {"refine": "blockwise", "of": f"{name}-{percent(keep)}"}
        found |= {f"{n}-{percent(keep)}": run for n, run in here.items() if not only or n in only}
    return found


def percent(keep: float) -> int:
    return round(100 * keep)


def settings(model: str, given: argparse.Namespace, seed: int) -> list[str]:
    """The keys that differ from the preset."""
    multiple = {"multiple": 2}
    decompose = DECOMPOSE | {
        f"oats-{percent(keep)}": {"method": "oats", "keep": keep} for keep in given.keeps
    }
    allocate = {name: {**fields, **multiple} for name, fields in ALLOCATE.items()}
    found = [
        f"decompose={json.dumps(decompose)}",
        f"allocate={json.dumps(allocate)}",
        "refine={blockwise: {learning_rate: 0.002, batch: 8, epochs: 4}}",
        f"runs={json.dumps(runs(given.keeps, given.only))}",
        f"report.title=Every method, {model}, calibration seed {seed}",
    ]
    return found + (wikitext() if model == "wikitext" else []) + [f"sample.calibration.seed={seed}"]


def wikitext() -> list[str]:
    """Model and texts of the WikiText-2 study."""
    data = Path(os.environ.get("RANKWISE_DATA", "../shared/data")).resolve()
    corpora = {
        "train": {"source": str(data / "wikitext-2/train.txt"), "characters": 4_000_000},
        "test": {"source": str(data / "wikitext-2/test.txt")},
        "c4": {"source": str(data / "c4/c4-sample-1000.json"), "characters": 400_000},
    }
    window = {"length": 256, "seed": 0}
    return [
        f"prepare.model={{source: {data / 'models/wiki-llama-5m'}, layers: 6}}",
        f"prepare.corpora={json.dumps(corpora)}",
        "prepare.tasks={source: null}",
        f"sample.calibration={json.dumps({'corpus': 'train', 'sequences': 256, **window})}",
        f"sample.search={json.dumps({'corpus': 'train', 'sequences': 32, **window})}",
        "sample.test={corpus: test, length: 256, sequences: 160, seed: 0}",
        "sample.further={c4: {corpus: c4, length: 256, sequences: 160, seed: 0}}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", choices=("embedded", "wikitext"), default="embedded")
    parser.add_argument("--keeps", type=float, nargs="+", default=[0.8, 0.6, 0.5])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="*", default=[], help="names of runs; default: all")
    given = parser.parse_args()
    rankwise = [sys.executable, "-m", "rankwise"]
    preset = "embedded" if given.model == "embedded" else "local"
    for seed in given.seeds:
        study = given.folder / f"seed-{seed}"
        if not study.exists():
            options = [w for s in settings(given.model, given, seed) for w in ("--set", s)]
            subprocess.run(
                [*rankwise, "init", str(study), "--preset", preset, *options], check=True
            )
        subprocess.run([*rankwise, "run"], cwd=study, check=True)


if __name__ == "__main__":
    main()
