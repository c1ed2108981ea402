"""The files of a compressed checkpoint, and what it reached."""

from typing import ClassVar

from rankwise.records.asked import Asked
from rankwise.records.base import FileHash, Record


class CheckpointManifest(Asked, Record):
    """A compressed checkpoint: written last, so that its folder is whole if it exists.

    What it reached is counted in the files.
    """

    schema_name: ClassVar[str] = "rankwise/checkpoint@2"
    run: str
    keep_reached: float
    parameters: int
    """All parameters of the model, tied ones once [-]."""
    files: list[FileHash]

    @property
    def checkpoint_bytes(self) -> int:
        """Bytes of the weight files [bytes]."""
        return sum(file.bytes for file in self.files if file.path.endswith(".safetensors"))


class FolderFiles(Record):
    """What a checkpoint's folder holds, inside it, for whoever has the folder alone; the card is not listed."""

    schema_name: ClassVar[str] = "rankwise/folder@1"
    file: ClassVar[str] = "files.json"
    """Its name in the folder."""
    run: str
    parameters: int
    """All parameters of the model, tied ones once [-]."""
    files: list[FileHash]
