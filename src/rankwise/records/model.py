"""The dense model: where it is and exactly which bytes it is."""

from typing import ClassVar

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
