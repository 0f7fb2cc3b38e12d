"""Frozen records to JSON and back, strictly: an unknown, missing or ill-typed field is an error that names it.

Only fields that were added later may be missing, as they are in older folders; `rig.model.ADDED_LATER` marks them.

A record is read by its own annotations, so the files follow the model without a second description of it.  Understood are
dataclasses, `StrEnum`, `str`, `int`, `float`, `bool`, ``X | None``, ``tuple[X, ...]``, ``Mapping[str, X]`` and `Any`.
"""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from enum import StrEnum
from functools import cache
from typing import Any, TypeVar, cast

from rig.errors import StorageError
from rig.model import ADDED_LATER, Json

T = TypeVar("T")
Reader = Callable[[Json, str], Any]
"""Takes a value and the name of its place, for instance ``trials[3].limits``."""

_FOREIGN = "another version of rig wrote this file, or it was changed by hand"

canonical: Callable[[Json], str] = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False).encode
"""JSON on one line with sorted keys; equal values give equal text."""


class _Mismatch(Exception):
    """A value that does not fit its type; the text names the place."""


def to_json(record: object) -> Json:
    """The JSON form of a record: every field, enumerations by value, tuples as lists."""
    if is_dataclass(record):
        return {name: to_json(getattr(record, name)) for name in _names(cast("Any", type(record)))}
    if isinstance(record, StrEnum):
        return record.value
    if isinstance(record, Mapping):
        return {key: to_json(value) for key, value in record.items()}
    if isinstance(record, tuple | list):
        return [to_json(value) for value in record]
    return record


def from_json(kind: type[T], value: Json, *, file: str) -> T:
    """The record of type `kind` that `value` describes.

    Raises:
        StorageError: a field is unknown, missing, or has the wrong type; the message names `file` and the field.
    """
    try:
        return cast("T", _reader(cast("Any", kind))(value, ""))
    except _Mismatch as error:
        raise StorageError(f"{file}: {error}") from None


@cache
def _names(kind: Any) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


@cache
def _reader(kind: Any) -> Reader:
    """The function that reads a value of type `kind`; made once per type, since plans hold thousands of records."""
    if kind is Any:
        return lambda value, _: value
    if is_dataclass(kind):
        return _record_reader(cast("type", kind))
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        (inner,) = (argument for argument in arguments if argument is not types.NoneType)
        return _optional_reader(_reader(inner))
    if origin is tuple:
        return _tuple_reader(_reader(arguments[0]))
    if origin is not None and issubclass(origin, Mapping):
        return _mapping_reader(_reader(arguments[1]))
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return _enum_reader(kind)
    return _scalar_reader(kind)


def _record_reader(kind: type) -> Reader:
    hints = typing.get_type_hints(kind)
    readers = {name: _reader(hints[name]) for name in _names(kind)}
    required = {field.name for field in fields(kind) if field.metadata != ADDED_LATER}

    def read(value: Json, place: str) -> Any:
        if not isinstance(value, dict):
            raise _Mismatch(f"{place or 'the file'}: an object is wanted, not {_shown(value)}")
        dot = place + "." if place else ""
        if value.keys() != readers.keys():
            for name in sorted((value.keys() - readers.keys()) | (required - value.keys())):
                raise _Mismatch(f"{dot}{name}: {'unknown' if name in value else 'missing'} field; {_FOREIGN}")
        return kind(**{name: reader(value[name], dot + name) for name, reader in readers.items() if name in value})

    return read


def _optional_reader(inner: Reader) -> Reader:
    return lambda value, place: None if value is None else inner(value, place)


def _tuple_reader(inner: Reader) -> Reader:
    def read(value: Json, place: str) -> Any:
        if not isinstance(value, list):
            raise _Mismatch(f"{place}: a list is wanted, not {_shown(value)}")
        return tuple(inner(item, f"{place}[{index}]") for index, item in enumerate(value))

    return read


def _mapping_reader(inner: Reader) -> Reader:
    def read(value: Json, place: str) -> Any:
        if not isinstance(value, dict):
            raise _Mismatch(f"{place}: an object is wanted, not {_shown(value)}")
        return {key: inner(item, f"{place}.{key}") for key, item in value.items()}

    return read


def _enum_reader(kind: type[StrEnum]) -> Reader:
    members = {member.value: member for member in kind}

    def read(value: Json, place: str) -> Any:
        if not isinstance(value, str) or value not in members:
            raise _Mismatch(f"{place}: one of {', '.join(members)} is wanted, not {_shown(value)}")
        return members[value]

    return read


def _scalar_reader(kind: type) -> Reader:
    accepted = (int, float) if kind is float else (kind,)

    def read(value: Json, place: str) -> Any:
        if type(value) not in accepted:  # not isinstance: true is no number
            raise _Mismatch(f"{place}: {kind.__name__} is wanted, not {_shown(value)}")
        return kind(value)

    return read


def _shown(value: Json) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "…"
