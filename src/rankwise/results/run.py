"""One run of a study: all its records, and how the records of many files come together."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankwise.errors import RankwiseError
from rankwise.params.names import DENSE
from rankwise.records.allocation import AllocationRecord
from rankwise.records.base import FileHash
from rankwise.records.items import Items
from rankwise.records.pairs import Pair
from rankwise.records.refine import RefineRecord
from rankwise.records.scores import Scores
from rankwise.records.speed import SpeedRecord
from rankwise.records.summary import SummaryRow

if TYPE_CHECKING:
    from rankwise.results.decompositions import Decomposition


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
    files: dict[str, Path] = field(default_factory=dict)
    """Kind of record (scores, items, speed, …) → its file."""
    weights: tuple[FileHash, ...] = ()
    """Files of the checkpoint."""
    sections: dict[str, Any] = field(default_factory=dict)
    """Sections of params.yaml that made it, beside those in its records."""
    origin: str = DENSE
    """The model whose statistics its decomposition used: the dense one, or the step before."""
    against_dense: Pair | None = None
    """None for the dense model; `StudyResults.runs` fills it for the others."""
    decomposition: "Decomposition | None" = None
    """None where the study's factors are not read; `StudyResults.runs` fills it."""
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
        step = self.origin.rpartition("--step")[2]
        if step != DENSE:
            parts[-1] += f" in {int(step) + 1} steps"
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
        return SummaryRow(**values, against_dense=self.against_dense)


def join_records(
    scores: list[Scores],
    items: list[Items],
    speeds: list[SpeedRecord],
    allocations: list[AllocationRecord],
    refinements: list[RefineRecord],
    trials: dict[str, list[dict[str, Any]]],
) -> list[RunResult]:
    """Join the records of each run; dense first, then in the order of ``scores``.

    Raises RankwiseError where a run with scores lacks another record, or the dense model its scores.
    """
    items_by_run = {record.run: record for record in items}
    speed_by_run = {record.run: record for record in speeds}
    refinement_by_run = {record.run: record for record in refinements}
    allocation_by_run = index_allocations(allocations, refinements)
    for run in (record.run for record in scores):
        lacks = {
            "items": run not in items_by_run,
            "speed": bool(speed_by_run) and run not in speed_by_run,
            "allocation": run not in allocation_by_run and run != DENSE,
        }
        for missing in [kind for kind, lacking in lacks.items() if lacking]:
            raise RankwiseError(f"run '{run}' has scores but no {missing} record; give both")
    results = [
        RunResult(
            scores=record,
            items=items_by_run[record.run],
            speed=speed_by_run.get(record.run),
            allocation=allocation_by_run.get(record.run),
            refinement=refinement_by_run.get(record.run),
            trials=tuple(trials.get(record.run, ())),
        )
        for record in scores
    ]
    if DENSE not in [result.name for result in results]:
        raise RankwiseError(
            "there are no scores of the dense model, which every run is compared with; evaluate run 'dense'"
        )
    return sorted(results, key=lambda result: result.name != DENSE)


def index_allocations(
    allocations: list[AllocationRecord], refinements: list[RefineRecord]
) -> dict[str, AllocationRecord]:
    """Return every run's allocation; a refined run has that of the run it started from."""
    by_run = {record.run: record for record in allocations}
    start = {record.run: record.of for record in refinements}
    for run in start:
        base = run
        while base in start:
            base = start[base]
        if base in by_run:
            by_run[run] = by_run[base]
    return by_run
