"""What a tracker is told of a study: parameters, metrics, trials and files of every run, from records.

Names are the same for the same thing in every run, so that runs compare by column.
"""

from dataclasses import dataclass
from hashlib import sha256 as hash_bytes
from pathlib import Path
from typing import Any

from rankwise.files.atomic import to_json
from rankwise.files.checksummed import sha256
from rankwise.params.names import DENSE
from rankwise.records.base import FileHash
from rankwise.records.pairs import Pair
from rankwise.results.run import RunResult
from rankwise.results.study import StudyResults

LAYOUT = 3
"""Raised when the same files would be logged otherwise, so that old runs are replaced."""
ATTACHED = ("scores", "allocations", "trials", "refinements", "items", "speed")
"""Kinds of record that are copied."""


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
        logged = [LAYOUT, self.name, self.parameters, self.metrics, self.trials, files]
        return hash_bytes(to_json(logged).encode()).hexdigest()


def build_entries(study: StudyResults, page: Path) -> list[Entry]:
    """Return what is logged for every run; the report page belongs to the dense model's run."""
    return [_build_entry(result, page) for result in study.runs]


def _build_entry(result: RunResult, page: Path) -> Entry:
    records = [result.files[kind] for kind in ATTACHED if kind in result.files]
    attached = [page, *records] if result.name == DENSE else records
    return Entry(
        name=result.name,
        parameters=_list_parameters(result),
        metrics=_list_metrics(result),
        trials=list(result.trials),
        files=[*map(_hash_file, attached), *result.weights],
        attached=attached,
    )


def _list_parameters(result: RunResult) -> dict[str, str]:
    """Return every parameter of a run by name."""
    scores, allocation, refinement = result.scores, result.allocation, result.refinement
    values: dict[str, Any] = {scores.asked.kind: scores.asked.value}
    if allocation is None:
        values |= {"decompose": DENSE, "allocate": DENSE}
    else:
        values |= {"decompose": allocation.decompose, "allocate": allocation.allocate}
        values |= {f"allocate.{key}": value for key, value in allocation.parameters.items()}
    if refinement is not None:
        values |= {"refine": refinement.method, "refine.of": refinement.of}
        values |= {f"refine.{key}": value for key, value in refinement.parameters.items()}
    values |= {f"evaluate.{key}": value for key, value in scores.parameters_section.items()}
    values |= {f"version.{name}": version for name, version in scores.versions.items()}
    return {key: str(value) for key, value in values.items()}


def _list_metrics(result: RunResult) -> dict[str, float]:
    """Return the numbers of a run by name: the table's columns, speed, accuracy by task, differences."""
    columns = result.row.model_dump(exclude={"run", "against_dense"}, exclude_none=True)
    metrics = {name: float(value) for name, value in columns.items()}
    if result.speed is not None:
        metrics["tokens_per_second"] = result.speed.tokens_per_second
    for name, text in result.scores.further.items():
        metrics[f"perplexity.{name}"] = text.perplexity
    for name, task in result.scores.zero_shot.items():
        metrics[f"acc.{name}"] = task.acc
        if task.acc_norm is not None:
            metrics[f"acc_norm.{name}"] = task.acc_norm
    if result.against_dense is not None:
        metrics |= _list_differences(result.against_dense)
    return metrics


def _list_differences(pair: Pair) -> dict[str, float]:
    """Return mean and interval of every difference from the dense model by name."""
    differences = {f"loss_above_dense.{role}": loss for role, loss in pair.losses.items()}
    if pair.average is not None:
        differences["acc_above_dense"] = pair.average
    return {
        f"{name}.{part}": value
        for name, difference in differences.items()
        for part, value in difference.model_dump().items()
    }


def _hash_file(path: Path) -> FileHash:
    return FileHash(path=path.as_posix(), sha256=sha256(path), bytes=path.stat().st_size)
