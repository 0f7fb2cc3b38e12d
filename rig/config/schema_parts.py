"""What both file schemas are made of: the strict base model, and types with units, ranges and messages of their own.

Where a value may have several forms, the schemas tell them apart with tags that begin with ``~``, which no key of ours does:
pydantic mixes these tags into the location of an error, and they must not be mistaken for keys there.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from rig.formats.soc import PAGE_SIZE


class Strict(BaseModel):
    """No unknown keys, no conversions, no infinities, no changes.  Validate from JSON, so that lists and words are what they seem."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True)


def _pattern(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        raise PydanticCustomError("pattern", "not a regular expression: {why}", {"why": str(error)}) from None
    return value


Pattern = Annotated[str, Field(min_length=1), AfterValidator(_pattern)]
"""A regular expression in Python's syntax."""

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$")]
"""Of a board: letters, digits, _ and -, at most 32."""

Share = Annotated[float, Field(ge=0, le=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]

PageMultiple = Annotated[int, Field(ge=0, lt=2**32, multiple_of=PAGE_SIZE)]
"""Bytes, in whole flash pages."""

_SIZE = re.compile(r"([0-9]+) ?(B|KiB|MiB)")
_UNITS = {"B": 1, "KiB": 1024, "MiB": 1024 * 1024}


def _size(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise PydanticCustomError("size", "not a size; write bytes as a number, or for instance 64 KiB")
    return int(match[1]) * _UNITS[match[2]]


Size = Annotated[
    int,
    PlainValidator(_size),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": f"^{_SIZE.pattern}$"}]}),
]
"""Bytes: a number, or text with B, KiB or MiB."""

_VERSION = re.compile(r"(\d{1,3})\.(\d{1,3})\.(\d{1,5})(?:\+(\d{1,10}))?")
_VERSION_LIMITS = (255, 255, 65535, 2**32 - 1)


def _version(value: Any) -> str:
    match = _VERSION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise PydanticCustomError("version", "not a version; write major.minor.revision, for instance 1.2.0, or 1.2.0+7")
    parts = [int(part) for part in match.groups(default="0")]
    if any(part > limit for part, limit in zip(parts, _VERSION_LIMITS, strict=True)):
        raise PydanticCustomError("version", "major and minor end at 255, the revision at 65535, the build number at 4294967295")
    build = f"+{parts[3]}" if parts[3] else ""
    return f"{parts[0]}.{parts[1]}.{parts[2]}{build}"


Version = Annotated[
    str, PlainValidator(_version), WithJsonSchema({"type": "string", "pattern": r"^\d+\.\d+\.\d+(\+\d+)?$"})
]
"""As an MCUboot header holds it: major.minor.revision, with +build where wanted."""
