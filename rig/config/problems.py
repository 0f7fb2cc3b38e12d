"""From a pydantic error and a line table to a `Problem` that says where, which key, why, and what was probably meant."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Generic, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, Tag, ValidationError, create_model
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from rig.config.schema_parts import Strict
from rig.config.yaml_source import Document, Loc, Node, Position, key_path

Model = TypeVar("Model", bound=Strict)
_QUOTED = re.compile(r"'([^']*)'")
_LISTED_AT_MOST = 16


@dataclass(frozen=True, kw_only=True)
class Checked(Generic[Model]):
    """A mapping after validation.  Fields outside `sound` are missing from `model`: ask `has` before reading them."""

    model: Model
    sound: frozenset[str]

    def has(self, *fields: str) -> bool:
        return self.sound.issuperset(fields)

    @property
    def complete(self) -> bool:
        return self.sound == frozenset(type(self.model).model_fields)


def checked(model: type[Model], node: Node, document: Document) -> Checked[Model] | None:
    """Validate `node`, report every problem with its place, and keep what is sound.  None when `node` is not a mapping."""
    if not isinstance(node.value, dict):
        document.report(node.key_at or node.at, key=key_path(node.loc), reason=f"must be a mapping, not {_shown(node.value)}")
        return None
    text = json.dumps(node.plain())
    try:
        return Checked(model=model.model_validate_json(text), sound=frozenset(model.model_fields))
    except ValidationError as error:
        errors = error.errors(include_url=False)
    for found in _without_echoes(errors, node):
        _report(found, model, node, document)
    bad = {str(found["loc"][0]) for found in errors if found["loc"]}
    fields: dict[str, Any] = {name: (field.annotation, field) for name, field in model.model_fields.items() if name not in bad}
    part = create_model("Part", __base__=Strict, **fields)
    sound = part.model_validate_json(json.dumps({key: child.plain() for key, child in node.value.items() if key in fields}))
    return Checked(model=model.model_construct(None, **{name: getattr(sound, name) for name in fields}), sound=frozenset(fields))


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The name in `known` that `word` was probably meant to be: case, `-` and `_` do not count."""
    plain = {_folded(name): name for name in known}
    close = difflib.get_close_matches(_folded(word), plain, n=1)
    return plain[close[0]] if close else None


def suggestion(word: str, known: Sequence[str]) -> str:
    """A hint for an unknown `word`: the nearest name, else the names there are."""
    name = nearest(word, known)
    if name is not None:
        return f"did you mean {name!r}?"
    more = ", …" if len(known) > _LISTED_AT_MOST else ""
    return f"known: {', '.join(known[:_LISTED_AT_MOST])}{more}" if known else ""


def _folded(word: str) -> str:
    return word.lower().replace("-", "_")


# ------------------------------------------------------------------------------------------------ which errors to report
def _without_echoes(errors: Sequence[ErrorDetails], node: Node) -> Iterator[ErrorDetails]:
    """Errors without those that only follow from another: options of an unknown driver, and the key missing beside its misspelling."""
    unknown_drivers = {_parent(found, node).loc for found in errors if _names_unknown_driver(found)}
    misspelt = {
        (_parent(found, node).loc, nearest(str(found["loc"][-1]), _missing_beside(found, errors, node)))
        for found in errors
        if found["type"] == "extra_forbidden"
    }
    for found in errors:
        parent = _parent(found, node).loc
        if _descend(found["loc"], node).broken:
            continue
        if not _names_unknown_driver(found) and any(parent == loc or _is_below(parent, loc) for loc in unknown_drivers):
            continue
        if found["type"] == "missing" and (parent, str(found["loc"][-1])) in misspelt:
            continue
        if found["type"] == "too_short" and any(_is_below(other["loc"], found["loc"]) for other in errors):
            continue  # entries that are wrong do not count, so that a list of them looks empty
        yield found


def _is_below(loc: Loc, above: Loc) -> bool:
    return len(loc) > len(above) and loc[: len(above)] == above


def _names_unknown_driver(found: ErrorDetails) -> bool:
    return found["type"] == "literal_error" and found["loc"][-1] == "driver"


def _missing_beside(extra: ErrorDetails, errors: Sequence[ErrorDetails], node: Node) -> list[str]:
    parent = _parent(extra, node).loc
    return [
        str(found["loc"][-1]) for found in errors if found["type"] == "missing" and _parent(found, node).loc == parent
    ]


# ---------------------------------------------------------------------------------------------------------------- places
def _descend(loc: Sequence[str | int], node: Node) -> Node:
    """The node that `loc` leads to.  Steps that are not in the data are names of union members, which pydantic mixes in."""
    for step in loc:
        node = node.child(step) or node
    return node


def _parent(found: ErrorDetails, node: Node) -> Node:
    """The mapping that lacks the missing key or holds the unknown one; for other errors the mapping around the value."""
    return _descend(found["loc"][:-1], node)


def _report(found: ErrorDetails, model: type[Strict], node: Node, document: Document) -> None:
    loc, kind = found["loc"], found["type"]
    if kind == "union_tag_not_found":
        loc, kind = (*loc, "driver"), "missing"
    if kind == "missing":
        parent = _descend(loc[:-1], node)
        key = str(loc[-1])
        if isinstance(loc[-1], int):
            document.report(parent.at, key=key_path(parent.loc), reason=f"entry {loc[-1] + 1} of the list is missing")
            return
        document.report(
            parent.key_at or parent.at,
            key=key_path((*parent.loc, key)),
            reason=f"the key {key!r} is missing",
            hint=_lookup(model, loc).description,
        )
        return
    target = _descend(loc, node)
    if kind == "union_tag_invalid":
        target = target.child("driver") or target
    if "at" in found.get("ctx", {}):  # a rule about a whole mapping says which of its keys is the culprit
        target = target.child(found["ctx"]["at"]) or target
    at: Position = target.at
    if kind == "extra_forbidden":
        at = target.key_at or target.at
    reason, hint = _words(found, _lookup(model, loc), target)
    document.report(at, key=key_path(target.loc), reason=reason, hint=hint)


# ----------------------------------------------------------------------------------------------------------------- words
_TYPES = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "text",
    "bool_type": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}


def _words(found: ErrorDetails, place: _Place, target: Node) -> tuple[str, str]:
    """Reason and hint for one error."""
    kind, context = found["type"], found.get("ctx", {})
    value = target.plain()
    if kind == "extra_forbidden":
        key = str(found["loc"][-1])
        return "unknown key", suggestion(key, place.siblings)
    if kind in ("enum", "literal_error", "union_tag_invalid"):
        return _not_among(value, str(context.get("expected", context.get("expected_tags", ""))), place)
    if kind in _TYPES:
        return f"must be {_TYPES[kind]}, not {_shown(value)}", place.description
    bounds = {
        "greater_than_equal": ("below the minimum of", "ge"),
        "greater_than": ("not above", "gt"),
        "less_than_equal": ("above the maximum of", "le"),
        "less_than": ("not below", "lt"),
    }
    if kind in bounds:
        where, key = bounds[kind]
        return f"{_shown(value)} is {where} {context[key]}", place.description
    if kind == "multiple_of":
        return f"{_shown(value)} is not a multiple of {context['multiple_of']:g}", place.description
    if kind in ("string_too_short", "too_short"):
        return "must not be empty" if context.get("min_length") == 1 else f"needs {context['min_length']} entries", place.description
    if kind == "too_long":
        return f"has {context['actual_length']} entries, {context['max_length']} are allowed", place.description
    if kind == "string_pattern_mismatch":
        return f"{_shown(value)} does not have the form {context['pattern']}", place.description
    return f"{found['msg']}{'' if isinstance(value, dict | list) else f' (here {_shown(value)})'}", place.description


def _not_among(value: Any, expected: str, place: _Place) -> tuple[str, str]:
    known = _QUOTED.findall(expected) or [expected]
    if not isinstance(value, str):
        return f"must be {' or '.join(known)}, not {_shown(value)}", place.description
    near = nearest(value, known)
    return f"{value[:60]!r} is unknown here; known: {', '.join(known)}", f"did you mean {near!r}?" if near else place.description


def _shown(value: Any) -> str:
    """`value` in a sentence, short, with its kind where the kind is the point."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, str):
        return f"text {value!r}" if len(value) <= 60 else f"text {value[:57]!r}…"
    return str(value)


# ------------------------------------------------------------------------------------------- what the schema says there
@dataclass(frozen=True, kw_only=True)
class _Place:
    """What the schema knows at a location: the keys that may stand beside it, and the meaning of the innermost key."""

    siblings: tuple[str, ...]
    description: str


def _lookup(model: type[Strict], loc: Loc) -> _Place:
    """Follow `loc` through the model's types; a step that is no field picks the union member of that name."""
    here: list[Any] = [model]
    above = here
    description = ""
    for step in loc:
        members = [member for annotation in here for member in _members(annotation)]
        below: list[Any] = []
        for _tag, member in members:
            if isinstance(step, int):
                below += _items(member)
            elif field := _fields(member).get(step):
                below.append(field.annotation)
                description = field.description or description
        if not below:
            named = [member for tag, member in members if step in (tag, _driver(member))]
            here = named or here
            above = here
        else:
            above, here = here, below
    keys = [key for annotation in above for _tag, member in _members(annotation) for key in _fields(member)]
    return _Place(siblings=tuple(dict.fromkeys(keys)), description=description)


def _members(annotation: Any) -> Iterator[tuple[str | None, Any]]:
    """Members of a union with their tags; anything else is its own only member."""
    tag: str | None = None
    while get_origin(annotation) is Annotated:
        annotation, *metadata = get_args(annotation)
        tag = next((item.tag for item in metadata if isinstance(item, Tag)), tag)
    if get_origin(annotation) in (Union, UnionType):
        for member in get_args(annotation):
            yield from _members(member)
    else:
        yield tag, annotation


def _fields(annotation: Any) -> dict[str, FieldInfo]:
    return annotation.model_fields if isinstance(annotation, type) and issubclass(annotation, BaseModel) else {}


def _items(annotation: Any) -> list[Any]:
    return [item for item in get_args(annotation) if item is not Ellipsis] if get_origin(annotation) in (list, tuple) else []


def _driver(annotation: Any) -> str | None:
    """The word that selects a model among those told apart by `driver`."""
    field = _fields(annotation).get("driver")
    return str(get_args(field.annotation)[0]) if field and get_origin(field.annotation) is Literal else None
