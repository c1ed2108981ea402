"""Which files a study's records are in."""

from dataclasses import dataclass, field
from pathlib import Path

from rankwise.params.runs import DENSE
from rankwise.records.base import FileHash, schema_of
from rankwise.records.inputs import ModelManifest
from rankwise.records.made import CheckpointManifest


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


def weights_of(manifest: Path) -> tuple[str, list[FileHash]]:
    """Return a checkpoint's run and its files, by their paths seen from the study."""
    if schema_of(manifest) == ModelManifest.schema_name:
        model = ModelManifest.load(manifest)
        name, folder, files = DENSE, model.source, model.files
    else:
        record = CheckpointManifest.load(manifest)
        name, folder, files = record.run, manifest.with_suffix("").as_posix(), record.files
    return name, [file.model_copy(update={"path": f"{folder}/{file.path}"}) for file in files]
