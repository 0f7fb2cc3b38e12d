"""boards.yaml and scenario files → `rig.model` and `rig.scenario`, or every mistake at once with file, line, column and key."""

from rig.config.boards import BoardsFile
from rig.config.check import check
from rig.config.gates import load_gates
from rig.config.json_schema import schema_json
from rig.config.load import SCENARIO_FOLDER, Configuration, load, load_boards, load_product, load_scenarios

__all__ = [
    "SCENARIO_FOLDER",
    "BoardsFile",
    "Configuration",
    "check",
    "load",
    "load_boards",
    "load_gates",
    "load_product",
    "load_scenarios",
    "schema_json",
]
