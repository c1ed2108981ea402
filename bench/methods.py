"""Every method beside every other: one study a calibration seed, a run a method and budget.

    python bench/methods.py FOLDER [--model embedded|wikitext] [--keeps 0.8 0.6] [--seeds 0 1 2] [--only NAME ...]
    python bench/table.py FOLDER …      writes the tables of docs/results.md

The studies are ordinary ones, in FOLDER/<model>-<seed>, of which everything up to the scores is run;
called again, only what is missing is done. Model ``wikitext`` is a small real-English LLaMA on
WikiText-2, with a C4 sample as a second text and ARC-Easy and PIQA; data are found under RANKWISE_DATA
(default ../shared/data).
"""

import argparse
import json
import os
import subprocess
import sys
from contextlib import chdir
from pathlib import Path
from typing import Any

from rankwise.commands.init import with_settings
from rankwise.files.atomic import write_if_changed
from rankwise.forkserver.launch import fork_server
from rankwise.params.names import DENSE
from rankwise.workflow import engines

DECOMPOSE: dict[str, dict[str, Any]] = {
    "svd": {},
    "asvd": {},
    "whitened_svd": {},
    "pooled_pca": {"dense": ["v"]},
    "robust_pca": {},
    "fisher": {},
    "kfac_sparse": {"multiple": 2},
}
SHARES = {"q": 0.4, "k": 0.4, "o": 0.6, "gate": 0.9, "up": 0.9, "down": 0.9}
"""For `manual`: a table as LoRD uses one, our own figures."""
SEARCH = {"depth_groups": 4, "trials": 50}
ALLOCATE: dict[str, dict[str, Any]] = {
    "uniform": {},
    "manual": {"shares": SHARES},
    "energy": {},
    "pareto": {},
    "effective_rank": {},
    "mgaa": {},
    "mgaa-gentle": {"method": "mgaa", "t": 0.2},
    "hyperopt": SEARCH,
    "gp": SEARCH,
    "policy_gradient": {},
    "fisher": {},
    "around": {"method": "gp", "space": "losses", **SEARCH},
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
    "rpca": {"decompose": "robust_pca", "allocate": "uniform"},
    "cap": {"decompose": "robust_pca", "allocate": "policy_gradient"},
    "oats": {"decompose": "oats", "allocate": "uniform"},
    "rankwise-low-rank": {"decompose": "kfac", "allocate": "least_loss"},
    "ours": {"decompose": "kfac_sparse", "allocate": "least_loss"},
    "rankwise-search": {"decompose": "kfac_sparse", "allocate": "around"},
}
VARIANTS: dict[str, dict[str, Any]] = {
    "mgaa-gentle": {"decompose": "whitened_svd", "allocate": "mgaa-gentle"},
    **{f"rankwise-low-rank-{n}": {**RUNS["rankwise-low-rank"], "steps": n} for n in (2, 4, 8)},
}
"""Runs of settings that are tried with ``--variants``: a weaker exponent, compression in steps."""
REFINED = ("mgaa", "bolaco", "cap", "oats", "ours")
"""Runs that are also refined by `blockwise`."""


def runs(given: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Every method at every budget; OATS factors for one budget, so it has a section for each."""
    found = {}
    for keep in given.keeps:
        asked = RUNS | VARIANTS if given.variants else RUNS
        here = {name: {**run, "keep": keep} for name, run in asked.items()}
        here["oats"]["decompose"] = f"oats-{percent(keep)}"
        for name in REFINED:
            here[f"{name}-refined"] = {"refine": "blockwise", "of": f"{name}-{percent(keep)}"}
        found |= {f"{n}-{percent(keep)}": run for n, run in here.items()}
    return found


def percent(keep: float) -> int:
    return round(100 * keep)


def settings(given: argparse.Namespace, seed: int, folder: Path) -> list[str]:
    """The keys that differ from the preset."""
    oats = {f"oats-{percent(k)}": {"method": "oats", "keep": k, "multiple": 2} for k in given.keeps}
    allocate = {name: {**fields, "multiple": 2} for name, fields in ALLOCATE.items()}
    found = [
        f"decompose={json.dumps(DECOMPOSE | oats)}",
        f"allocate={json.dumps(allocate)}",
        "refine={blockwise: {learning_rate: 0.002, batch: 8, epochs: 3}}",
        f"runs={json.dumps(runs(given))}",
        f"report.title=Every method, {given.model}, calibration seed {seed}",
        "compute.layers_per_job=3",
    ]
    found += wikitext(folder) if given.model == "wikitext" else embedded()
    return [*found, f"sample.calibration.seed={seed}"]


def embedded() -> list[str]:
    """Less text and fewer items than the study that ships with the package."""
    return [
        "sample.search.sequences=32",
        "sample.test.sequences=200",
        "evaluate.limit=100",
    ]


def wikitext(folder: Path) -> list[str]:
    """Model, texts and tasks of the WikiText-2 study."""
    data = Path(os.environ.get("RANKWISE_DATA", "../shared/data")).resolve()
    corpora = {
        "train": {"source": joined(folder, data / "wikitext-2/train.txt")},
        "test": {"source": joined(folder, data / "wikitext-2/test.txt")},
        "c4": {"source": str(data / "c4/c4-sample-1000.json"), "characters": 400_000},
    }
    window = {"length": 256, "seed": 0}
    return [
        f"prepare.model={{source: {data / 'models/wiki-llama-5m'}, layers: 6}}",
        f"prepare.corpora={json.dumps(corpora)}",
        f"prepare.tasks={{source: papers, data: {data / 'zeroshot'}}}",
        f"sample.calibration={json.dumps({'corpus': 'train', 'sequences': 256, **window})}",
        f"sample.search={json.dumps({'corpus': 'train', 'sequences': 24, **window})}",
        "sample.test={corpus: test, length: 256, sequences: 96, seed: 0}",
        "sample.further={c4: {corpus: c4, length: 256, sequences: 48, seed: 0}}",
        "evaluate.tasks=[arc_easy, piqa]",
        "evaluate.limit=60",
    ]


def joined(folder: Path, text: Path) -> str:
    """Write a text of WikiText-2, tokenised form, as the model was trained on it: its marks joined."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = text.read_text("utf-8")[:4_000_000]
    for mark, plain in ((" @-@ ", "-"), (" @,@ ", ","), (" @.@ ", "."), ("<unk>", "unk")):
        whole = whole.replace(mark, plain)
    path = folder / text.name
    write_if_changed(path, whole)
    return str(path)


def study(given: argparse.Namespace, seed: int) -> Path:
    """Make the study of one seed, or bring its runs up to date."""
    folder: Path = given.folder.resolve() / f"{given.model}-{seed}"
    keys = settings(given, seed, given.folder.resolve())
    if folder.exists():
        params = folder / "params.yaml"
        write_if_changed(params, with_settings(params.read_text("utf-8"), keys))
        return folder
    preset = "embedded" if given.model == "embedded" else "local"
    options = [word for key in keys for word in ("--set", key)]
    command = [sys.executable, "-m", "rankwise", "init", str(folder), "--preset", preset, *options]
    subprocess.run(command, check=True)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", choices=("embedded", "wikitext"), default="embedded")
    parser.add_argument("--keeps", type=float, nargs="+", default=[0.8, 0.6, 0.5])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--variants", action="store_true", help="further settings of some methods too"
    )
    parser.add_argument("--only", nargs="*", help="runs to do now, without their keep")
    given = parser.parse_args()
    for seed in given.seeds:
        folder = study(given, seed)
        wanted = [n for n in runs(given) if not given.only or n.rpartition("-")[0] in given.only]
        scores = [f"data/scores/{name}.json" for name in (DENSE, *wanted)]
        environment = engines.environment()
        with chdir(folder), fork_server(environment) as variables:
            command = [*engines.SNAKEMAKE, *scores, "--quiet", "all", "--keep-going"]
            subprocess.run(command, env=environment | variables, check=True)


if __name__ == "__main__":
    main()
