"""From the application into the bootloader over BLE, and how to find the board afterwards.

Source: nRF5 SDK 17.0.2, `ble_services/ble_dfu/ble_dfu.h`, `ble_dfu_unbonded.c`, `ble_dfu_bonded.c`.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum

from rig.errors import ConfigError, MalformedReply, Refused
from rig.ota.secure_dfu.transport import DFU_SERVICE, Inbox, within
from rig.ota.secure_dfu.wire import BUTTONLESS_GROUP
from rig.ports import Advertisement, GattLink

BUTTONLESS_OPEN = "8ec90003-f315-4f60-9fb8-838830daea50"
BUTTONLESS_BONDED = "8ec90004-f315-4f60-9fb8-838830daea50"
DEFAULT_NAME = "DfuTarg"
MAX_NAME = 20

_RESPONSE = 0x20
_ENTER = 0x01
_SET_NAME = 0x02
_SUCCESS = 0x01


class _Answer(IntEnum):
    INVALID = 0
    OPERATION_NOT_SUPPORTED = 2
    OPERATION_FAILED = 4
    ADVERTISING_NAME_INVALID = 5
    BUSY = 6
    NOT_BONDED = 7


async def enter_bootloader(
    link: GattLink, *, bonded: bool, name: str | None = None, answer_s: float = 10.0, reset_s: float = 15.0
) -> None:
    """Make the application reset into the bootloader, and return when it has dropped the link.

    `bonded` selects the characteristic: the bonded one needs an encrypted link.  `name` (1 to 20 bytes of UTF-8) is what the
    bootloader shall advertise instead of "DfuTarg".  The device resets only after the host's stack has confirmed the indication,
    so the link is left to the device; when that takes more than `reset_s` seconds, `NoReply` is raised.  Raises `LinkLost` when the
    link ends before the device has agreed, `Refused` (group `BUTTONLESS_GROUP`) when it does not agree, and `ConfigError` when no
    device could take the name.
    """
    encoded = b"" if name is None else name.encode()
    if name is not None and not 1 <= len(encoded) <= MAX_NAME:
        raise ConfigError(f"an advertising name has 1 to {MAX_NAME} bytes; {name!r} has {len(encoded)}")
    characteristic = BUTTONLESS_BONDED if bonded else BUTTONLESS_OPEN
    inbox = Inbox()
    work = link.subscribe(characteristic, lambda data: inbox.put(bytes(data)))
    await within(answer_s, "enabling buttonless indications", work)

    async def ask(request: bytes) -> bytes:
        await link.write(characteristic, request, response=True)
        return await inbox.get()

    if name is not None:
        request = bytes((_SET_NAME, len(encoded))) + encoded
        _check("set advertising name", await within(answer_s, "set advertising name", ask(request)), _SET_NAME)
    _check("enter bootloader", await within(answer_s, "enter bootloader", ask(bytes((_ENTER,)))), _ENTER)
    await within(reset_s, "reset into the bootloader", link.wait_lost())


def _check(request: str, answer: bytes, opcode: int) -> None:
    if len(answer) != 3 or answer[0] != _RESPONSE or answer[1] != opcode:
        raise MalformedReply(request, answer, f"the answer should be 20 {opcode:02x} and a result")
    if answer[2] != _SUCCESS:
        try:
            name = _Answer(answer[2]).name.lower().replace("_", " ")
        except ValueError:
            name = f"unknown code 0x{answer[2]:02x}"
        raise Refused(request, group=BUTTONLESS_GROUP, code=answer[2], name=name)


def next_address_one_byte(address: str) -> str:
    """`address` ("C0:11:22:33:44:FF") with its last byte plus one, without carry: what an unbonded bootloader advertises."""
    *front, last = address.split(":")
    return ":".join((*front, f"{(int(last, 16) + 1) & 0xFF:02X}")).upper()


def next_address_whole(address: str) -> str:
    """`address` plus one as a 48-bit number: what some hosts look for, and what other bootloaders may do."""
    number = (int(address.replace(":", ""), 16) + 1) & 0xFFFF_FFFF_FFFF
    return ":".join(f"{byte:02X}" for byte in number.to_bytes(6, "big"))


def is_bootloader(
    *, address: str | None = None, bonded: bool = False, name: str | None = None
) -> Callable[[Advertisement], bool]:
    """What to scan for after `enter_bootloader`.

    With the application's `address`: the address plus one in either way of wrapping, or the same address when `bonded`; with a
    `name` that was set, that name as well.  With neither, whatever advertises the DFU service, which the application may do too.
    """
    addresses: set[str] = set()
    if address is not None:
        addresses = {address.upper()} if bonded else {next_address_one_byte(address), next_address_whole(address)}

    def accept(advertisement: Advertisement) -> bool:
        if not addresses and name is None:
            return advertises_dfu(advertisement)
        return advertisement.address.upper() in addresses or (name is not None and advertisement.name == name)

    return accept


def advertises_dfu(advertisement: Advertisement) -> bool:
    """Whether the DFU service (0xFE59) is advertised, as a short or a long UUID."""
    return any(uuid.lower() in (DFU_SERVICE, "fe59", "0xfe59") for uuid in advertisement.service_uuids)
