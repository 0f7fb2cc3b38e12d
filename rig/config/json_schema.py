"""JSON Schema of every kind of file, for editors that complete and check while one types."""

from __future__ import annotations

import json
import re
from typing import Any, Literal, get_args

from rig.config.schema_boards import BoardEntry, BoardsDocument
from rig.config.schema_gates import GatesDocument
from rig.config.schema_product import ProductDocument
from rig.config.schema_scenario import ScenarioDocument

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_REF = "#/$defs/"
_PARTIAL = "Part"

Kind = Literal["boards", "scenario", "product", "gates"]
SCHEMA_KINDS: tuple[Kind, ...] = get_args(Kind)


def schema_json(kind: Kind) -> str:
    """The schema of a boards, scenario, product or gates file as JSON text (draft 2020-12)."""
    schema = _schema(kind)
    _describe(schema, schema["$defs"])
    return json.dumps({"$schema": _DIALECT} | schema, indent=2) + "\n"


def _schema(kind: Kind) -> dict[str, Any]:
    match kind:
        case "boards":
            return _boards()
        case "scenario":
            return ScenarioDocument.model_json_schema()
        case "product":
            return ProductDocument.model_json_schema()
        case "gates":
            return GatesDocument.model_json_schema()


def _boards() -> dict[str, Any]:
    """The file's schema, with what loading does in two steps put together: defaults, then each board.

    What defaults may provide is required of no single board: only loading can tell.  A name and a whole memory map are never mixed.
    """
    schema = BoardsDocument.model_json_schema()
    board = BoardEntry.model_json_schema()
    strict = board.pop("$defs")
    partial = {f"{name}{_PARTIAL}": _relaxed(definition) for name, definition in strict.items()}
    defaults = schema["properties"]["defaults"]
    defaults |= _relaxed(board) | {"description": defaults["description"], "title": defaults["title"]}
    schema["properties"]["boards"]["items"] = {"$ref": f"{_REF}BoardEntry"}
    schema["$defs"] |= strict | partial | {"BoardEntry": _relaxed(board) | {"required": ["name"]}}
    return _pruned(schema)


def _describe(schema: Any, definitions: dict[str, Any]) -> None:
    """Put the description of what a key refers to beside the key: pydantic leaves it out where both say the same."""
    for value in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        _describe(value, definitions)
    if isinstance(schema, dict) and isinstance(schema.get("properties"), dict):
        for key in schema["properties"].values():
            if "$ref" in key and "description" not in key:
                key["description"] = definitions[key["$ref"].removeprefix(_REF)]["description"]


def _relaxed(schema: Any) -> Any:
    """`schema` without required keys, all the way down except below `memory`.

    Without its required driver a mapping may fit several instruments, so that "one of" becomes "any of".
    """
    if isinstance(schema, list):
        return [_relaxed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {key: value for key, value in schema.items() if key not in ("required", "discriminator")}
    result = {"anyOf" if key == "oneOf" else key: value if key == "memory" else _relaxed(value) for key, value in kept.items()}
    if str(result.get("$ref", "")).startswith(_REF):
        result["$ref"] += _PARTIAL
    return result


def _pruned(schema: dict[str, Any]) -> dict[str, Any]:
    """`schema` without definitions that nothing refers to."""
    definitions = schema.pop("$defs")
    used: dict[str, Any] = {}
    names = _references(schema)
    while names:
        used |= {name: definitions[name] for name in names}
        names = {name for definition in used.values() for name in _references(definition)} - used.keys()
    return schema | {"$defs": {name: used[name] for name in sorted(used)}}


def _references(schema: Any) -> set[str]:
    return set(re.findall(rf'"{re.escape(_REF)}([^"]+)"', json.dumps(schema)))
