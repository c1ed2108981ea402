"""What a study starts from: model, texts, tasks, and their hashes."""

from typing import ClassVar

from pydantic import BaseModel, Field

from rankwise.model.family import Family
from rankwise.records.base import FileHash, Record


class ModelManifest(Record):
    """The dense model: where it is and exactly which bytes it is."""

    schema_name: ClassVar[str] = "rankwise/model@2"
    source: str
    revision: str | None
    dtype: str
    architecture: str
    family: Family
    """Which linears a decoder layer has, as the stage prepare found it for this architecture."""
    layers: int
    parameters: int
    """All parameters of the model, tied ones once [-]."""
    files: list[FileHash]


class CorpusManifest(BaseModel):
    """One text: where it is, exactly which bytes, and how to read it."""

    source: str
    revision: str | None
    file: str | None
    field: str
    characters: int | None
    sha256: str
    bytes: int


class CorporaManifest(Record):
    """All texts by name."""

    schema_name: ClassVar[str] = "rankwise/corpora@1"
    corpora: dict[str, CorpusManifest]


class TasksManifest(Record):
    """The zero-shot task files; ``source`` null means that there are none."""

    schema_name: ClassVar[str] = "rankwise/tasks@2"
    source: str | None
    files: list[FileHash]
    """In the folder of ``source``: task files, and the items that lie beside them."""
    data: str | None = None
    """Folder of the items; null: beside the task files."""
    data_files: list[FileHash] = Field(default_factory=list)
    """In the folder of ``data``."""
