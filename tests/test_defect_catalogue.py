"""The catalogue of known-bad devices, and how a board of a boards file gets a defect from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rig.config.load import load_boards
from rig.errors import ConfigError
from rig.model import Protocol
from rig.virtual.defects import CATALOGUE, planted
from rig.virtual.mcuboot.defect import Defect as McubootDefect
from rig.virtual.sample_firmware import Defect as ApplicationDefect
from rig.virtual.secure_dfu.defects import Defect as SecureDfuDefect

PRESETS = {"M39b": "swap-move", "M40": "swap-scratch"}


COMBINATIONS = [(entry.id, protocol) for entry in CATALOGUE.values() for protocol in entry.plants]


def boards_file(folder: Path, protocol: Protocol, preset: str, model: dict[str, Any]) -> Path:
    virtual = {"driver": "virtual"}
    board = {
        "name": "dk1", "soc": "nrf52840", "protocol": protocol.value, "ble": {"name": "rig-dk1", "address": "C0:00:00:00:00:02"},
        "memory": {"preset": preset}, "probe": virtual, "supply": {"driver": "ppk2", "port": "virtual:dk1/ppk2"},
        "console": {"driver": "uart", "port": "virtual:dk1/console"}, "radio": {"driver": "bleak", "adapter": "virtual"}, "model": model,
    }  # fmt: skip
    path = folder / "boards.yaml"
    path.write_text(json.dumps({"bench": virtual, "boards": [board]}, indent=2))
    return path


@pytest.mark.parametrize(("identity", "protocol"), COMBINATIONS)
def test_every_defect_can_be_planted_with_nothing_but_its_id(tmp_path: Path, identity: str, protocol: Protocol) -> None:
    preset = "secure-dfu" if protocol is Protocol.SECURE_DFU else PRESETS.get(identity, "swap-offset")
    (board,) = load_boards(boards_file(tmp_path, protocol, preset, {"defects": [identity]})).boards
    assert planted(board.model, protocol) != planted({}, protocol)


def test_ids_titles_and_practices() -> None:
    assert all(key == entry.id for key, entry in CATALOGUE.items())
    assert all(entry.practices and set(entry.practices) <= set(range(1, 12)) and entry.title and entry.plants for entry in CATALOGUE.values())
    assert {number for entry in CATALOGUE.values() for number in entry.practices} == set(range(1, 12))
    assert len({entry.title for entry in CATALOGUE.values()}) == len(CATALOGUE)


def test_no_defect_is_left_out() -> None:
    planted_names: dict[tuple[Protocol, str], set[str]] = {}
    for entry in CATALOGUE.values():
        for protocol, plants in entry.plants.items():
            for plant in plants:
                planted_names.setdefault((protocol, plant.section), set()).update(plant.names)
    assert set(McubootDefect) == planted_names[Protocol.SMP, "bootloader"]
    assert set(SecureDfuDefect) == planted_names[Protocol.SECURE_DFU, "bootloader"]
    assert set(ApplicationDefect) == planted_names[Protocol.SMP, "application"] | planted_names[Protocol.SECURE_DFU, "application"]


def test_planting_leaves_the_rest_of_the_model_as_it_was() -> None:
    model = {
        "defects": ["M25", "M70", "M43"],
        "bootloader": {"defects": ["no-revert"], "watchdog_s": 5},
        "soc": {"radio_sync": True},
        "power": {"capacitance_uf": 1},
    }
    assert planted(model, Protocol.SMP) == {
        "bootloader": {"downgrade_prevention": True, "watchdog_s": 5, "defects": ["no-revert", "downgrade-accepted"]},
        "soc": {"radio_sync": False},
        "power": {"capacitance_uf": 1},
        "application": {"defects": ["erases-whole-slot"]},
    }
    assert planted({"power": {}}, Protocol.SMP) == {"power": {}}


def test_what_the_file_says_goes_before_what_a_defect_needs() -> None:
    model = {"defects": ["M17"], "application": {"security": "encrypted", "passkey": 7}}
    assert planted(model, Protocol.SMP)["application"] == {"security": "encrypted", "passkey": 7, "defects": ["open-services"]}


@pytest.mark.parametrize(
    ("model", "key", "message"),
    [
        ({"defects": ["M18"]}, "defects", "a board of protocol smp cannot have the defect 'M18'; it can have: M01, M04"),
        ({"defects": ["M999"]}, "defects", "cannot have the defect 'M999'"),
        ({"defects": "M25"}, "defects", "must be a list of ids"),
        ({"defects": 25}, "defects", "must be a list of ids"),
        ({"application": {"security": "secret"}}, "application", "unknown 'security' 'secret'; known: open, encrypted, authenticated"),
        ({"application": {"security": "authenticated"}}, "application", "needs a passkey"),
        ({"application": {"passkey": 1}}, "application", "'passkey' needs security"),
        ({"application": {"security": "encrypted", "passkey": 1_000_000}}, "application", "must be 0 to 999999"),
        ({"application": {"boot_s": -1}}, "application", "must not be negative"),
        ({"application": {"defects": ["open-services"]}}, "application", "can show only with security"),
        ({"application": {"defects": ["log-in-ram"]}}, "application", "can show only with update_service"),
        ({"application": {"defects": ["unbonded-accepted"]}}, "application", "unknown defect 'unbonded-accepted'; known: applies-at-once"),
        ({"application": {"bonded": True}}, "application", "bonded"),
        ({"application": {"class": "rig.virtual.dfu_application:DfuApplication", "defects": ["unbonded-accepted"]}}, "application", "bonded"),
        ({"soc": {"approtecc": True}}, "soc", "known: approtect, radio_sync"),
    ],
)
def test_mistakes_in_the_file_are_found_where_they_are(tmp_path: Path, model: dict[str, Any], key: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_boards(boards_file(tmp_path, Protocol.SMP, "swap-offset", model))
    (problem,) = caught.value.problems
    assert message in problem.reason
    assert problem.key.startswith(f"boards[0].model.{key}")
