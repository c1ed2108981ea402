"""The texts of a study, and their hashes."""

from typing import ClassVar

from pydantic import BaseModel

from rankwise.records.base import Record


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
