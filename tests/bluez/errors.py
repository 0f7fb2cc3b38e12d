"""What bluetoothd answers when something fails."""

from __future__ import annotations

from bleak.exc import BleakError, BleakGATTProtocolError

from rig.drivers.bumble_errors import ConnectionEnded

_KEY_MISSING = 0x06
_INSUFFICIENT = (0x05, 0x0C, 0x0F)
_OF_ATT = {
    0x02: ("NotPermitted", "Read not permitted"),
    0x03: ("NotPermitted", "Write not permitted"),
    **dict.fromkeys(_INSUFFICIENT, ("NotPermitted", "Not paired")),
    0x06: ("NotSupported", "Operation is not supported"),
    0x07: ("InvalidArguments", "Invalid offset"),
    0x08: ("NotAuthorized", "Operation Not Authorized"),
    0x0D: ("InvalidArguments", "Invalid Length"),
}
"""ATT error → what becomes of it on D-Bus (src/gatt-client.c)."""


class DBusFault(Exception):
    """A method call that fails: `name` with its domain."""

    def __init__(self, name: str, text: str) -> None:
        self.name, self.text = name, text
        super().__init__(f"{name}: {text}")


class BluezFault(DBusFault):
    """One of BlueZ's own errors: `name` without its domain."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(f"org.bluez.Error.{name}", text)


def unknown_object(path: str) -> DBusFault:
    return DBusFault("org.freedesktop.DBus.Error.UnknownObject", f"no object {path}")


def not_ready() -> BluezFault:
    return BluezFault("NotReady", "Resource Not Ready")


def in_progress() -> BluezFault:
    return BluezFault("InProgress", "In Progress")


def wants_security(error: BaseException) -> bool:
    """Whether the device asks for a link of more security."""
    return isinstance(error, BleakGATTProtocolError) and int(error.code) in _INSUFFICIENT


def of_gatt(error: BleakError) -> BluezFault:
    """A GATT procedure that has failed."""
    if isinstance(error, BleakGATTProtocolError):
        code = int(error.code)
        return BluezFault(*_OF_ATT.get(code, ("Failed", f"Operation failed with ATT error: 0x{code:02x}")))
    return BluezFault("Failed", "Not connected")


def of_connect(error: BaseException) -> BluezFault:
    """A connection attempt that has failed."""
    if isinstance(error, ConnectionEnded) and error.hci_reason == _KEY_MISSING:
        return BluezFault("Failed", "le-connection-key-missing")
    if isinstance(error, TimeoutError):
        return BluezFault("Failed", "le-connection-timeout")
    return BluezFault("Failed", "le-connection-unknown")
