"""Numbers of the DFU protocol: opcodes, object types, result codes and extended errors.

Source: nRF5 SDK 17.0.2, `bootloader/dfu/nrf_dfu_req_handler.h`, `nrf_dfu_handling_error.h`.
"""

from __future__ import annotations

from enum import IntEnum

RESPONSE = 0x60


class Opcode(IntEnum):
    """Requests.  05 belongs to older protocols."""

    PROTOCOL_VERSION = 0x00
    CREATE = 0x01
    SET_RECEIPTS = 0x02
    CRC = 0x03
    EXECUTE = 0x04
    SELECT = 0x06
    GET_MTU = 0x07
    WRITE = 0x08
    PING = 0x09
    HARDWARE_VERSION = 0x0A
    FIRMWARE_VERSION = 0x0B
    ABORT = 0x0C


class ObjectType(IntEnum):
    """INVALID is what an unknown number in a request turns into."""

    INVALID = 0
    COMMAND = 1
    DATA = 2


class Result(IntEnum):
    """Third byte of a reply."""

    SUCCESS = 0x01
    OPCODE_NOT_SUPPORTED = 0x02
    INVALID_PARAMETER = 0x03
    INSUFFICIENT_RESOURCES = 0x04
    INVALID_OBJECT = 0x05
    OPERATION_NOT_PERMITTED = 0x08
    OPERATION_FAILED = 0x0A
    EXTENDED_ERROR = 0x0B


class ExtendedError(IntEnum):
    """Fourth byte of a reply with result EXTENDED_ERROR."""

    INIT_COMMAND_INVALID = 0x04
    FIRMWARE_VERSION = 0x05
    HARDWARE_VERSION = 0x06
    SOFTDEVICE_VERSION = 0x07
    SIGNATURE_MISSING = 0x08
    WRONG_HASH_TYPE = 0x09
    WRONG_SIGNATURE_TYPE = 0x0B
    VERIFICATION_FAILED = 0x0C


class FirmwareKind(IntEnum):
    """First byte of the answer to FIRMWARE_VERSION."""

    SOFTDEVICE = 0x00
    APPLICATION = 0x01
    BOOTLOADER = 0x02
    UNKNOWN = 0xFF


Verdict = Result | ExtendedError
