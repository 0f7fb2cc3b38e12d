"""Whose fault a failed Bluetooth operation was: the one place where bleak's errors, and BlueZ's within them, become ours."""

from __future__ import annotations

from bleak.exc import (
    PROTOCOL_ERROR_CODES,
    BleakBluetoothNotAvailableError,
    BleakCharacteristicNotFoundError,
    BleakDBusError,
    BleakDeviceNotFoundError,
    BleakError,
    BleakGATTProtocolError,
)

from rig.errors import PAIRING_GROUP, InstrumentError, LinkLost, NotFound, Refused

ADAPTER_HINT = "is the Bluetooth adapter there and up?"
BUS_ERRORS = (OSError, EOFError)
"""What comes out of bleak unchanged when the D-Bus itself goes away; a TimeoutError is an OSError and means something else."""

_ATT_GROUP = -1
_ATTRIBUTE_NOT_FOUND, _INSUFFICIENT_AUTHENTICATION = 0x0A, 0x05
_WRITE_NOT_PERMITTED, _REQUEST_NOT_SUPPORTED = 0x03, 0x06
_UNSPECIFIED_REASON = 0x08

_PAIRING_ERRORS = "org.bluez.Error.Authentication"
"""AuthenticationFailed, -Canceled, -Rejected and -Timeout (BlueZ doc/org.bluez.Device.rst, Pair)."""
_ALREADY_PAIRED = "org.bluez.Error.AlreadyExists"
_LINK_ERRORS = ("org.bluez.Error.Failed", "org.bluez.Error.ConnectionAttemptFailed", "org.bluez.Error.NotConnected")
"""What becomes of a device that does not answer, or stops answering.  Every other D-Bus error is about this computer."""
_HOST_REASONS = (
    "le-connection-adapter-not-powered",
    "le-connection-bad-socket",
    "le-connection-busy",
    "le-connection-concurrent-connection-limit",
    "le-connection-create-socket",
    "le-connection-invalid-arguments",
    "le-connection-memory-allocation",
)
"""Reasons of org.bluez.Error.Failed that are about this computer as well (BlueZ src/error.h)."""


def is_already_paired(error: BleakError) -> bool:
    """Whether BlueZ declines to pair because it has a bond with the device, which it had not when it was asked before."""
    return isinstance(error, BleakDBusError) and error.dbus_error == _ALREADY_PAIRED


def blame(error: Exception, request: str, *, instrument: str, can_write: bool = True) -> Exception:
    """Whose fault a failed GATT procedure was, on a link that is still up; `error` is bleak's, or one of `BUS_ERRORS`.

    `can_write` False: the request was a write, and the characteristic has no property for it.  BlueZ then does not ask the device.
    """
    code: int | None = None
    if isinstance(error, BleakGATTProtocolError):
        code = int(error.code)
        if code == _REQUEST_NOT_SUPPORTED and not can_write:
            code = _WRITE_NOT_PERMITTED
    elif isinstance(error, BleakCharacteristicNotFoundError):
        code = _ATTRIBUTE_NOT_FOUND
    elif isinstance(error, BleakDBusError) and error.dbus_error == "org.bluez.Error.NotPermitted":
        code = _INSUFFICIENT_AUTHENTICATION  # BlueZ says "Not paired" for 0x05, 0x0C and 0x0F
    if code is not None:
        return Refused(request, group=_ATT_GROUP, code=code, name=PROTOCOL_ERROR_CODES.get(code, "unknown ATT error"))
    if isinstance(error, BleakError) and "not connected" in str(error).lower():
        return LinkLost(None)  # BlueZ answers so before it says that the device has gone
    return InstrumentError(instrument, f"{request} failed: {words(error)}")


def blame_for_connect(error: Exception, instrument: str) -> Exception:
    """Whose fault a failed connection attempt was; `error` as for `blame`."""
    if isinstance(error, BleakDeviceNotFoundError):
        return NotFound(f"{error.identifier} has gone: {error}")
    if isinstance(error, BleakGATTProtocolError):
        return Refused("connect", group=_ATT_GROUP, code=int(error.code), name=str(error.args[1]))
    smp_reason = getattr(error, "smp_reason", None)
    if isinstance(error, BleakDBusError) and error.dbus_error.startswith(_PAIRING_ERRORS):
        smp_reason = _UNSPECIFIED_REASON  # BlueZ keeps the reason to itself
    if smp_reason is not None:
        return Refused("pairing", group=PAIRING_GROUP, code=smp_reason, name=str(error))
    hci_reason = getattr(error, "hci_reason", None)
    if hci_reason is not None or _is_of_the_link(error):
        return LinkLost(hci_reason)  # BlueZ has many words for it, and no reason
    return InstrumentError(instrument, f"connect failed: {words(error)}", hint=ADAPTER_HINT)


def words(error: Exception) -> str:
    """What `error`, bleak's or one of `BUS_ERRORS`, says to a reader."""
    if isinstance(error, BleakBluetoothNotAvailableError):
        return str(error.args[0])
    return str(error) if isinstance(error, BleakError) else f"the D-Bus has gone ({type(error).__name__})"


def _is_of_the_link(error: Exception) -> bool:
    if not isinstance(error, BleakDBusError):
        return "disconnected" in str(error)
    return error.dbus_error in _LINK_ERRORS and not any(reason in str(error) for reason in _HOST_REASONS)
