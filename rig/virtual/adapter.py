"""The adapter called ``virtual``: an HCI transport whose other end is a controller on the current virtual air."""

from __future__ import annotations

from bumble.transport.common import Transport

from rig.errors import InstrumentError
from rig.virtual.air import CURRENT_AIR
from rig.virtual.controller import VirtualController


async def open_adapter(name: str) -> Transport:
    """Open the adapter; `name` is what follows ``virtual:`` in the boards file and must be empty.

    Raises `InstrumentError` when no virtual bench is open, or when somebody has pulled the adapter out.
    """
    if name:
        raise InstrumentError("virtual adapter", f"there is no virtual adapter {name!r}", hint="write `adapter: virtual`")
    try:
        air = CURRENT_AIR.get()
    except LookupError:
        raise InstrumentError("virtual adapter", "no virtual bench is open") from None
    if not air.has_adapter:
        raise InstrumentError("virtual adapter", "it is not plugged in", hint="plug a Bluetooth adapter in")
    controller = VirtualController(air)
    air.adapters.append(controller)
    # One object is both ends of the wire; whoever closes the transport switches the controller off.
    return Transport(source=controller, sink=controller)
