"""What a study found, run by run: the records of each run together, the dense model first."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rankwise.errors import RankwiseError
from rankwise.records import (
    AllocationRecord,
    RefineRecord,
    Scores,
    SpeedRecord,
    Summary,
    SummaryRow,
)
from rankwise.runs import DENSE


@dataclass(frozen=True)
class RunResult:
    """All records of one run."""

    scores: Scores
    speed: SpeedRecord
    allocation: AllocationRecord | None = None
    """None for the dense model; that of the run it started from for a refined one."""
    refinement: RefineRecord | None = None
    trials: tuple[dict[str, Any], ...] = ()
    """Rows of the search, in order; empty without one."""

    @property
    def name(self) -> str:
        """Name of the run."""
        return self.scores.run

    @property
    def method(self) -> str:
        """Decomposer, allocator and refiner in one phrase."""
        if self.allocation is None:
            return DENSE
        parts = [self.allocation.decompose, self.allocation.allocate]
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
        return SummaryRow(**values, tokens_per_second=self.speed.tokens_per_second)


def gather(
    scores: list[Scores],
    speeds: list[SpeedRecord],
    allocations: list[AllocationRecord],
    refinements: list[RefineRecord],
    trials: dict[str, list[dict[str, Any]]],
) -> list[RunResult]:
    """Bring the records of each run together; dense first, then in the order of ``scores``."""
    speed = {record.run: record for record in speeds}
    refined = {record.run: record for record in refinements}
    allocation = allocations_by_run(allocations, refinements)
    for name in (record.run for record in scores):
        if name not in speed or (name not in allocation and name != DENSE):
            missing = "speed" if name not in speed else "allocation"
            raise RankwiseError(
                f"report: run '{name}' has scores but no {missing} record; give both"
            )
    results = [
        RunResult(
            s,
            speed[s.run],
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


def read_trials(path: Path) -> list[dict[str, Any]]:
    """Read the rows of a search trace, one JSON object a line; an empty file is no search."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines if line.strip()]
    except FileNotFoundError as error:
        raise RankwiseError(f"{path} does not exist; run the stage that makes it") from error
    except json.JSONDecodeError as error:
        raise RankwiseError(f"{path} is not JSON lines ({error}); run its stage again") from error
    return [row for row in rows if "trial" in row]


def read_searches(
    allocations: list[AllocationRecord], paths: list[Path]
) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of every run's search by run; ``paths`` in the order of ``allocations``."""
    if len(paths) != len(allocations):
        raise RankwiseError(
            f"expected one --trials for every --allocation, in the same order; "
            f"found {len(paths)} and {len(allocations)}"
        )
    return {a.run: read_trials(path) for a, path in zip(allocations, paths, strict=True)}


def summarise(title: str, results: list[RunResult]) -> Summary:
    """Return the table of the study."""
    return Summary(title=title, rows=[result.row for result in results])


def best(results: list[RunResult]) -> set[tuple[str, str]]:
    """Return (run, column) where a run is the best of those with the same budget."""
    marks = set()
    for asked in {result.scores.asked for result in results}:
        rivals = [r for r in results if r.scores.asked == asked and r.name != DENSE]
        if len(rivals) < 2:
            continue
        lowest = min(r.scores.perplexity for r in rivals)
        marks |= {(r.name, "perplexity") for r in rivals if r.scores.perplexity == lowest}
        averages = [
            r.scores.zero_shot_average for r in rivals if r.scores.zero_shot_average is not None
        ]
        marks |= {
            (r.name, "zero_shot_average")
            for r in rivals
            if averages and r.scores.zero_shot_average == max(averages)
        }
    return marks
