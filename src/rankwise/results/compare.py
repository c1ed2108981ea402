"""Two runs of a study side by side: what was asked differently, which ranks differ, which scores do."""

from collections import defaultdict
from typing import Any

from pydantic import BaseModel

from rankwise.errors import RankwiseError, nearest
from rankwise.evaluate.paired import pair_runs
from rankwise.params.names import DENSE
from rankwise.records.allocation import AllocationRecord, LinearRank
from rankwise.records.pairs import Pair
from rankwise.records.scores import Scores
from rankwise.results.run import RunResult
from rankwise.results.study import StudyResults

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


def compare_runs(study: StudyResults, run: str, reference: str) -> Comparison:
    """Compare two runs of a study; RankwiseError where it has none of the name."""
    pair = (study.find(run), study.find(reference))
    ours, theirs = pair
    parameters = [_list_parameters(study, result) for result in pair]
    linears = _compare_linears(ours.allocation, theirs.allocation)
    return Comparison(
        run=run,
        reference=reference,
        parameters=_select_different(*parameters),
        kinds=_group_by_kind(linears),
        largest=sorted(linears, key=_distance, reverse=True)[:LARGEST],
        size={
            key: (getattr(ours.scores, key), getattr(theirs.scores, key))
            for key in ("keep_reached", "parameters", "checkpoint_bytes")
        },
        scores=_select_shared(_list_scores(ours.scores), _list_scores(theirs.scores)),
        pair=pair_runs(ours.items, theirs.items, study.settings),
        confidence=study.settings.confidence,
    )


def _list_parameters(study: StudyResults, result: RunResult) -> dict[str, Any]:
    """Return what a run asks for, the sections of its methods and of its measurement, keys as in params.yaml."""
    parameters = {} if result.name == DENSE else _list_own_parameters(study.sections, result.name)
    scores = result.scores
    parameters |= {f"evaluate.{key}": value for key, value in scores.parameters_section.items()}
    return parameters | {f"version.{name}": value for name, value in scores.versions.items()}


def _list_own_parameters(sections: dict[str, Any], name: str) -> dict[str, Any]:
    """Return what a run asks for and the sections of its methods."""
    runs = {run["name"]: run for run in sections["runs"]}
    if name not in runs:
        raise RankwiseError(
            f"run '{name}' has scores, but params.yaml names it no more; {nearest(name, runs)}"
        )
    parameters = {key: value for key, value in runs[name].items() if key != "name"}
    for kind in METHODS:
        if method := runs[name].get(kind):
            section = sections[f"{kind}.{method}"]
            parameters |= {f"{kind}.{key}": value for key, value in section.items()}
    return parameters


def _select_different(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the keys whose values differ, with both values."""
    return {
        key: (ours.get(key), theirs.get(key))
        for key in {**ours, **theirs}
        if ours.get(key) != theirs.get(key)
    }


def _compare_linears(
    run: AllocationRecord | None, reference: AllocationRecord | None
) -> list[LinearDifference]:
    """Return every linear that both have, with what each keeps of it."""
    if run is None or reference is None:
        return []
    linears = []
    for name, ours in run.linears.items():
        if theirs := reference.linears.get(name):
            full = ours.shape[0] * ours.shape[1]
            linears.append(
                LinearDifference(
                    name=name,
                    kind=ours.kind,
                    kept=(ours.parameters / full, theirs.parameters / full),
                    rank=(_count_rank(ours), _count_rank(theirs)),
                )
            )
    return linears


def _count_rank(linear: LinearRank) -> int:
    """Return the rank of a linear, that of the full matrix where it is left dense."""
    return min(linear.shape) if linear.rank is None else linear.rank


def _group_by_kind(linears: list[LinearDifference]) -> dict[str, KindRanks]:
    """Return type of linear → its ranks."""
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
            kept=_average([linear.kept for linear in members]),
            mean_rank=_average([linear.rank for linear in members]),
        )
        for kind, members in by_kind.items()
    }


def _average(pairs: list[tuple[Any, Any]]) -> tuple[float, float]:
    ours, theirs = zip(*pairs, strict=True)
    return sum(ours) / len(ours), sum(theirs) / len(theirs)


def _distance(linear: LinearDifference) -> float:
    return abs(linear.kept[0] - linear.kept[1])


def _list_scores(scores: Scores) -> dict[str, float]:
    """Return perplexity by text, acc by task, and the average of acc where there are tasks."""
    values = {"perplexity": scores.perplexity}
    values |= {f"perplexity, {name}": text.perplexity for name, text in scores.further.items()}
    values |= {name: task.acc for name, task in scores.zero_shot.items()}
    if scores.zero_shot_average is not None:
        values["zero-shot average"] = scores.zero_shot_average
    return values


def _select_shared(
    ours: dict[str, float], theirs: dict[str, float]
) -> dict[str, tuple[float, float]]:
    """Return the scores that both have."""
    return {key: (value, theirs[key]) for key, value in ours.items() if key in theirs}
