"""What a study found, run by run: the records of each run together, the dense model first."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from rankwise.allocate.trials import read_rows
from rankwise.errors import RankwiseError
from rankwise.evaluate.paired import pair_runs
from rankwise.params.runs import DENSE
from rankwise.params.stages import FURTHER, Report
from rankwise.records.base import FileHash
from rankwise.records.items import Items
from rankwise.records.made import AllocationRecord, RefineRecord
from rankwise.records.measured import Scores, SpeedRecord, Summary, SummaryRow
from rankwise.records.pairs import Difference, Pair

if TYPE_CHECKING:
    from rankwise.results.decompositions import Decomposition

T = TypeVar("T")


@dataclass(frozen=True)
class RunResult:
    """All records of one run."""

    scores: Scores
    items: Items
    speed: SpeedRecord | None = None
    """None in a study that times no run."""
    allocation: AllocationRecord | None = None
    """None for the dense model; that of the run it started from for a refined one."""
    refinement: RefineRecord | None = None
    trials: tuple[dict[str, Any], ...] = ()
    """Rows of the search, in order; empty without one."""
    against_dense: Pair | None = None
    """None for the dense model."""
    links: dict[str, str] = field(default_factory=dict)
    """Kind of record (scores, items, speed, …) → where it lies, as seen from the page."""
    weights: tuple[FileHash, ...] = ()
    """Files of the checkpoint."""
    sections: dict[str, Any] = field(default_factory=dict)
    """Sections of params.yaml that made it, beside those in its records."""
    decomposition: "Decomposition | None" = None
    predicted: float | None = None
    """Change of the loss that the ranks predict; None where the method predicts none [nats/token]."""

    @property
    def name(self) -> str:
        """Name of the run."""
        return self.scores.run

    @property
    def method(self) -> str:
        """Decomposer, allocator, how many steps if several, and refiner in one phrase."""
        if self.allocation is None:
            return DENSE
        parts = [self.allocation.decompose, self.allocation.allocate]
        before = self.decomposition.origin.rpartition("--step")[2] if self.decomposition else DENSE
        if before != DENSE:
            parts[-1] += f" in {int(before) + 1} steps"
        return " + ".join(parts + ([self.refinement.method] if self.refinement else []))

    @property
    def zero_shot_error(self) -> float | None:
        """Standard error of the average over tasks, tasks being independent [-]."""
        errors = [task.acc_stderr for task in self.scores.zero_shot.values()]
        return math.hypot(*errors) / len(errors) if errors else None

    @property
    def row(self) -> SummaryRow:
        """Row of the table."""
        values = self.scores.model_dump(include=set(SummaryRow.model_fields))
        return SummaryRow(
            **values,
            tokens_per_second=self.speed.tokens_per_second if self.speed else None,
            against_dense=self.against_dense,
        )


def join_records(
    scores: list[Scores],
    items: list[Items],
    speeds: list[SpeedRecord],
    allocations: list[AllocationRecord],
    refinements: list[RefineRecord],
    trials: dict[str, list[dict[str, Any]]],
) -> list[RunResult]:
    """Bring the records of each run together; dense first, then in the order of ``scores``."""
    speed = {record.run: record for record in speeds}
    measured = {record.run: record for record in items}
    refined = {record.run: record for record in refinements}
    allocation = allocations_by_run(allocations, refinements)
    for name in (record.run for record in scores):
        lacks = {
            "items": name not in measured,
            "speed": bool(speed) and name not in speed,
            "allocation": name not in allocation and name != DENSE,
        }
        for missing in [record for record, lacking in lacks.items() if lacking]:
            raise RankwiseError(
                f"report: run '{name}' has scores but no {missing} record; give both"
            )
    results = [
        RunResult(
            s,
            measured[s.run],
            speed.get(s.run),
            allocation.get(s.run),
            refined.get(s.run),
            tuple(trials.get(s.run, ())),
        )
        for s in scores
    ]
    if DENSE not in [result.name for result in results]:
        raise RankwiseError(
            "report: no scores of the dense model among --scores; evaluate run 'dense'"
        )
    return sorted(results, key=lambda result: result.name != DENSE)


def allocations_by_run(
    allocations: list[AllocationRecord], refinements: list[RefineRecord]
) -> dict[str, AllocationRecord]:
    """Return every run's allocation; a refined run has that of the run it started from."""
    found = {record.run: record for record in allocations}
    started = {record.run: record.of for record in refinements}
    for run in started:
        base = run
        while base in started:
            base = started[base]
        if base in found:
            found[run] = found[base]
    return found


def read_searches(
    allocations: list[AllocationRecord], paths: list[Path]
) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of every run's search by run; ``paths`` in the order of ``allocations``."""
    return {a.run: read_rows(path) for a, path in pair_with_trials(allocations, paths)}


def pair_with_trials(allocations: Sequence[T], trials: list[Path]) -> list[tuple[T, Path]]:
    """Return every allocation with its trials; RankwiseError where there are not as many of both."""
    if len(trials) != len(allocations):
        raise RankwiseError(
            f"expected one --trials for every --allocation, in the same order; "
            f"found {len(trials)} and {len(allocations)}"
        )
    return list(zip(allocations, trials, strict=True))


def compare_to_dense(results: list[RunResult], given: Report) -> list[RunResult]:
    """Return the results with every run set against the dense model, which comes first."""
    dense, *runs = results
    return [
        dense,
        *(replace(run, against_dense=pair_runs(run.items, dense.items, given)) for run in runs),
    ]


def summarise_runs(given: Report, results: list[RunResult], gaps: dict[str, str]) -> Summary:
    """Return the table of the study."""
    return Summary(
        title=given.title,
        confidence=given.confidence,
        rows=[result.row for result in results],
        gaps=gaps,
    )


def mark_best(results: list[RunResult], given: Report) -> set[tuple[str, str]]:
    """Return (run, column) where a run is the best of those with the same budget.

    So are all that cannot be told from the best one: whose paired interval against it holds zero.
    """
    marks = set()
    for rivals in group_by_budget(results):
        marks |= {(name, "perplexity") for name in _leaders(rivals, "test", given)}
        for text in rivals[0].scores.further:
            role = f"{FURTHER}{text}"
            marks |= {(name, role) for name in _leaders(rivals, role, given)}
        if rivals[0].scores.zero_shot:
            marks |= {(name, "zero_shot_average") for name in _leaders(rivals, None, given)}
    return marks


def group_by_budget(results: list[RunResult]) -> list[list[RunResult]]:
    """Return the runs of every budget that several share, budgets in the order in which they come."""
    runs = [result for result in results if result.name != DENSE]
    budgets = dict.fromkeys(run.scores.asked for run in runs)
    shared = ([run for run in runs if run.scores.asked == asked] for asked in budgets)
    return [rivals for rivals in shared if len(rivals) > 1]


def _leaders(rivals: list[RunResult], role: str | None, given: Report) -> set[str]:
    """Return the best of ``rivals`` on a text, or by the zero-shot average, and those like it."""

    def standing(run: RunResult) -> float:
        if role is not None:
            losses = run.items.texts[role].losses
            return sum(losses) / len(losses)
        return -(run.scores.zero_shot_average or 0.0)

    first = min(rivals, key=standing)
    return {first.name} | {
        run.name
        for run in rivals
        if run is not first and _difference(run, first, role, given).noise
    }


def _difference(
    run: RunResult, reference: RunResult, role: str | None, given: Report
) -> Difference:
    found = pair_runs(run.items, reference.items, given)
    difference = found.average if role is None else found.losses.get(role)
    if difference is None:
        raise RankwiseError(
            f"report: runs '{run.name}' and '{reference.name}' share no {role or 'tasks'} to compare on; evaluate both again"
        )
    return difference
