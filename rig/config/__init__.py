"""Boards, scenario and product files → `rig.model`, `rig.scenario` and `rig.product`, or every mistake at once with file, line, column and key."""

from rig.config.boards import BoardsFile
from rig.config.check import check
from rig.config.gates import load_gates
from rig.config.json_schema import SCHEMA_KINDS, schema_json
from rig.config.load import SCENARIO_FOLDER, Configuration, load, load_boards, load_product, load_scenarios
from rig.config.product_scenarios import bind

__all__ = [
    "SCENARIO_FOLDER",
    "SCHEMA_KINDS",
    "BoardsFile",
    "Configuration",
    "bind",
    "check",
    "load",
    "load_boards",
    "load_gates",
    "load_product",
    "load_scenarios",
    "schema_json",
]
