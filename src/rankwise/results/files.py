"""Which files a study's records are in, and the manifests among them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from rankwise.params.names import DENSE
from rankwise.records.base import FileHash, schema_of
from rankwise.records.checkpoint import CheckpointManifest
from rankwise.records.corpora import CorporaManifest
from rankwise.records.model import ModelManifest
from rankwise.records.tasks import TasksManifest


@dataclass(frozen=True)
class StudyFiles:
    """Where the records of a study are; lists in any order, but trials in that of allocations.

    A file is named after its run.
    """

    scores: list[Path]
    items: list[Path] = field(default_factory=list)
    speed: list[Path] = field(default_factory=list)
    allocations: list[Path] = field(default_factory=list)
    trials: list[Path] = field(default_factory=list)
    refinements: list[Path] = field(default_factory=list)
    checkpoints: list[Path] = field(default_factory=list)
    """Manifests, that of the dense model included; may be empty."""
    sections: list[Path] = field(default_factory=list)
    factors: list[Path] = field(default_factory=list)
    model: Path | None = None
    """Manifest of the dense model; so of the texts and the tasks."""
    corpora: Path | None = None
    tasks: Path | None = None

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Self:
        """Return the files that a command line names: options by the names of the fields, others ignored."""
        known = {one.name for one in fields(cls)}
        chosen: dict[str, Any] = {n: v for n, v in options.items() if n in known and v}
        for name, value in chosen.items():
            chosen[name] = expand_braces(value) if isinstance(value, list) else value
        return cls(**chosen)


def expand_braces(patterns: list[Path]) -> list[Path]:
    """Return the paths that patterns such as ``data/scores/{a,b}.json`` stand for; names hold no braces."""
    paths = []
    for pattern in map(str, patterns):
        before, opening, rest = pattern.partition("{")
        names, closing, after = rest.partition("}")
        inside = names.split(",") if opening and closing else [names]
        paths += [Path(f"{before}{name}{after}") for name in inside]
    return paths


@dataclass(frozen=True)
class InputManifests:
    """What went into a study: model, texts and tasks, as far as their manifests are given."""

    model: ModelManifest | None = None
    corpora: CorporaManifest | None = None
    tasks: TasksManifest | None = None

    @classmethod
    def load(cls, files: StudyFiles) -> Self:
        """Read the manifests that there are."""
        return cls(
            model=ModelManifest.load(files.model) if files.model else None,
            corpora=CorporaManifest.load(files.corpora) if files.corpora else None,
            tasks=TasksManifest.load(files.tasks) if files.tasks else None,
        )


def read_weights(manifest: Path) -> tuple[str, list[FileHash]]:
    """Return a checkpoint's run and its files, by their paths seen from the study."""
    if schema_of(manifest) == ModelManifest.schema_name:
        model = ModelManifest.load(manifest)
        run, folder, files = DENSE, model.source, model.files
    else:
        record = CheckpointManifest.load(manifest)
        run, folder, files = record.run, manifest.with_suffix("").as_posix(), record.files
    return run, [file.model_copy(update={"path": f"{folder}/{file.path}"}) for file in files]
