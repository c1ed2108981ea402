"""The form of every record, and what a run was asked for."""

from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rankwise.errors import RankwiseError
from rankwise.files.atomic import write_json
from rankwise.files.checksummed import read_json, repair_hint, with_checksum, without_checksum


class Record(BaseModel):
    """A JSON artifact with a schema name."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())
    schema_name: ClassVar[str]

    def save(self, path: Path) -> None:
        """Write the record, whole or not at all."""
        write_json(
            path, with_checksum({"schema": self.schema_name, **self.model_dump(mode="json")})
        )

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a record; raises RankwiseError naming the file if it is another kind or not as written."""
        value = read_json(path)
        found = _schema(value)
        if found != cls.schema_name:
            raise RankwiseError(
                f"{path}: expected schema {cls.schema_name}, found {str(found)[:80]}; {repair_hint(path)}"
            )
        value = without_checksum(path, value)
        del value["schema"]
        try:
            return cls.model_validate(value)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise RankwiseError(f"{path}: {where}: {first['msg']}; {repair_hint(path)}") from error


def schema_of(path: Path) -> Any:
    """Return what a JSON artifact says that it is, None where it says nothing."""
    return _schema(read_json(path))


def _schema(value: Any) -> Any:
    return value.get("schema") if isinstance(value, dict) else None


class FileHash(BaseModel):
    """One file that something consists of."""

    path: str
    """Relative to the source's folder, or absolute for a local file outside one."""
    sha256: str
    bytes: int = Field(ge=0)
