"""The records of a study from their files: run by run, and what is not there."""

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from rankwise.files.checksummed import read_json
from rankwise.params.runs import DENSE
from rankwise.records.items import Items
from rankwise.records.made import AllocationRecord, RefineRecord
from rankwise.records.measured import Scores, SpeedRecord
from rankwise.results.decompositions import Decomposition, predicted_loss, read_decompositions
from rankwise.results.files import StudyFiles, weights_of
from rankwise.results.study import (
    RunResult,
    allocations_by_run,
    join_records,
    pair_with_trials,
    read_searches,
)

MEASURED = ("scores", "items", "speed", "checkpoints")
STAGES = {
    "scores": "evaluate",
    "items": "evaluate",
    "speed": "speed",
    "allocations": "allocate",
    "trials": "allocate",
    "refinements": "refine",
    "checkpoints": "build",
}
"""Kind of record → the stage that makes it, in the order in which they are listed."""


def read_study(files: StudyFiles, page: Path) -> tuple[list[RunResult], dict[str, str]]:
    """Return every run whose records are all there, and a sentence for each of the others.

    Raises RankwiseError for a broken record, or where the dense model is the one that is missing.
    """
    gaps = _gaps(files)
    planned = [
        (plan, trials)
        for plan, trials in pair_with_trials(files.allocations, files.trials)
        if plan.is_file() and trials.is_file()
    ]
    allocations = [AllocationRecord.load(plan) for plan, _ in planned]
    refinements = [RefineRecord.load(path) for path in files.refinements if path.is_file()]
    known = allocations_by_run(allocations, refinements)
    for run in (_run_of(path) for path in files.scores):
        if run not in known and run != DENSE:
            gaps.setdefault(
                run, f"run '{run}' has no ranks: those of the run it started from are gone"
            )
    whole = {kind: _whole(getattr(files, kind), gaps) for kind in MEASURED}
    found = join_records(
        [Scores.load(path) for path in whole["scores"]],
        [Items.load(path) for path in whole["items"]],
        [SpeedRecord.load(path) for path in whole["speed"]],
        allocations,
        refinements,
        read_searches(allocations, [trials for _, trials in planned]),
    )
    sections = read_sections(files.sections)
    decompositions = read_decompositions(files.factors)
    weights = dict(map(weights_of, whole["checkpoints"]))
    links = _links(files, page)
    return [
        replace(
            result,
            links=links[result.name],
            weights=tuple(weights.get(result.name, ())),
            **_made_by(result, sections, decompositions),
        )
        for result in found
    ], gaps


def read_sections(paths: list[Path]) -> dict[str, Any]:
    """Return the sections of params.yaml by name, such as ``sample.test``."""
    return {path.stem: read_json(path) for path in paths}


def _gaps(files: StudyFiles) -> dict[str, str]:
    """Return the runs that lack a file, each with a sentence that names the first one."""
    found: dict[str, str] = {}
    for kind, stage in STAGES.items():
        for path in getattr(files, kind):
            if not path.is_file() and _run_of(path) != DENSE:
                found.setdefault(
                    _run_of(path),
                    f"run '{_run_of(path)}' has no {kind}: {path} does not exist; "
                    f"its stage {stage} did not end, its log says why",
                )
    return found


def _whole(paths: Iterable[Path], gaps: dict[str, str]) -> list[Path]:
    return [path for path in paths if _run_of(path) not in gaps]


def _run_of(path: Path) -> str:
    """Return the run that a file is of; the dense model's manifest bears another name."""
    name = path.name.removesuffix(".jsonl").removesuffix(".json").removesuffix(".trials")
    return DENSE if path.parent.name == "prepare" else name


def _links(files: StudyFiles, page: Path) -> dict[str, dict[str, str]]:
    """Return run → kind of record → its file as seen from the page."""
    found: dict[str, dict[str, str]] = {}
    for kind in STAGES:
        for path in getattr(files, kind):
            link = Path(os.path.relpath(path, page.parent)).as_posix()
            found.setdefault(_run_of(path), {})[kind] = link
    return found


def _made_by(
    result: RunResult,
    sections: dict[str, Any],
    decompositions: dict[tuple[str, str], Decomposition],
) -> dict[str, Any]:
    """Return what a run's factors say: notes of its decomposition, and the loss that they predict."""
    given = {name: sections[name] for name in sections if name.startswith("sample.")}
    if result.allocation is None:
        return {"sections": given}
    method = result.allocation.decompose
    origin = sections.get(f"runs.{result.allocation.run}", {}).get("origin", DENSE)
    made = decompositions.get((origin, method))
    own = f"decompose.{method}"
    return {
        "sections": given | ({own: sections[own]} if own in sections else {}),
        "decomposition": made,
        "predicted": predicted_loss(result.allocation, made)
        if made is not None and result.refinement is None
        else None,
    }
