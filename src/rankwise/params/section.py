"""Sections of params.yaml: base class, reading and validation with a clear error for every mistake."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, Tag, ValidationError

from rankwise.errors import RankwiseError, nearest
from rankwise.files.checksummed import read_json, repair_hint

if TYPE_CHECKING:
    from rankwise.methods.registry import Registry

S = TypeVar("S", bound=BaseModel)


class Section(BaseModel):
    """One section: unknown keys are errors, and values are immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]


def read_method(path: Path, registry: "Registry[S]") -> S:
    """Read the section of a method: ``method`` names its file, all other keys are its fields."""
    fields = read_object(path)
    name = fields.pop("method", None)
    if not isinstance(name, str):
        raise RankwiseError(
            f"{path}: method: expected the name of a file of methods, found {str(name)[:80]!r}; {repair_hint(path)}"
        )
    return validate(registry[name], fields, str(path), ())


def read_object(path: Path) -> dict[str, Any]:
    """Read a file of one or several sections; raises RankwiseError unless it is a JSON object."""
    content = read_json(path)
    if not isinstance(content, dict):
        raise RankwiseError(
            f"{path}: expected a JSON object, found {type(content).__name__}; {repair_hint(path)}"
        )
    return content


def read_section(path: Path, cls: type[S]) -> S:
    """Read one section file into its type."""
    return validate(cls, read_json(path), str(path), ())


def validate(cls: type[S], value: Any, where: str, key_prefix: tuple[str, ...]) -> S:
    """Return ``value`` as ``cls``; RankwiseError has one line per mistake: where, key path, value, allowed."""
    try:
        return cls.model_validate(value)
    except ValidationError as error:
        lines = [_sentence(cls, problem, key_prefix) for problem in error.errors(include_url=False)]
        raise RankwiseError("\n".join(f"{where}: {line}" for line in lines)) from error


def _sentence(cls: type[BaseModel], problem: Any, key_prefix: tuple[str, ...]) -> str:
    """Return the sentence for one mistake: key path, value, allowed values, nearest valid name."""
    keys, _ = _walk(cls, problem["loc"])
    _, parent = _walk(cls, problem["loc"][:-1])
    key = ".".join([*key_prefix, *keys])
    value = problem["input"]
    shown = "a section" if isinstance(value, dict | list) and value else repr(value)
    if problem["type"] == "extra_forbidden":
        allowed = list(getattr(parent, "model_fields", {}))
        return f"{key}: no such key (given {shown}); {nearest(keys[-1], allowed)}"
    if problem["type"] == "missing":
        return f"{key}: is missing; give it a value"
    return f"{key}: {shown} given; {problem['msg'].removeprefix('Value error, ')}"


def _walk(cls: Any, location: tuple[Any, ...]) -> tuple[list[str], Any]:
    """Return the keys of params.yaml that lead to ``location``, and the type at that location.

    Pydantic's location also contains the tags of union members, which are no keys of the file.
    """
    keys: list[str] = []
    for part in map(str, location):
        tagged = {
            tag.tag: get_args(member)[0]
            for member in get_args(get_args(cls)[0] if get_origin(cls) is Annotated else cls)
            for tag in getattr(member, "__metadata__", ())
            if isinstance(tag, Tag)
        }
        if part in tagged:
            cls = tagged[part]
            continue
        keys.append(part)
        if hasattr(cls, "model_fields"):
            cls = cls.model_fields[part].annotation if part in cls.model_fields else None
        else:  # dict[str, Something]: any name, then the value's type
            cls = (get_args(cls) or (None,))[-1]
    return keys, cls
