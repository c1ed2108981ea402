"""Two runs of a study side by side: what was asked differently, which ranks differ, which scores do."""

from collections import defaultdict
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from rankwise.errors import RankwiseError, nearest
from rankwise.evaluate.paired import pair_runs
from rankwise.files.checksummed import read_json
from rankwise.params.runs import DENSE
from rankwise.params.section import read_section
from rankwise.params.stages import Report
from rankwise.records.items import Items
from rankwise.records.made import AllocationRecord, RefineRecord
from rankwise.records.measured import Scores
from rankwise.records.pairs import Pair

DATA = Path("data")
METHODS = ("decompose", "allocate", "refine")
LARGEST = 5
"""Linears named for the size of their difference."""


class KindRanks(BaseModel):
    """All linears of one type: what is kept of them."""

    linears: int
    differ: int
    """Of these, how many have another rank or other numbers of entries."""
    kept: tuple[float, float]
    """Parameters that remain / before, run and reference [-]."""
    mean_rank: tuple[float, float]
    """Dense linears counted with their full rank [-]."""


class LinearDifference(BaseModel):
    """One linear whose share kept differs."""

    name: str
    kind: str
    """Its type, as its family names it."""
    kept: tuple[float, float]
    rank: tuple[int, int]
    """Dense linears have their full rank."""


class Comparison(BaseModel):
    """Everything in which two runs differ; in every pair the run comes first, then the reference."""

    run: str
    reference: str
    parameters: dict[str, tuple[Any, Any]]
    """Key → its two values where they differ; null where a run has no such key."""
    kinds: dict[str, KindRanks]
    """Type of linear → its ranks; empty where a run is the dense model."""
    largest: list[LinearDifference]
    size: dict[str, tuple[float, float]]
    scores: dict[str, tuple[float, float]]
    """Perplexity by text, acc by task, the average of acc."""
    pair: Pair
    confidence: float
    """Of its intervals [-]."""


def compare_runs(run: str, reference: str, data: Path = DATA) -> Comparison:
    """Compare two runs of the study whose records lie under ``data``."""
    names = [path.stem for path in sorted((data / "scores").glob("*.json"))]
    for name in (run, reference):
        if name not in names:
            raise RankwiseError(
                f"there are no scores of a run '{name}' in {data / 'scores'}; "
                f"{nearest(name, names) if names else 'run the study first: rankwise run'}"
            )
    ours, theirs = (Scores.load(data / f"scores/{name}.json") for name in (run, reference))
    asked = [_parameters(data, own.run) | _evaluated(own) for own in (ours, theirs)]
    keys = [key for key in {**asked[0], **asked[1]} if asked[0].get(key) != asked[1].get(key)]
    given = read_section(data / "params/report.json", Report)
    linears = _linears(_allocation(data, run), _allocation(data, reference))
    return Comparison(
        run=run,
        reference=reference,
        parameters={key: (asked[0].get(key), asked[1].get(key)) for key in keys},
        kinds=_kinds(linears),
        largest=sorted(linears, key=_distance, reverse=True)[:LARGEST],
        size={
            key: (getattr(ours, key), getattr(theirs, key))
            for key in ("keep_reached", "parameters", "checkpoint_bytes")
        },
        scores=_both(_values(ours), _values(theirs)),
        pair=pair_runs(
            Items.load(data / f"items/{run}.json"),
            Items.load(data / f"items/{reference}.json"),
            given,
        ),
        confidence=given.confidence,
    )


def _allocation(data: Path, run: str) -> AllocationRecord | None:
    """Return the ranks of a run: for a refined one those of the run it started from."""
    while (path := data / f"refine/{run}.json").is_file():
        run = RefineRecord.load(path).of
    return None if run == DENSE else AllocationRecord.load(data / f"allocate/{run}.json")


def _parameters(data: Path, run: str) -> dict[str, Any]:
    """Return what a run asks for and the sections of its methods, keys as in params.yaml."""
    if run == DENSE:
        return {}
    runs = {given.pop("name"): given for given in read_json(data / "params/runs.json")}
    if run not in runs:
        raise RankwiseError(
            f"run '{run}' has scores, but params.yaml names it no more; {nearest(run, runs)}"
        )
    found = dict(runs[run])
    for kind in METHODS:
        if section := runs[run].get(kind):
            given = read_json(data / f"params/{kind}.{section}.json")
            found |= {f"{kind}.{key}": value for key, value in given.items()}
    return found


def _evaluated(scores: Scores) -> dict[str, Any]:
    """Return what the measurement was made with, which ought to be the same."""
    section = {f"evaluate.{key}": value for key, value in scores.parameters_section.items()}
    return section | {f"version.{name}": version for name, version in scores.versions.items()}


def _linears(
    run: AllocationRecord | None, reference: AllocationRecord | None
) -> list[LinearDifference]:
    """Return every linear that both have, with what each keeps of it."""
    if run is None or reference is None:
        return []
    found = []
    for name, ours in run.linears.items():
        if theirs := reference.linears.get(name):
            whole = ours.shape[0] * ours.shape[1]
            found.append(
                LinearDifference(
                    name=name,
                    kind=ours.kind,
                    kept=(ours.parameters / whole, theirs.parameters / whole),
                    rank=(_rank(ours.rank, ours.shape), _rank(theirs.rank, theirs.shape)),
                )
            )
    return found


def _rank(rank: int | None, shape: tuple[int, int]) -> int:
    return min(shape) if rank is None else rank


def _kinds(linears: list[LinearDifference]) -> dict[str, KindRanks]:
    by_kind = defaultdict(list)
    for linear in linears:
        by_kind[linear.kind].append(linear)
    return {
        kind: KindRanks(
            linears=len(members),
            differ=sum(
                linear.kept[0] != linear.kept[1] or linear.rank[0] != linear.rank[1]
                for linear in members
            ),
            kept=_means([linear.kept for linear in members]),
            mean_rank=_means([linear.rank for linear in members]),
        )
        for kind, members in by_kind.items()
    }


def _means(pairs: list[tuple[Any, Any]]) -> tuple[float, float]:
    ours, theirs = zip(*pairs, strict=True)
    return sum(ours) / len(ours), sum(theirs) / len(theirs)


def _distance(linear: LinearDifference) -> float:
    return abs(linear.kept[0] - linear.kept[1])


def _values(scores: Scores) -> dict[str, float]:
    found = {"perplexity": scores.perplexity}
    found |= {f"perplexity, {name}": text.perplexity for name, text in scores.further.items()}
    found |= {name: task.acc for name, task in scores.zero_shot.items()}
    if scores.zero_shot_average is not None:
        found["zero-shot average"] = scores.zero_shot_average
    return found


def _both(ours: dict[str, float], theirs: dict[str, float]) -> dict[str, tuple[float, float]]:
    return {key: (value, theirs[key]) for key, value in ours.items() if key in theirs}
