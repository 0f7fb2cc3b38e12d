"""Drivers, one file per instrument.  This registry is the only way to them: a name in a boards file stands for a string here."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

from rig.errors import ConfigError
from rig.model import InstrumentSpec
from rig.ports import ByteStream

DRIVERS: dict[str, dict[str, str]] = {
    "bench": {"virtual": "rig.virtual.world:VirtualBench"},
    "probe": {
        "virtual": "rig.virtual.probe:VirtualProbe",
        "nrfjprog": "rig.drivers.probe_nrfjprog:NrfjprogProbe",
        "nrfutil": "rig.drivers.probe_nrfutil:NrfutilProbe",
        "pyocd": "rig.drivers.probe_pyocd:PyocdProbe",
    },
    "supply": {
        "ppk2": "rig.drivers.supply_ppk2:Ppk2Supply",
        "switch": "rig.drivers.supply_switch:SwitchSupply",
        "scpi": "rig.drivers.supply_scpi:ScpiSupply",
        "joulescope": "rig.drivers.supply_joulescope:JoulescopeSupply",
        "uhubctl": "rig.drivers.supply_uhubctl:UhubctlSupply",
        "http-plug": "rig.drivers.supply_http_plug:HttpPlugSupply",
    },
    "console": {"uart": "rig.drivers.console_uart:UartConsole", "rtt": "rig.drivers.console_rtt:RttConsole"},
    "radio": {"bleak": "rig.drivers.radio_bleak:BleakRadio"},
    "interferer": {"radio-test": "rig.drivers.interferer_radio_test:RadioTestInterferer"},
    "attenuator": {"rcdat": "rig.drivers.attenuator_rcdat:RcdatAttenuator"},
    "counter": {"virtual": "rig.virtual.counter:VirtualOperationCounter"},
}
"""Port → driver name → ``module:class``.  A bench driver `lab` has no entry: real instruments need no bench built around them."""

RECOVERY_ONLY = frozenset({"uhubctl", "http-plug"})
"""Supplies that switch too late and too vaguely for a power cut that is aimed at anything."""

SUPPLY_CAPABILITIES: dict[str, frozenset[str]] = {
    "ppk2": frozenset({"measure_current", "sense_vdd", "set_voltage", "watch", "logic_inputs"}),
    "switch": frozenset({"aimed_cut"}),
    "scpi": frozenset({"set_voltage"}),
    "joulescope": frozenset({"measure_current", "sense_vdd"}),
    "uhubctl": frozenset(),
    "http-plug": frozenset(),
}
"""Supply driver → the `rig.ports.SupplyCapability` that it has, readable without its library, for checks while planning."""

RADIO_ADAPTERS: dict[str, frozenset[str]] = {"virtual": frozenset({"set_address"})}
"""Scheme of a radio's `adapter` → the `rig.ports.RadioCapability` that it has.  An adapter without scheme is BlueZ's: it has none,
since BlueZ keeps an adapter's address for as long as the adapter is powered."""

CLOCKS_OF_BENCH: dict[str, tuple[str, ...]] = {"virtual": ("virtual", "wall"), "lab": ("wall",)}
"""Bench driver → the clocks that its trials can run on, its default first."""

DEFECTS: dict[str, str] = {"virtual": "rig.virtual.plantable:plantable_on"}
"""Bench driver → function that lists the deliberate defects that it can plant on a board."""

MODEL_CHECKS: dict[str, str] = {"virtual": "rig.virtual.world:check_model"}
"""Bench driver → function that checks the `model:` section of a board, which only that bench understands."""


def load(port: str, spec: InstrumentSpec, **context: object) -> Any:
    """Build the driver that `spec` names for `port`; its options and `context` become keyword arguments.

    Nothing is opened: that happens when the instrument is entered.  Raises `ConfigError` for an unknown name and for a driver whose
    library is not installed.
    """
    known = DRIVERS.get(port, {})
    if spec.driver not in known:
        raise ConfigError(f"no {port} driver {spec.driver!r}; known: {', '.join(sorted(known)) or 'none'}")
    return resolve(known[spec.driver])(**{**spec.options, **context})


def search_modules_in(folder: str) -> None:
    """Let ``module:class`` names of a boards file be found beside it."""
    if folder not in sys.path:
        sys.path.append(folder)


async def open_port(port: str, *, baudrate: int, owner: str) -> ByteStream:
    """Open a serial port, or the virtual wire that stands for one, for the instrument `owner`.  Raises `InstrumentError`."""
    stream: ByteStream = await resolve("rig.drivers.byte_stream:open_stream")(port, baudrate=baudrate, owner=owner)
    return stream


def resolve(target: str) -> Any:
    """The object that ``module:name`` stands for.  Raises `ConfigError` when its module needs a library that is not installed."""
    module, _, name = target.partition(":")
    try:
        return getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        raise ConfigError(f"{target} cannot be loaded: {error.name} is not installed") from error
