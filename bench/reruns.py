"""Measure how much of a study re-runs when one module changes: the mean over all modules of the package.

    python bench/reruns.py                 the study in this folder
    python bench/reruns.py --before FOLDER and a checkout of version 0.1, whose dvc.yaml lists source files

A job re-runs by itself where its code changed. What follows from it re-runs only if its bytes change, so
both are counted: jobs by themselves, and jobs with all that depend on them.
"""

import argparse
from pathlib import Path
from statistics import mean
from typing import Any

from ruamel.yaml import YAML

from rankwise.files.checksummed import read_json
from rankwise.workflow.dvc_yaml import outputs_of, read_stages
from rankwise.workflow.fingerprints import CODE

ROOT = Path(__file__).parents[1]
WRITERS = {"code", "params"}
Stages = dict[str, dict[str, Any]]


def jobs_by_module(stages: Stages) -> dict[str, set[str]]:
    """Return source file → the jobs that its fingerprints re-run."""
    found: dict[str, set[str]] = {}
    for path in sorted(CODE.glob("*.json")):
        jobs = {name for name, stage in stages.items() if str(path) in stage.get("deps", [])}
        for module in read_json(path)["modules"]:
            found.setdefault(module, set()).update(jobs - WRITERS)
    return found


def jobs_by_file(stages: Stages) -> dict[str, set[str]]:
    """Return source file → the jobs that list it, in a dvc.yaml of version 0.1."""
    found: dict[str, set[str]] = {}
    for name, stage in stages.items():
        for path in stage.get("deps", []):
            if path.startswith("src/") and path.endswith(".py") and name not in WRITERS:
                found.setdefault(path, set()).add(name)
    return found


def with_followers(jobs: set[str], stages: Stages) -> set[str]:
    """Return jobs and all that depend on them."""
    due = set(jobs)
    while True:
        made = {out for name in due for out in outputs_of(stages[name])}
        more = {
            name for name, stage in stages.items() if made & set(stage.get("deps", []))
        } - WRITERS
        if more <= due:
            return due
        due |= more


def report(label: str, modules: int, jobs: dict[str, set[str]], stages: Stages) -> str:
    """Return the row of one version; modules that no job runs count with no job."""
    total = len(set(stages) - WRITERS)
    none = [0.0] * (modules - len(jobs))
    alone = [len(names) / total for names in jobs.values()] + none
    followed = [len(with_followers(names, stages)) / total for names in jobs.values()] + none
    nearly_all = sum(share >= (total - 1) / total for share in alone)
    return f"| {label} | {modules} | {mean(alone):.1%} | {mean(followed):.1%} | {nearly_all} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--before", type=Path, help="checkout of version 0.1")
    asked = parser.parse_args()
    print(
        "| version | modules | jobs by themselves | with what follows | modules that nearly all jobs depend on |"
    )
    print("|---|---:|---:|---:|---:|")
    if asked.before is not None:
        text = (asked.before / "dvc.yaml").read_text(encoding="utf-8")
        old: Stages = YAML(typ="safe").load(text)["stages"]
        modules = len(list((asked.before / "src/rankwise").rglob("*.py")))
        print(report("0.1", modules, jobs_by_file(old), old))
    stages = read_stages(ROOT / "dvc.yaml")
    modules = len(list((ROOT / "src/rankwise").rglob("*.py")))
    print(report("now", modules, jobs_by_module(stages), stages))


if __name__ == "__main__":
    main()
