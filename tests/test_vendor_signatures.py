"""The stand-ins of pynrfjprog and pyOCD have the signatures of the installed packages: what rig calls there is there, and is called right.

Each side is described by a process of its own, because both bear the same name.  Only the Python layer is looked at.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys

import pytest

from tests.probe_board import REPOSITORY, STAND_INS

USED = {
    "pynrfjprog": [
        "pynrfjprog.LowLevel:API.__init__",
        *(
            f"pynrfjprog.LowLevel:API.{name}"
            for name in ["open", "close", "enum_emu_snr", "connect_to_emu_with_snr", "readback_status", "connect_to_device", "disconnect_from_device", "sys_reset", "pin_reset", "go", "read", "read_u32", "write", "write_u32", "erase_page", "recover", "rtt_start", "rtt_is_control_block_found", "rtt_read"]
        ),
        "pynrfjprog.LowLevel:APIError.__init__",
    ],
    "pyocd": [
        "pyocd.core.helpers:ConnectHelper.get_all_connected_probes",
        "pyocd.core.session:Session.__init__",
        "pyocd.core.session:Session.open",
        "pyocd.core.session:Session.close",
        "pyocd.core.session:Session.target",
        "pyocd.core.session:Session.options",
        *(f"pyocd.probe.debug_probe:DebugProbe.{name}" for name in ("open", "close", "reset", "unique_id", "is_open")),
        *(
            f"pyocd.target.family.target_nRF52:NRF52.{name}"
            for name in ("is_locked", "mass_erase", "write_uicr", "read_memory", "read_memory_block8", "reset_and_halt")
        ),
        "pyocd.flash.eraser:FlashEraser.__init__",
        "pyocd.flash.eraser:FlashEraser.erase",
        "pyocd.flash.loader:MemoryLoader.__init__",
        "pyocd.flash.loader:MemoryLoader.add_data",
        "pyocd.flash.loader:MemoryLoader.commit",
        "pyocd.debug.rtt:RTTControlBlock.from_target",
        "pyocd.debug.rtt:RTTControlBlock.start",
        "pyocd.debug.rtt:RTTUpChannel.read",
    ],
}
"""The functions of each package that the drivers call."""

ENUMERATIONS = {
    "pynrfjprog": ["pynrfjprog.LowLevel:DeviceFamily", "pynrfjprog.LowLevel:NrfjprogdllErr"],
    "pyocd": ["pyocd.core.target:Target.ResetType", "pyocd.flash.eraser:FlashEraser.Mode"],
}
EXCEPTIONS = [f"pyocd.core.exceptions:{name}" for name in ("Error", "TimeoutError", "ProbeError", "TargetError", "DebugError", "TransferError", "RTTError")]

DESCRIBE = """
import enum, importlib, inspect, json, sys

def find(name):
    module, _, path = name.partition(":")
    found = importlib.import_module(module)
    for part in path.split("."):
        found = getattr(found, part)
    return found

def describe(name):
    found = find(name)
    if isinstance(found, property):
        return "property"
    if isinstance(found, type) and issubclass(found, enum.Enum):
        return {member.name: member.value for member in found}
    if isinstance(found, type):
        return [base.__name__ for base in found.__mro__]
    return [[each.name, each.kind.name, None if each.default is each.empty else repr(each.default)] for each in inspect.signature(found).parameters.values()]

print("described", json.dumps({name: describe(name) for name in json.load(sys.stdin)}))
"""


def described(names: list[str], *paths: str) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-c", DESCRIBE],
        input=json.dumps(names),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        cwd=REPOSITORY / "docs",  # anywhere that is no package
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("described "))
    return json.loads(line.removeprefix("described "))


def both(package: str, names: list[str]) -> tuple[dict[str, object], dict[str, object]]:
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed; scripts/setup dev installs it")
    return described(names, str(STAND_INS), str(REPOSITORY)), described(names)


@pytest.mark.parametrize("package", USED)
def test_signatures_of_the_stand_in_are_those_of_the_package(package: str) -> None:
    stand_in, installed = both(package, USED[package])
    assert stand_in == installed


@pytest.mark.parametrize("package", ENUMERATIONS)
def test_numbers_and_names_of_the_stand_in_are_those_of_the_package(package: str) -> None:
    stand_in, installed = both(package, ENUMERATIONS[package])
    for name, members in stand_in.items():
        assert members.items() <= installed[name].items(), name  # type: ignore[attr-defined]


def test_errors_of_the_stand_in_descend_as_those_of_the_package() -> None:
    stand_in, installed = both("pyocd", EXCEPTIONS)
    for name, bases in stand_in.items():
        assert bases == installed[name], name


REAL_SESSION = """
import json
from pyocd.core.options import OPTIONS_INFO
from pyocd.probe.debug_probe import DebugProbe
from rig.drivers.probe_pyocd import PyocdSession

class Probe(DebugProbe):
    unique_id = "683000001"

found = {}
for name in ("nrf52832", "nrf52833", "nrf52840"):
    ours = PyocdSession(unique_id="683000001", swd_khz=1000)
    ours._probe = Probe()
    session = ours._session = ours._make_session(name)
    flash = session.target.memory_map.get_region_for_address(0)
    ours._loader(session, chip_erase="sector", smart_flash=False, keep_unwritten=False)
    ours._eraser(session, ours._eraser.Mode.SECTOR)
    options = {key: session.options.get(key) for key in ("auto_unlock", "connect_mode", "frequency", "no_config", "target_override")}
    found[name] = [flash.length, flash.blocksize, session.target.ctrl_ap, ours._ram_size(session.target), options]
    assert not {"auto_unlock", "connect_mode", "frequency", "no_config", "hide_programming_progress", "target_override"} - set(OPTIONS_INFO)
    ours._control_block.from_target(session.target, address=0x20000000, size=ours._ram_size(session.target))
print("described", json.dumps(found))
"""


def test_a_session_of_the_installed_pyocd_is_what_the_driver_thinks_it_is() -> None:
    """As far as one comes without a probe: options that exist, the three targets, and tools that take the session."""
    if importlib.util.find_spec("pyocd") is None:
        pytest.skip("pyocd is not installed; scripts/setup dev installs it")
    done = subprocess.run(
        [sys.executable, "-c", REAL_SESSION], env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.rpartition("described ")[2])
    sizes = {"nrf52832": (512, 64), "nrf52833": (512, 128), "nrf52840": (1024, 256)}
    for name, (flash_kib, ram_kib) in sizes.items():
        options = {"auto_unlock": False, "connect_mode": "attach", "frequency": 1_000_000, "no_config": True, "target_override": name}
        assert found[name] == [flash_kib * 1024, 4096, None, ram_kib * 1024, options]
