"""The zero-shot task files of a study, and their hashes."""

from typing import ClassVar

from pydantic import Field

from rankwise.records.base import FileHash, Record


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
