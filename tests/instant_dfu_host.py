"""A host that plays scripts of requests against the virtual Secure DFU bootloader on an instant board, life by life."""

from __future__ import annotations

import asyncio
import struct
import zlib
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from rig.formats import init_packet, test_key
from rig.formats.init_packet import FirmwareType, InitCommand
from rig.virtual.ble_peripheral import AttRefusal
from rig.virtual.cpu import ResetReason
from rig.virtual.parts import PAGE_SIZE
from rig.virtual.secure_dfu import SecureDfuConfig
from rig.virtual.secure_dfu.ble import CONTROL_POINT, PACKET
from tests.instant_dfu_cpu import S140, Board, Cut, Life, LoopbackRadio, image

_PRIVATE = test_key.private_key()
assert isinstance(_PRIVATE, ec.EllipticCurvePrivateKey)
KEY: ec.EllipticCurvePrivateKey = _PRIVATE
FOREIGN_KEY = ec.derive_private_key(7, ec.SECP256R1())
_REPLY_S = 1.0


class Host:
    """Plays scripts against a board in DFU mode.  Every reply is awaited, unless said otherwise."""

    def __init__(self, life: Life) -> None:
        self.life = life
        self.radio: LoopbackRadio = life.radio

    async def request(self, data: bytes) -> bytes:
        self.radio.write(CONTROL_POINT, data)
        return await self.reply()

    async def reply(self) -> bytes:
        async with asyncio.timeout(_REPLY_S):
            return await self.radio.notifications.get()

    async def silence(self) -> bool:
        """Whether nothing comes."""
        try:
            await self.reply()
        except TimeoutError:
            return True
        return False

    async def ask(self, *requests: str) -> list[str]:
        """Requests and replies in hexadecimal, spaces ignored."""
        return [(await self.request(bytes.fromhex(request))).hex() for request in requests]

    async def packets(self, data: bytes, *, size: int = 244) -> None:
        """Send `data` in packets, each after the flash has digested the one before."""
        for start in range(0, len(data), size):
            self.radio.write(PACKET, data[start : start + size])
            await self.settle()

    async def settle(self) -> None:
        """Let everything run that can run without time passing."""
        await asyncio.sleep(1e-6)

    async def send_init(self, packet: bytes) -> str:
        """Command object: create, transfer, execute; the reply to execute."""
        assert await self.ask("0601") != []
        assert (await self.request(struct.pack("<BBI", 1, 1, len(packet)))).hex() == "600101"
        await self.packets(packet)
        return (await self.request(b"\x04")).hex()

    async def send_objects(self, firmware: bytes, *, size: int = 244, last: bool = True) -> list[str]:
        """Data objects from the device's offset on; the replies to execute.  Without `last` the final one is not executed."""
        replies = []
        await self.request(bytes.fromhex("0602"))
        for start in range(0, len(firmware), PAGE_SIZE):
            piece = firmware[start : start + PAGE_SIZE]
            assert (await self.request(struct.pack("<BBI", 1, 2, len(piece)))).hex() == "600101"
            await self.packets(piece, size=size)
            expected = struct.pack("<II", start + len(piece), zlib.crc32(firmware[: start + len(piece)]))
            assert await self.request(b"\x03") == b"\x60\x03\x01" + expected
            if last or start + PAGE_SIZE < len(firmware):
                replies.append((await self.request(b"\x04")).hex())
        return replies


def init_for(firmware: bytes, **changes: Any) -> InitCommand:
    """An init command for an application that the default bootloader accepts, changed by `changes`."""
    command = InitCommand(
        fw_version=2,
        hw_version=52,
        sd_req=(S140.firmware_id,),
        type=FirmwareType.APPLICATION,
        app_size=len(firmware),
        hash=init_packet.firmware_hash(firmware),
    )
    return replace(command, **changes)


def packet_for(command: InitCommand, *, key: ec.EllipticCurvePrivateKey = KEY) -> bytes:
    """The signed packet for a command."""
    serialised = init_packet.encode_init_command(command)
    return init_packet.signed_packet(serialised, init_packet.sign(serialised, key))


# ------------------------------------------------------------------------------------------------------------ life cycles
Script = Callable[[Host], Awaitable[None]]


async def live(board: Board, script: Script | None = None, *, cut: Cut | None = None, connect: bool = True) -> str:
    """One life and how it ended: "app 0x…", "reset", "cut", "fault: …", "watchdog", or "hang".

    "dfu" when it is in DFU mode and the script, if there is one, has come to its end.
    """
    life = Life(board, cut)
    life.spawn(life.execute())
    scripting: asyncio.Task[None] | None = None
    try:
        on_air = asyncio.ensure_future(life.radio.on_air.wait())
        await asyncio.wait({life.outcome, on_air}, return_when=asyncio.FIRST_COMPLETED)
        on_air.cancel()
        if not life.outcome.done():
            if script is None:
                life.end("dfu")
            else:
                host = Host(life)
                if connect:
                    host.radio.connect()
                scripting = asyncio.ensure_future(script(host))
                await asyncio.wait({life.outcome, scripting}, return_when=asyncio.FIRST_COMPLETED)
                if scripting.done():
                    scripting.result()
                    life.end("dfu")
        outcome = await life.outcome
    finally:
        life.end("over")
        if scripting is not None:
            scripting.cancel()
            with suppress(asyncio.CancelledError, TimeoutError, AttRefusal):
                await scripting
        await asyncio.sleep(0)
    board.reset_reason = ResetReason.SOFT if outcome == "reset" else ResetReason.POWER_ON
    if outcome == "cut":
        board.gpregret[:] = [0, 0]
    if outcome in {"cut", "watchdog"}:
        board.watchdog_s = 0.0
    return outcome


async def settle_down(board: Board, *, limit: int = 6) -> list[str]:
    """Boot until the board stays in the application or in DFU mode; the outcomes of all lives."""
    outcomes = []
    while len(outcomes) < limit:
        outcomes.append(await live(board))
        if outcomes[-1] != "reset":
            return outcomes
    raise AssertionError(f"the board never settles: {outcomes}")


def enter_dfu(board: Board) -> Board:
    """As the buttonless service does."""
    board.gpregret[0] = 0xB1
    return board


@dataclass
class Update:
    """A complete application update on a fresh board, and what it did."""

    old: bytes = field(default_factory=lambda: image(10_240, 1))
    new: bytes = field(default_factory=lambda: image(5_000, 2))
    config: SecureDfuConfig | None = None
    command: InitCommand | None = None

    def board(self) -> Board:
        return enter_dfu(Board(config=self.config, application=self.old))

    async def script(self, host: Host) -> None:
        """Everything up to the reset that follows the last reply."""
        assert await host.send_init(packet_for(self.command or init_for(self.new))) == "600401"
        replies = await host.send_objects(self.new)
        assert replies[-1] == "600401"
        await asyncio.sleep(1.0)
