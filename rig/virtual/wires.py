"""The wires of the virtual bench by name, and how a driver reaches them through its port option ``virtual:<name>``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Protocol

from rig.errors import InstrumentError
from rig.ports import ByteStream
from rig.virtual.pty_wire import PtyWire
from rig.virtual.wire import DeviceEnd, VirtualWire

__all__ = ["CURRENT_WIRES", "DeviceEnd", "OpenSerial", "Wires", "open_wire"]


class OpenSerial(Protocol):
    """Opens a real serial port by its path or name."""

    def __call__(self, port: str, *, baudrate: int, owner: str) -> Awaitable[ByteStream]: ...


class Wires:
    """Every wire that leaves a virtual board, by name, for instance ``dk1/console``.

    Args:
        ptys: make each wire a pseudo-terminal, so that drivers really open serial ports.  Needs the wall clock.
    """

    def __init__(self, *, ptys: bool = False) -> None:
        self._make: Callable[..., VirtualWire | PtyWire] = PtyWire if ptys else VirtualWire
        self._wires: dict[str, VirtualWire | PtyWire] = {}

    def add(self, name: str, *, baudrate: int | None = None) -> VirtualWire | PtyWire:
        """Lay a wire and return the device's end of it; `baudrate` None stands for USB, which has no line rate.

        Raises:
            ValueError: there is one of that name already.
        """
        if name in self._wires:
            raise ValueError(f"there are two wires named {name!r}")
        wire = self._wires[name] = self._make(baudrate=baudrate)
        return wire

    async def open(self, name: str, *, baudrate: int, owner: str, open_serial: OpenSerial) -> ByteStream:
        """Open the host's end of the wire called `name` for the instrument `owner`.

        Raises:
            InstrumentError: there is no such wire, it is unplugged, or it is in use.
        """
        wire = self._wires.get(name)
        if wire is None:
            known = ", ".join(sorted(self._wires)) or "none"
            raise InstrumentError(owner, f"the virtual bench has no wire {name!r}", hint=f"its wires are: {known}")
        if isinstance(wire, PtyWire):
            return await open_serial(wire.path, baudrate=baudrate, owner=owner)
        return wire.open(baudrate=baudrate, owner=owner)

    def get(self, name: str) -> VirtualWire | PtyWire:
        """The wire called `name`, for whoever does something to it.  Raises `KeyError` when there is none."""
        return self._wires[name]

    def rename(self, old: str, new: str) -> None:
        """The wire called `old` leaves the host and comes back under another name, as a port does after a re-enumeration."""
        wire = self._wires.pop(old)
        wire.unplug()
        wire.plug()
        self._wires[new] = wire

    def close(self) -> None:
        """Take every wire away."""
        for wire in self._wires.values():
            wire.unplug()


CURRENT_WIRES: ContextVar[Wires] = ContextVar("rig.virtual.wires")


async def open_wire(rest: str, *, baudrate: int, owner: str, open_serial: OpenSerial) -> ByteStream:
    """Open the wire named `rest` on the virtual bench that is running.

    Raises:
        InstrumentError: no virtual bench is running, or it cannot open that wire.
    """
    try:
        wires = CURRENT_WIRES.get()
    except LookupError:
        raise InstrumentError(
            owner, f"port 'virtual:{rest}' needs a virtual bench, and none is running", hint="set bench: {driver: virtual} in the boards file"
        ) from None
    return await wires.open(rest, baudrate=baudrate, owner=owner, open_serial=open_serial)
