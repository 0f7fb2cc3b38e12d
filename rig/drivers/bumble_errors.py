"""What bumble raises, in bleak's words: whether the device failed a procedure, or our own controller a command."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from bleak.exc import BleakError, BleakGATTProtocolError
from bumble import att, core


class ConnectionEnded(BleakError):
    """The connection ended, or cannot go on; `hci_reason` says why (Core Specification Vol 1 Part F)."""

    def __init__(self, hci_reason: int) -> None:
        self.hci_reason = hci_reason
        super().__init__(f"the connection ended (HCI reason 0x{hci_reason:02x})")


class PairingFailed(BleakError):
    """The device, or we, broke pairing off; `smp_reason` says why (Vol 3 Part H 3.5.5)."""

    def __init__(self, smp_reason: int, name: str) -> None:
        self.smp_reason = smp_reason
        super().__init__(f"pairing failed: {name}")


@contextlib.contextmanager
def device_errors() -> Iterator[None]:
    """Translate what bumble raises when the device, or the connection to it, fails a procedure."""
    try:
        yield
    except att.ATT_Error as error:
        raise BleakGATTProtocolError(error.error_code) from error
    except core.ProtocolError as error:
        code = error.error_code or 0
        if error.error_namespace == "smp":
            raise PairingFailed(code, error.error_name) from error
        raise ConnectionEnded(code) from error
    except core.TimeoutError as error:
        raise TimeoutError(str(error)) from error
    except core.BaseBumbleError as error:
        raise BleakError(str(error) or type(error).__name__) from error


@contextlib.contextmanager
def controller_errors() -> Iterator[None]:
    """Translate what bumble raises when our own controller fails a command; a failed connection attempt is not its fault."""
    try:
        yield
    except core.ConnectionError as error:
        raise ConnectionEnded(error.error_code or 0) from error
    except core.BaseBumbleError as error:
        raise BleakError(str(error) or type(error).__name__) from error
