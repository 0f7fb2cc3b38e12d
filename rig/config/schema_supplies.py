"""Schema of the supplies that a boards file can name."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from rig.config.schema_parts import Strict

HOST = r"[A-Za-z0-9.-]+(:[0-9]{1,5})?"
"""Pattern of a host with its port."""


class AdjustableSupply(Strict):
    """What every supply has whose voltage the rig sets."""

    voltage_mv: Annotated[int, Field(ge=800, le=5000)] = 3000
    """Supply voltage in millivolts, 800 to `max_voltage_mv`, and within what the SoC stands (nRF52832: 1700 to 3600)."""
    max_voltage_mv: Annotated[int, Field(ge=800, le=5000)] = 3600
    """Highest voltage in millivolts that the board bears, 800 to 5000; no fault programme can go above it."""

    @model_validator(mode="after")
    def _bearable(self) -> AdjustableSupply:
        if self.voltage_mv > self.max_voltage_mv:
            words = {"limit": self.max_voltage_mv, "at": "voltage_mv"}
            raise PydanticCustomError("voltage", "above max_voltage_mv, {limit}", words)
        return self


class Ppk2Supply(AdjustableSupply):
    """Nordic Power Profiler Kit II as source meter."""

    driver: Literal["ppk2"]
    """A Power Profiler Kit II: it measures, senses VDD and sets the voltage."""
    port: Annotated[str, Field(min_length=1)]
    """Serial port of the instrument; `virtual:NAME/ppk2` on a virtual bench."""


class ScpiSupply(AdjustableSupply):
    """Laboratory supply that speaks SCPI, through PyVISA."""

    driver: Literal["scpi"]
    """A laboratory supply with SCPI commands: it sets the voltage, in tens of milliseconds."""
    resource: Annotated[str, Field(min_length=1)]
    """VISA resource name, for instance `TCPIP::192.168.1.5::5025::SOCKET`."""
    channel: Annotated[int, Field(ge=1, le=16)] | None = None
    """Number of the output, 1 to 16, for supplies with several."""
    current_limit_ma: Annotated[int, Field(ge=1, le=5000)] = 100
    """Where the supply limits the current, in milliamperes, 1 to 5000."""
    library: Annotated[str, Field(min_length=1)] = "@py"
    """VISA library for PyVISA: `@py` is PyVISA-py, `@ivi` the one that a vendor has installed, or a path."""


class JoulescopeSupply(Strict):
    """Joulescope JS220 or JS110 between a source and the board."""

    driver: Literal["joulescope"]
    """A Joulescope in the supply line: it measures, senses VDD, and switches by opening its current path."""
    serial_number: Annotated[str, Field(pattern=r"^[0-9A-Za-z]+$")] | None = None
    """Serial number on the instrument, in quotation marks; not needed when there is one."""
    voltage_mv: Annotated[int, Field(ge=800, le=5500)] = 3000
    """What the source in front of it delivers in millivolts, 800 to 5500, and within what the SoC stands; the rig cannot set it."""


class SwitchSupply(Strict):
    """Relay or FET switch with a microcontroller that speaks the protocol of docs/power-switch.md."""

    driver: Literal["switch"]
    """A power switch on a serial port: it times cuts by itself, and measures nothing."""
    port: Annotated[str, Field(min_length=1)]
    """Serial port of the switch; `virtual:NAME/switch` on a virtual bench."""
    baudrate: Annotated[int, Field(ge=1200, le=4_000_000)] = 115200
    """Bits per second between rig and switch, 1200 to 4000000."""
    voltage_mv: Annotated[int, Field(ge=800, le=5500)] = 3000
    """What the switch passes on in millivolts, 800 to 5500, and within what the SoC stands; the rig cannot set it."""


class UhubctlSupply(Strict):
    """Port of a USB hub, switched by the command-line tool uhubctl."""

    driver: Literal["uhubctl"]
    """A port of a USB hub: for recovery only, too slow for aimed cuts."""
    location: Annotated[str, Field(pattern=r"^[0-9]+(-[0-9]+(\.[0-9]+)*)?$")]
    """Hub as uhubctl names it, for instance `1-1.4`."""
    port: Annotated[int, Field(ge=1, le=127)]
    """Number of the port on that hub, 1 to 127."""


class HttpPlugSupply(Strict):
    """Mains plug or relay that is switched over HTTP."""

    driver: Literal["http-plug"]
    """A plug in the local network: for recovery only, too slow for aimed cuts."""
    kind: Literal["shelly-gen1", "shelly-gen2", "tasmota"]
    """What it understands: shelly-gen1, shelly-gen2 (later generations too) or tasmota."""
    host: Annotated[str, Field(pattern=rf"^{HOST}$")]
    """Name or IPv4 address of the plug, with `:PORT` when it is not 80."""
    channel: Annotated[int, Field(ge=0, le=31)] = 0
    """Which output, counted from 0, at most 31."""
