"""One instance of every record, made from its fields, so that a new kind of record is tried without more ado."""

import types
from collections.abc import Iterator
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

import rankwise.records.items
import rankwise.tracking.store  # noqa: F401 (a record of its own)
from rankwise.model.families import SHIPPED, read_family
from rankwise.model.family import Family
from rankwise.records.base import Record

VALUES = {str: "é", int: 3, float: 0.5, bool: True, Any: {"a": [1, 0.5, "x"]}, dict: {}, list: []}


def _below(cls: type[Record]) -> Iterator[type[Record]]:
    for found in cls.__subclasses__():
        yield found
        yield from _below(found)


RECORDS = sorted(
    (cls for cls in set(_below(Record)) if hasattr(cls, "schema_name")), key=lambda c: c.__name__
)
"""Every kind of record that the package has."""


def example(cls: type[BaseModel]) -> Any:
    """Return an instance that has every field, those that may be null included."""
    return cls(**{name: _value(field.annotation) for name, field in cls.model_fields.items()})


def _value(kind: Any) -> Any:
    found: Any
    origin, inside = get_origin(kind), get_args(kind)
    if kind is Family:
        found = read_family(SHIPPED / "llama.yaml")
    elif origin is Literal:
        found = inside[0]
    elif origin in (Union, types.UnionType):
        found = _value(next(one for one in inside if one is not type(None)))
    elif origin is list:
        found = [_value(inside[0])] * 2
    elif origin is tuple:
        found = tuple(_value(one) for one in inside)
    elif origin is dict:
        found = {_value(inside[0]): _value(inside[1])}
    elif isinstance(kind, type) and issubclass(kind, BaseModel):
        found = example(kind)
    else:
        found = VALUES[kind]
    return found
