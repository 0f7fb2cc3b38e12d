"""The schemas themselves: JSON Schema, documentation and registry say what loading does."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import sys
from pathlib import Path
from typing import get_args

import pytest
from pydantic.fields import FieldInfo

from rig import config
from rig.config import schema_boards, schema_faults, schema_gates, schema_images, schema_product, schema_scenario
from rig.config.schema_parts import Strict
from rig.drivers import CLOCKS_OF_BENCH, DRIVERS, load, resolve
from rig.errors import ConfigError
from rig.model import InstrumentSpec, Limits
from rig.scenario import Place
from tests.config_files import (
    PRODUCTS,
    REPOSITORY,
    SCENARIO,
    SHIPPED,
    edited,
    place,
    scenario,
    write,
)


def all_models(model: type[Strict]) -> set[type[Strict]]:
    """Every model of the module that defines `model`, so that none can be forgotten."""
    modules = (schema_scenario, schema_images, schema_faults) if model.__module__ == schema_scenario.__name__ else (sys.modules[model.__module__],)
    return {item for module in modules for item in vars(module).values() if isinstance(item, type) and issubclass(item, Strict) and item is not Strict}


ROOTS: dict[config.json_schema.Kind, type[Strict]] = {
    "boards": schema_boards.BoardsDocument,
    "scenario": schema_scenario.ScenarioDocument,
    "product": schema_product.ProductDocument,
    "gates": schema_gates.GatesDocument,
}


@pytest.mark.parametrize(("kind", "root"), ROOTS.items())
def test_json_schema_is_whole(kind: config.json_schema.Kind, root: type[Strict]) -> None:
    schema = json.loads(config.schema_json(kind))

    objects = [node for node in walk(schema) if node.get("type") == "object" and "properties" in node]
    properties = {name: value for node in objects for name, value in node["properties"].items()}
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert all(node["additionalProperties"] is False for node in objects)
    assert all(value.get("description") for node in objects for value in node["properties"].values())
    for model in all_models(root):
        assert set(model.model_fields) <= set(properties), model
    referenced = {node["$ref"].removeprefix("#/$defs/") for node in walk(schema) if "$ref" in node}
    assert referenced <= set(schema["$defs"])


def walk(node):
    if isinstance(node, dict):
        yield node
        for child in node.values():
            yield from walk(child)
    elif isinstance(node, list):
        for child in node:
            yield from walk(child)


def accepts(schema: dict, node: dict, value) -> bool:
    """Whether `value` satisfies `node`: the keywords that our schemas use, and an error for any other."""
    known = {
        "$ref", "$schema", "$defs", "title", "description", "default", "discriminator", "type", "properties", "required",
        "additionalProperties", "items", "prefixItems", "minItems", "maxItems", "enum", "const", "anyOf", "oneOf", "minimum",
        "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength", "pattern",
    }  # fmt: skip
    assert set(node) <= known, set(node) - known
    if "$ref" in node and not accepts(schema, schema["$defs"][node["$ref"].removeprefix("#/$defs/")], value):
        return False
    types = {"object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "boolean": bool, "null": type(None)}
    if "type" in node:
        wanted = node["type"] if isinstance(node["type"], list) else [node["type"]]
        if not any(isinstance(value, types[name]) and (not isinstance(value, bool) or name == "boolean") for name in wanted):
            return False
    if ("enum" in node and value not in node["enum"]) or ("const" in node and value != node["const"]):
        return False
    if isinstance(value, int | float) and not isinstance(value, bool):
        low, high = node.get("minimum", value), node.get("maximum", value)
        below, above = node.get("exclusiveMinimum", value - 1), node.get("exclusiveMaximum", value + 1)
        if not (low <= value <= high and below < value < above) or value % node.get("multipleOf", 1 if isinstance(value, int) else value or 1):
            return False
    if isinstance(value, str) and (not node.get("minLength", 0) <= len(value) <= node.get("maxLength", len(value)) or not re.search(node.get("pattern", ""), value)):
        return False
    if isinstance(value, list):
        rows = [*node.get("prefixItems", [])] + [node.get("items", {})] * (len(value) - len(node.get("prefixItems", [])))
        if not node.get("minItems", 0) <= len(value) <= node.get("maxItems", len(value)) or not all(map(lambda row, item: accepts(schema, row, item), rows, value)):
            return False
    if isinstance(value, dict):
        extra = node.get("additionalProperties", True)
        for key, item in value.items():
            row = node.get("properties", {}).get(key, extra)
            if row is False or (isinstance(row, dict) and not accepts(schema, row, item)):
                return False
        if not set(node.get("required", ())) <= set(value):
            return False
    if "anyOf" in node and not any(accepts(schema, row, value) for row in node["anyOf"]):
        return False
    return "oneOf" not in node or sum(accepts(schema, row, value) for row in node["oneOf"]) == 1


def plain(path: Path):
    document = config.yaml_source.read(path, shown_as=path.name)
    assert document.root is not None
    return document.root.plain()


def test_shipped_files_satisfy_the_json_schema() -> None:
    files = {
        "boards": [REPOSITORY / "boards.yaml", *PRODUCTS.glob("*/boards.yaml")],
        "scenario": [*SHIPPED.rglob("*.yaml")],
        "product": [*PRODUCTS.glob("*/product.yaml")],
        "gates": [REPOSITORY / "gates.yaml"],
    }
    for kind in config.SCHEMA_KINDS:
        schema = json.loads(config.schema_json(kind))
        assert files[kind]
        for path in files[kind]:
            assert accepts(schema, schema, plain(path)), path


@pytest.mark.parametrize(("old", "new"), [("seed: 1", "sead: 1"), ("{phase: install}", "{phase: instal}"), ("off_ms: 500", "off_ms: 0"), ("- none", "- nothing")])
def test_json_schema_refuses_what_loading_refuses(tmp_path: Path, old: str, new: str) -> None:
    schema = json.loads(config.schema_json("scenario"))

    assert accepts(schema, schema, plain(write(tmp_path, "good.yaml", SCENARIO)))
    assert not accepts(schema, schema, plain(write(tmp_path, "bad.yaml", edited(SCENARIO, old, new))))


@pytest.mark.parametrize(
    ("old", "new"),
    [("product: p", "prodact: p"), ("channel: {security: open}", "channel: {security: close}"), ("boot_s: 2", "boot_s: 0"), ("a1b2", "A1B2")],
)
def test_json_schema_of_products_refuses_what_loading_refuses(tmp_path: Path, old: str, new: str) -> None:
    schema = json.loads(config.schema_json("product"))
    text = (
        "product: p\nprotocol: smp\nencryption: {policy: none}\nchannel: {security: open}\nprotection: {readback: true}\n"
        "budgets: {boot_s: 2}\nsignals: {service: 0000a1b2-0000-1000-8000-00805f9b34fb}\n"
    )

    assert accepts(schema, schema, plain(write(tmp_path, "good.yaml", text)))
    assert not accepts(schema, schema, plain(write(tmp_path, "bad.yaml", edited(text, old, new))))


@pytest.mark.parametrize(
    ("old", "new"), [("below: 0.01", "below: 1"), ("id: G2", "id: G 2"), ("faults: proved", "faults: prooved"), ("failures:", "failuers:"), ("require: No", f"require: {'x' * 200} No")]
)
def test_json_schema_of_gates_refuses_what_loading_refuses(tmp_path: Path, old: str, new: str) -> None:
    schema = json.loads(config.schema_json("gates"))
    bad = write(tmp_path, "bad.yaml", edited((REPOSITORY / "gates.yaml").read_text("utf-8"), old, new))

    assert not accepts(schema, schema, plain(bad))
    with pytest.raises(ConfigError):
        config.load_gates(bad)


def documented(name: str, field: FieldInfo) -> str:
    """The row that docs/configuration.md must hold for a key."""
    default = None if field.is_required() else field.get_default(call_default_factory=True)
    if default is None:
        shown = "required" if field.is_required() else "none"
    elif isinstance(default, Strict) or default in ({}, ""):
        shown = "see below" if isinstance(default, Strict) else "empty"
    else:
        shown = f"`{default if isinstance(default, str) else json.dumps(default)}`".replace("|", "\\|")
    return f"| `{name}` | {shown} | {' '.join((field.description or '').split())} |"


@pytest.mark.parametrize(
    "model",
    sorted({model for root in ROOTS.values() for model in all_models(root)}, key=lambda model: model.__name__),
)
def test_every_key_is_documented_with_its_default_and_its_meaning(model: type[Strict]) -> None:
    rows = (REPOSITORY / "docs" / "configuration.md").read_text(encoding="utf-8").splitlines()

    missing = [row for name, field in model.model_fields.items() if (row := documented(name, field)) not in rows]

    assert missing == []


def test_waits_are_the_limits_of_the_model() -> None:
    assert schema_scenario.Waits().model_dump() == dataclasses.asdict(Limits())


SCHEMAS: dict[str, list[type[Strict]]] = {
    "bench": [schema_boards.VirtualBench, schema_boards.LabBench],
    "probe": [schema_boards.VirtualProbe, schema_boards.NrfjprogProbe, schema_boards.NrfutilProbe, schema_boards.PyocdProbe],
    "supply": [
        schema_boards.Ppk2Supply,
        schema_boards.SwitchSupply,
        schema_boards.ScpiSupply,
        schema_boards.JoulescopeSupply,
        schema_boards.UhubctlSupply,
        schema_boards.HttpPlugSupply,
    ],
    "console": [schema_boards.UartConsole, schema_boards.RttConsole],
    "radio": [schema_boards.BleakRadio],
    "counter": [schema_boards.VirtualCounter],
    "interferer": [schema_boards.RadioTestInterferer],
    "attenuator": [schema_boards.RcdatAttenuator],
}
AROUND_THE_BOARDS = {"enclosure", "interferer"}
"""Keys under `bench` that no bench driver sees."""
GIVEN_BY_THE_BENCH = {"owner", "boards", "trial_seed"}


def driver_name(model: type[Strict]) -> str:
    (name,) = get_args(model.model_fields["driver"].annotation)
    return name


def test_every_driver_has_a_schema_and_every_schema_a_driver() -> None:
    assert {model for models in SCHEMAS.values() for model in models} == {
        model for model in all_models(schema_boards.BoardsDocument) if "driver" in model.model_fields
    }
    assert {port: {driver_name(model) for model in models} - {"lab"} for port, models in SCHEMAS.items()} == {
        port: set(drivers) for port, drivers in DRIVERS.items()
    }
    assert set(CLOCKS_OF_BENCH) == {driver_name(model) for model in SCHEMAS["bench"]}


@pytest.mark.parametrize(
    ("port", "model"), [(port, model) for port, models in SCHEMAS.items() for model in models if driver_name(model) != "lab"]
)
def test_options_in_the_schema_are_the_options_of_the_driver(port: str, model: type[Strict]) -> None:
    parameters = inspect.signature(resolve(DRIVERS[port][driver_name(model)])).parameters
    options = {name: field for name, field in model.model_fields.items() if name not in {"driver", *AROUND_THE_BOARDS}}

    assert set(options) == set(parameters) - GIVEN_BY_THE_BENCH
    for name, field in options.items():
        assert field.is_required() == (parameters[name].default is inspect.Parameter.empty), name
        assert field.is_required() or field.default == parameters[name].default, name


def test_adapter_schemes_are_those_of_the_radio_driver() -> None:
    assert set(schema_boards.ADAPTER_SCHEMES) == set(resolve("rig.drivers.radio_bleak:ADAPTERS"))


def test_loading_an_unknown_driver_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="known: http-plug, joulescope, ppk2, scpi, switch, uhubctl"):
        load("supply", InstrumentSpec(driver="battery"))


def test_places_point_at_values(tmp_path: Path) -> None:
    places = scenario(tmp_path).places

    line, column = place(SCENARIO, "5000")
    assert places["faults[1].power_cut.offset_ms.uniform[1]"] == Place(
        line=line, column=column, excerpt=places["faults[1].power_cut.offset_ms.uniform[1]"].excerpt
    )
