"""Schema of the boards file.  Every key carries its meaning, unit, range and default; `docs/configuration.md` repeats them."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from rig.config.schema_parts import Name, PageMultiple, Pattern, Seed, Strict
from rig.config.schema_supplies import (
    HOST,
    HttpPlugSupply,
    JoulescopeSupply,
    Ppk2Supply,
    ScpiSupply,
    SwitchSupply,
    UhubctlSupply,
)
from rig.formats.soc import PIN
from rig.model import ConsoleSignals, Protocol, RecoveryPolicy, Rung

Soc = Literal["nrf52832", "nrf52833", "nrf52840"]


# ------------------------------------------------------------------------------------------------------- around the boards
class RadioTestInterferer(Strict):
    """Second development kit with the `radio_test` sample of the nRF Connect SDK."""

    driver: Literal["radio-test"]
    """A second kit whose `radio_test` shell the rig commands."""
    port: Annotated[str, Field(min_length=1)]
    """Serial port of the shell; `virtual:interferer` on a virtual bench."""
    baudrate: Annotated[int, Field(ge=1200, le=1_000_000)] = 115200
    """Bits per second, 1200 to 1000000."""


class RcdatAttenuator(Strict):
    """Mini-Circuits RCDAT with an Ethernet port."""

    driver: Literal["rcdat"]
    """A programmable attenuator of Mini-Circuits, set over HTTP."""
    host: Annotated[str, Field(pattern=rf"^({HOST}|virtual:[A-Za-z0-9_-]+/attenuator)$")]
    """Name or IPv4 address, with `:PORT` when it is not 80; `virtual:NAME/attenuator` on a virtual bench."""
    channel: Annotated[int, Field(ge=1, le=8)] | None = None
    """Channel of a model with several, 1 to 8."""
    rest_db: Annotated[float, Field(ge=0, le=120, multiple_of=0.25)] = 0.0
    """Attenuation in dB while nothing is being disturbed, 0 to 120 in steps of 0.25."""


# ---------------------------------------------------------------------------------------------------------------- bench
Enclosure = Annotated[str, Field(min_length=1, max_length=200)]


class VirtualBench(Strict):
    """A bench made of bytes, on a clock that jumps."""

    driver: Literal["virtual"]
    """Builds the boards of this file in memory; their `model:` says how."""
    seed: Seed = 1
    """Tells this bench from another: all chance on it comes from this and from the seed of the trial, 0 to 2^63 - 1."""
    supply_jitter_us: Annotated[float, Field(ge=0, le=10_000)] = 0.0
    """How much the time that supplies take to switch varies: standard deviation in microseconds, 0 to 10000."""
    enclosure: Enclosure | None = None
    """What shields the radio of this bench, in words that go into every record; interferer and attenuator need it."""
    interferer: RadioTestInterferer | None = None
    """Second radio that disturbs all boards of this bench."""


class LabBench(Strict):
    """Real boards: there is nothing to build around them."""

    driver: Literal["lab"]
    """The instruments below are all there is."""
    enclosure: Enclosure | None = None
    """What shields the radio of this bench, in words that go into every record; interferer and attenuator need it."""
    interferer: RadioTestInterferer | None = None
    """Second radio that disturbs all boards of this bench."""


Bench = Annotated[VirtualBench | LabBench, Field(discriminator="driver")]


# ---------------------------------------------------------------------------------------------------------- instruments
class VirtualProbe(Strict):
    """The probe of a virtual board."""

    driver: Literal["virtual"]
    """The probe of a board made of bytes."""


class NrfjprogProbe(Strict):
    """J-Link, driven by pynrfjprog."""

    driver: Literal["nrfjprog"]
    """A J-Link through pynrfjprog, which Nordic has archived: needs that library and SEGGER's."""
    serial_number: Annotated[int, Field(ge=1, lt=2**32)]
    """Serial number of the J-Link, without leading zeros."""
    swd_khz: Annotated[int, Field(ge=125, le=8000)] = 2000
    """Clock of SWD in kHz, 125 to 8000."""


class NrfutilProbe(Strict):
    """J-Link, driven by the command-line tool nrfutil."""

    driver: Literal["nrfutil"]
    """A J-Link through Nordic's tool nrfutil with its command `device`: one run of it for each access, and no RTT."""
    serial_number: Annotated[int, Field(ge=1, lt=2**32)]
    """Serial number of the J-Link, without leading zeros."""


class PyocdProbe(Strict):
    """J-Link or CMSIS-DAP probe, driven by pyOCD."""

    driver: Literal["pyocd"]
    """A J-Link or CMSIS-DAP probe through pyOCD: needs nothing of Nordic's."""
    unique_id: Annotated[str, Field(pattern=r"^[0-9A-Za-z]+$")]
    """What `pyocd list` calls the probe, in quotation marks; for a J-Link its serial number without leading zeros."""
    swd_khz: Annotated[int, Field(ge=125, le=8000)] = 2000
    """Clock of SWD in kHz, 125 to 8000."""


Probe = Annotated[VirtualProbe | NrfjprogProbe | NrfutilProbe | PyocdProbe, Field(discriminator="driver")]


Supply = Annotated[
    Ppk2Supply | SwitchSupply | ScpiSupply | JoulescopeSupply | UhubctlSupply | HttpPlugSupply, Field(discriminator="driver")
]


class UartConsole(Strict):
    """The board's log on a serial port."""

    driver: Literal["uart"]
    """A serial port: the way that also hears a board whose power is cut."""
    port: Annotated[str, Field(min_length=1)]
    """Serial port, best a path under /dev/serial/by-id; `virtual:NAME/console` on a virtual bench."""
    baudrate: Annotated[int, Field(ge=1200, le=1_000_000)] = 115200
    """Bits per second, 1200 to 1000000."""


class RttConsole(Strict):
    """The board's log in RTT channel 0."""

    driver: Literal["rtt"]
    """RTT through the board's probe, `nrfjprog` or `pyocd`: keeps the debugger attached, so not for power cuts."""


Console = Annotated[UartConsole | RttConsole, Field(discriminator="driver")]


ADAPTER_SCHEMES = ("virtual",)
"""What the radio driver can open itself, without BlueZ."""
_BLUEZ_ADAPTER = re.compile(r"hci[0-9]+")


def _adapter(value: str) -> str:
    if value.partition(":")[0] not in ADAPTER_SCHEMES and not _BLUEZ_ADAPTER.fullmatch(value):
        raise PydanticCustomError("adapter", f"not an adapter; write hci0, hci1, …, or {' or '.join(ADAPTER_SCHEMES)}")
    return value


class BleakRadio(Strict):
    """BLE central through the bleak library."""

    driver: Literal["bleak"]
    """Only `bleak` is built in."""
    adapter: Annotated[str, AfterValidator(_adapter)] | None = None
    """Bluetooth adapter of BlueZ, for instance `hci0`; `virtual` on a virtual bench; BlueZ's first one when left out."""
    interval_ms: Annotated[float, Field(ge=7.5, le=4000, multiple_of=1.25)] = 15.0
    """Connection interval in milliseconds, 7.5 to 4000 in steps of 1.25; BlueZ chooses its own."""
    supervision_s: Annotated[float, Field(ge=0.1, le=32)] = 4.0
    """Supervision timeout in seconds, 0.1 to 32 and more than two intervals; BlueZ chooses its own."""
    pair: bool = False
    """Whether to pair with the device before anything else; false when left out."""
    passkey: Annotated[int, Field(ge=0, le=999_999)] | None = None
    """What the device shows when it pairs, 0 to 999999."""

    @model_validator(mode="after")
    def _patient(self) -> BleakRadio:
        if self.supervision_s * 1000 <= 2 * self.interval_ms:
            raise PydanticCustomError("supervision", "not longer than two intervals", {"at": "supervision_s"})
        return self


class VirtualCounter(Strict):
    """Counts the flash operations of a virtual board."""

    driver: Literal["virtual"]
    """Only `virtual` is built in."""


# ---------------------------------------------------------------------------------------------------------------- board
_ADDRESS = re.compile(r"(?:[0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}")
_MAX_BLE_NAME = 29


def _ble_name(value: str) -> str:
    if len(value.encode()) > _MAX_BLE_NAME:
        raise PydanticCustomError("ble_name", "longer than 29 bytes; an advertisement has no room for more")
    return value


def _address(value: str) -> str:
    if not _ADDRESS.fullmatch(value):
        raise PydanticCustomError("address", 'not a Bluetooth address; write six bytes such as "C0:00:00:00:00:01"')
    return value.upper()


class Ble(Strict):
    """How the board is recognised on the air."""

    name: Annotated[str, Field(min_length=1), AfterValidator(_ble_name)]
    """Name that the application advertises, 1 to 29 bytes."""
    address: Annotated[str, AfterValidator(_address)] | None = None
    """Bluetooth address; without it any device with this name is taken for the board."""


class Region(Strict):
    """A range of flash."""

    start: PageMultiple
    """First address, a multiple of 4096."""
    size: Annotated[PageMultiple, Field(gt=0)]
    """Length in bytes, a multiple of 4096."""


class PresetMemory(Strict):
    """The memory map that Zephyr's board files, or the nRF5 SDK's BLE bootloader examples, give the SoC."""

    preset: Literal["swap-offset", "swap-move", "swap-scratch", "overwrite-only", "secure-dfu"]
    """How MCUboot was built: swap-offset, swap-move, swap-scratch or overwrite-only; secure-dfu for boards of that protocol."""


class ExplicitMemory(Strict):
    """A memory map written out."""

    primary: Region
    """Slot that the application runs from."""
    secondary: Region
    """Slot that updates are uploaded to."""
    user_data: Region
    """Flash that no update may change, for instance the storage partition."""
    scratch: Region | None = None
    """Scratch area, for a bootloader that swaps through one."""
    upload_offset: Literal[0, 4096] = 0
    """Bytes between the start of the secondary slot and the image: 4096 for swap-offset, else 0."""


def _memory_form(value: Any) -> str:
    regions = isinstance(value, dict) and "preset" not in value and value.keys() & ExplicitMemory.model_fields.keys()
    return "~regions" if regions else "~preset"


Memory = Annotated[
    Annotated[PresetMemory, Tag("~preset")] | Annotated[ExplicitMemory, Tag("~regions")], Discriminator(_memory_form)
]


def _one_group(value: str) -> str:
    if re.compile(value).groups != 1:
        raise PydanticCustomError("pattern", "needs exactly one group (...), around what is to be read")
    return value


class Signals(Strict):
    """Console lines that the rig understands."""

    reset_reason: Annotated[Pattern, AfterValidator(_one_group)] = ConsoleSignals.reset_reason
    """Regular expression with one group: RESETREAS in hexadecimal, printed at start-up."""
    version: Annotated[Pattern, AfterValidator(_one_group)] = ConsoleSignals.version
    """Regular expression with one group: the version of the application that starts."""
    ready: Pattern = ConsoleSignals.ready
    """Regular expression: the application serves again."""


def _logic_input(value: str) -> str:
    if not re.fullmatch(r"D[1-7]", value):
        raise PydanticCustomError("logic_input", "no logic input that can be wired; there are D1 to D7, and D0 is VDD")
    return value


def _pin(value: str) -> str:
    if not re.match(PIN, value):
        raise PydanticCustomError("pin", "no pin; write it as P0.00 to P0.31 or P1.00 to P1.15")
    return value


LogicInput = Annotated[str, AfterValidator(_logic_input)]
"""Of the supply, as it is labelled there."""

Pin = Annotated[str, AfterValidator(_pin)]
"""Of the SoC, as the product specification writes it."""


class Recovery(Strict):
    """What the rig does by itself after a trial that it lost on the board."""

    rungs: Annotated[tuple[Rung, ...], Field(min_length=1, max_length=5)] = RecoveryPolicy.rungs
    """Steps in their order: reopen, re-enumerate, pin-reset, recover (erases the whole chip; only sacrificial boards), power-cycle."""
    patience_s: Annotated[float, Field(ge=0, le=300)] = RecoveryPolicy.patience_s
    """How long re-enumerate waits for an instrument to come back, in seconds, 0 to 300."""
    errors_in_a_row: Annotated[int, Field(ge=1, le=100)] = RecoveryPolicy.errors_in_a_row
    """Lost trials in a row after which the board is quarantined, 1 to 100."""
    after_inconclusive: Annotated[int, Field(ge=1, le=100)] | None = None
    """INCONCLUSIVE trials in a row after which the ladder is climbed as after a lost one, 1 to 100; never when left out."""


class Wear(Strict):
    """What the board's flash may be put through."""

    erases: Annotated[int, Field(ge=1, le=10_000_000)]
    """How often a page may be erased, over all campaigns under one reports folder, 1 to 10000000; the nRF52 series stands 10000."""


class BoardEntry(Strict):
    """One board and its wiring."""

    name: Name
    """Name of the board in commands and reports: letters, digits, _ and -, at most 32; unique."""
    soc: Soc
    """SoC on the board: nrf52832, nrf52833 or nrf52840."""
    protocol: Protocol
    """How it takes updates: smp (MCUmgr with MCUboot) or secure_dfu (nRF5 SDK)."""
    ble: Ble
    """How the board is recognised on the air."""
    memory: Memory
    """Where things lie in flash: a preset, or regions written out."""
    probe: Probe
    """Debug probe."""
    supply: Supply
    """What feeds the SoC, and only the SoC."""
    console: Console
    """Log output of the board."""
    radio: BleakRadio
    """The rig's Bluetooth central for this board."""
    attenuator: RcdatAttenuator | None = None
    """Programmable attenuator in the board's antenna path."""
    counter: VirtualCounter | None = None
    """Counts flash operations; leave it out where nothing can."""
    logic_inputs: Annotated[dict[LogicInput, Pin], Field(default_factory=dict)]
    """Pins of the SoC that are wired to logic inputs of the supply, for instance `D3: P0.13`; D1 to D7, D0 is VDD."""
    signals: Signals = Signals()
    """Console lines that the rig understands."""
    in_place: bool = False
    """Whether the product declares that an update overwrites its application (Secure DFU, single bank); false when left out."""
    dfu_port: Annotated[str, Field(min_length=1)] | None = None
    """Serial port of a Secure DFU bootloader that takes updates by wire and enters DFU mode at a pin reset; over the air without it."""
    production: bool = False
    """Whether this is a unit as it is delivered: the rig only looks at it, and never writes to it; false when left out."""
    sacrificial: bool = False
    """Whether the board may be destroyed; false when left out."""
    wear: Wear | None = None
    """What its flash may be put through; a campaign that may exceed it is refused.  Without it nothing is counted and nothing refused."""
    recovery: Recovery = Recovery()
    """What the rig does by itself after a trial that it lost on this board."""
    model: Annotated[dict[str, Any], Field(default_factory=dict)]
    """Virtual boards only: bootloader, application and parts, as the virtual bench documents them."""


class BoardsDocument(Strict):
    """A boards file: the bench and what stands on it."""

    bench: Bench
    """What kind of bench this is."""
    defaults: Annotated[dict[str, Any], Field(default_factory=dict)]
    """Keys that every board gets unless it has its own; mappings are merged key by key."""
    boards: Annotated[list[Any], Field(min_length=1)]
    """The boards, at least one."""
