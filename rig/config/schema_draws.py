"""Numbers of a scenario that may be drawn: one value, any of a range, one of a choice, or each of a list or grid in turn."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, Discriminator, Field, PlainValidator, Tag, WithJsonSchema
from pydantic_core import PydanticCustomError

from rig.config.schema_parts import Strict

_MAX_COUNT = 10_000_000
_MOST_POINTS = 1_000_000


def _count(value: Any) -> int | str:
    if value == "all":
        return "all"
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _MAX_COUNT:
        raise PydanticCustomError("count", f"not a count; write a whole number from 1 to {_MAX_COUNT}, or all")
    return value


def _ordered(pair: tuple[Any, Any]) -> tuple[Any, Any]:
    low, high = (float("inf") if value == "all" else value for value in pair)
    if low > high:
        raise PydanticCustomError("uniform", "the lower end comes first")
    return pair


def _rising(grid: tuple[Any, Any, Any]) -> tuple[Any, Any, Any]:
    if grid[0] > grid[1] or grid[2] <= 0:
        raise PydanticCustomError("grid", "a grid has its lower end, its upper end, and a step above 0")
    if (grid[1] - grid[0]) / grid[2] > _MOST_POINTS:
        raise PydanticCustomError("grid", f"this grid has more than {_MOST_POINTS} points")
    return grid


def _draw_form(value: Any) -> str:
    # A mapping counts as uniform unless it says otherwise, so that a misspelt word is reported as one.
    if isinstance(value, dict):
        return next((f"~{word}" for word in ("choice", "list", "grid") if word in value), "~uniform")
    return "~fixed"


Count = Annotated[
    int | str,
    PlainValidator(_count),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1, "maximum": _MAX_COUNT}, {"const": "all"}]}),
]
Whole = Annotated[int, Field(ge=1, le=_MAX_COUNT)]
Delay = Annotated[float, Field(ge=0, le=600_000)]
Duration = Annotated[float, Field(ge=1, le=600_000)]


class UniformCount(Strict):
    """Any whole number from the first to the second, both included."""

    uniform: Annotated[tuple[Count, Count], AfterValidator(_ordered)]
    """Lowest and highest count; `all` is the number of chunks or bytes of the image."""


class UniformDelay(Strict):
    """Any time from the first to the second."""

    uniform: Annotated[tuple[Delay, Delay], AfterValidator(_ordered)]
    """Shortest and longest time in milliseconds, 0 to 600000."""


class UniformDuration(Strict):
    """Any time from the first to the second."""

    uniform: Annotated[tuple[Duration, Duration], AfterValidator(_ordered)]
    """Shortest and longest time in milliseconds, 1 to 600000."""


class ChoiceCount(Strict):
    """One of the counts listed, drawn anew for each trial."""

    choice: Annotated[tuple[Count, ...], Field(min_length=1)]
    """Counts to choose from; `all` is the number of chunks or bytes of the image."""


class ListCount(Strict):
    """Each of the counts listed in turn."""

    list: Annotated[tuple[Count, ...], Field(min_length=1)]
    """Counts, one trial after the other, from the first again after the last; `all` is the number of chunks or bytes of the image."""


class GridCount(Strict):
    """Each point of a grid in turn."""

    grid: Annotated[tuple[Whole, Whole, Whole], AfterValidator(_rising)]
    """First point, last point, and step."""


class ChoiceDelay(Strict):
    """One of the times listed, drawn anew for each trial."""

    choice: Annotated[tuple[Delay, ...], Field(min_length=1)]
    """Times to choose from in milliseconds, 0 to 600000."""


class ListDelay(Strict):
    """Each of the times listed in turn."""

    list: Annotated[tuple[Delay, ...], Field(min_length=1)]
    """Times in milliseconds, 0 to 600000, one trial after the other, from the first again after the last."""


class GridDelay(Strict):
    """Each point of a grid in turn."""

    grid: Annotated[tuple[Delay, Delay, Delay], AfterValidator(_rising)]
    """First point, last point, and step in milliseconds, 0 to 600000."""


class ChoiceDuration(Strict):
    """One of the times listed, drawn anew for each trial."""

    choice: Annotated[tuple[Duration, ...], Field(min_length=1)]
    """Times to choose from in milliseconds, 1 to 600000."""


class ListDuration(Strict):
    """Each of the times listed in turn."""

    list: Annotated[tuple[Duration, ...], Field(min_length=1)]
    """Times in milliseconds, 1 to 600000, one trial after the other, from the first again after the last."""


class GridDuration(Strict):
    """Each point of a grid in turn."""

    grid: Annotated[tuple[Duration, Duration, Delay], AfterValidator(_rising)]
    """First point, last point, and step in milliseconds, 1 to 600000."""


CountDraw = Annotated[
    Annotated[Count, Tag("~fixed")]
    | Annotated[UniformCount, Tag("~uniform")]
    | Annotated[ChoiceCount, Tag("~choice")]
    | Annotated[ListCount, Tag("~list")]
    | Annotated[GridCount, Tag("~grid")],
    Discriminator(_draw_form),
]
DelayDraw = Annotated[
    Annotated[Delay, Tag("~fixed")]
    | Annotated[UniformDelay, Tag("~uniform")]
    | Annotated[ChoiceDelay, Tag("~choice")]
    | Annotated[ListDelay, Tag("~list")]
    | Annotated[GridDelay, Tag("~grid")],
    Discriminator(_draw_form),
]
DurationDraw = Annotated[
    Annotated[Duration, Tag("~fixed")]
    | Annotated[UniformDuration, Tag("~uniform")]
    | Annotated[ChoiceDuration, Tag("~choice")]
    | Annotated[ListDuration, Tag("~list")]
    | Annotated[GridDuration, Tag("~grid")],
    Discriminator(_draw_form),
]
