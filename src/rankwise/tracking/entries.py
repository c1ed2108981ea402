"""What a tracker is told of a study: parameters, metrics, trials and files of every run, from records.

Names are the same for the same thing in every run, so that runs compare by column.
"""

from dataclasses import dataclass
from hashlib import sha256 as hash_bytes
from pathlib import Path
from typing import Any

from rankwise.errors import RankwiseError
from rankwise.files.atomic import to_json
from rankwise.files.checksummed import sha256
from rankwise.params.runs import DENSE
from rankwise.records.base import FileHash
from rankwise.records.made import AllocationRecord, RefineRecord
from rankwise.records.measured import Scores, Summary, SummaryRow
from rankwise.results.files import StudyFiles, weights_of
from rankwise.results.study import allocations_by_run, read_searches

LAYOUT = 2
"""Raised when the same files would be logged otherwise, so that old runs are replaced."""


@dataclass(frozen=True)
class Entry:
    """All that is logged for one run."""

    name: str
    parameters: dict[str, str]
    metrics: dict[str, float]
    trials: list[dict[str, Any]]
    files: list[FileHash]
    """Artifacts by path and hash, the weights among them."""
    attached: list[Path]
    """Artifacts that are copied."""

    @property
    def sha256(self) -> str:
        """Hash of everything that is logged."""
        files = [file.model_dump() for file in self.files]
        whole = [LAYOUT, self.name, self.parameters, self.metrics, self.trials, files]
        return hash_bytes(to_json(whole).encode()).hexdigest()


def build_entries(study: StudyFiles, summary: Path, report: Path) -> list[Entry]:
    """Read the study's files; the report belongs to the dense model's run."""
    rows = {row.run: row for row in Summary.load(summary).rows}
    made = [AllocationRecord.load(path) for path in study.allocations]
    searches = read_searches(made, study.trials)
    paths: dict[str, list[Path]] = {
        record.run: list(pair)
        for record, pair in zip(
            made, zip(study.allocations, study.trials, strict=True), strict=True
        )
    }
    refined = {(r := RefineRecord.load(path)).run: r for path in study.refinements}
    paths |= {run: [path] for run, path in zip(refined, study.refinements, strict=True)}
    allocations = allocations_by_run(made, list(refined.values()))
    weights = dict(map(weights_of, study.checkpoints))
    found = []
    for path in study.scores:
        scores = Scores.load(path)
        name = scores.run
        if name not in rows:
            raise RankwiseError(f"{summary}: has no row of run '{name}'; run report again")
        if name != DENSE and name not in paths:
            raise RankwiseError(
                f"track: run '{name}' has scores but no allocation record; give both"
            )
        own = [report] if name == DENSE else paths[name]
        own += [item for item in study.items if item.stem == name]
        found.append(
            Entry(
                name=name,
                parameters=_parameters(scores, allocations.get(name), refined.get(name)),
                metrics=_metrics(rows[name], scores),
                trials=searches.get(name, []),
                files=[*map(_file, [path, *own]), *weights.get(name, [])],
                attached=[path, *own],
            )
        )
    return found


def _parameters(
    scores: Scores, allocation: AllocationRecord | None, refined: RefineRecord | None
) -> dict[str, str]:
    """Return every parameter of a run by name."""
    values: dict[str, Any] = {scores.asked.kind: scores.asked.value}
    if allocation is None:
        values |= {"decompose": DENSE, "allocate": DENSE}
    else:
        values |= {"decompose": allocation.decompose, "allocate": allocation.allocate}
        values |= {f"allocate.{key}": value for key, value in allocation.parameters.items()}
    if refined is not None:
        values |= {"refine": refined.method, "refine.of": refined.of}
        values |= {f"refine.{key}": value for key, value in refined.parameters.items()}
    values |= {f"evaluate.{key}": value for key, value in scores.parameters_section.items()}
    values |= {f"version.{name}": version for name, version in scores.versions.items()}
    return {key: str(value) for key, value in values.items()}


def _metrics(row: SummaryRow, scores: Scores) -> dict[str, float]:
    """Return the numbers of a run by name: the table's columns, accuracy by task, and what differs."""
    columns = row.model_dump(exclude={"run", "against_dense"}, exclude_none=True)
    metrics = {name: float(value) for name, value in columns.items()}
    metrics |= {f"perplexity.{name}": text.perplexity for name, text in scores.further.items()}
    for name, task in scores.zero_shot.items():
        metrics[f"acc.{name}"] = task.acc
        if task.acc_norm is not None:
            metrics[f"acc_norm.{name}"] = task.acc_norm
    if row.against_dense is not None:
        found = {f"loss_above_dense.{k}": v for k, v in row.against_dense.losses.items()}
        if row.against_dense.average is not None:
            found["acc_above_dense"] = row.against_dense.average
        metrics |= {
            f"{name}.{part}": value
            for name, difference in found.items()
            for part, value in difference.model_dump().items()
        }
    return metrics


def _file(path: Path) -> FileHash:
    return FileHash(path=path.as_posix(), sha256=sha256(path), bytes=path.stat().st_size)
