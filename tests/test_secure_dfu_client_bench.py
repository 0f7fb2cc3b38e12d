"""Packages from our own builder, sent by our own client, to the virtual bench's bootloader: three independent readings of one protocol."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest

from rig.errors import LinkLost, Refused
from rig.formats import slip
from rig.formats.init_packet import ValidationType
from rig.images import dfu
from rig.images.dfu import Part
from rig.ota.secure_dfu import GattTransport, Options, Progress, SecureDfuSession, SerialTransport, Stage, Step
from rig.virtual.ble_peripheral import AttRefusal
from rig.virtual.secure_dfu import SecureDfuBootloader, Transport, default_config
from tests.dfu_links import retries
from tests.instant_dfu_cpu import BANK0, Board, Life, LoopbackRadio, image, on_virtual_time
from tests.instant_dfu_host import KEY, enter_dfu, settle_down

OLD, NEW = image(10_240, 1), image(20_003, 2)
APP = f"app 0x{BANK0:x}"
_STORY_S = 600  # of virtual time: nothing here may go on for ever


def package(**arguments: Any) -> dfu.DfuPackage:
    part = Part(data=NEW, version=2, sd_req=(0x100,))
    return dfu.build(**{"hw_version": 52, "application": part, "key": KEY, **arguments})


class LoopbackLink:
    """`rig.ports.GattLink` to the radio of an instant board; a packet takes 2.5 ms."""

    def __init__(self, radio: LoopbackRadio) -> None:
        self.max_write = 244
        self.lost_reason: int | None = None
        self._radio = radio
        self._lost = asyncio.get_running_loop().create_future()
        self._receiver: Callable[[bytes], None] = lambda _data: None
        radio.connect(subscribe=False)
        self._pump = asyncio.ensure_future(self._forward())

    @property
    def is_up(self) -> bool:
        return not self._lost.done()

    async def read(self, characteristic: str) -> bytes:
        raise NotImplementedError

    async def write(self, characteristic: str, data: bytes, *, response: bool) -> None:
        await asyncio.sleep(0.0025)
        if not self._radio.is_connected:
            raise LinkLost(0x13)
        try:
            self._radio.write(characteristic, data)
        except AttRefusal as refusal:
            raise Refused("write", group=-1, code=refusal.code, name="ATT error") from None

    async def subscribe(self, characteristic: str, receiver: Callable[[bytes], None]) -> None:
        self._receiver = receiver
        self._radio.subscribed = True

    async def wait_lost(self) -> int | None:
        return int(await asyncio.shield(self._lost))

    async def disconnect(self) -> None:
        self._radio.drop()

    async def _forward(self) -> None:
        while self._radio.is_connected or not self._radio.notifications.empty():
            with suppress(TimeoutError):
                async with asyncio.timeout(0.02):
                    self._receiver(await self._radio.notifications.get())
        self._lost.set_result(0x13)


@asynccontextmanager
async def dfu_mode(board: Board) -> Any:
    life = Life(board)
    life.spawn(life.execute())
    try:
        async with asyncio.timeout(_STORY_S):
            await life.radio.on_air.wait()
            yield life
    finally:
        life.end("over")
        await asyncio.sleep(0)


async def send(life: Life, wanted: dfu.DfuPackage, options: Options | None = None) -> list[Progress]:
    """A whole update, up to the reset."""
    async with GattTransport(LoopbackLink(life.radio)) as transport:
        session = SecureDfuSession(transport, options=options)
        steps = [progress async for progress in session.update(wanted.images[0])]
        await session.wait_reset()
        return steps


async def send_until(life: Life, wanted: dfu.DfuPackage, stop: Callable[[Progress], bool]) -> None:
    """Part of an update; then the host goes away."""
    async with GattTransport(LoopbackLink(life.radio)) as transport:
        async for progress in SecureDfuSession(transport).update(wanted.images[0]):
            if stop(progress):
                return


def updated(board: Board, options: Options | None = None) -> list[Progress]:
    async def story() -> list[Progress]:
        async with dfu_mode(enter_dfu(board)) as life:
            return await send(life, package(), options)

    return on_virtual_time(story())


def after(board: Board) -> tuple[str, bool]:
    """What the board does in the end, and whether that is the new application."""
    return on_virtual_time(settle_down(board))[-1], bytes(board.flash[BANK0 : BANK0 + len(NEW)]) == NEW


@pytest.mark.parametrize("every", [0, 1, 12])
def test_an_application_is_updated(every: int) -> None:
    board = Board(application=OLD)

    steps = updated(board, Options(receipts_every=every))

    assert retries(steps) == []
    assert after(board) == (APP, True)


def test_boot_validation_by_signature_is_made_as_the_bootloader_wants_it() -> None:
    part = Part(data=NEW, version=2, sd_req=(0x100,), boot_validation=ValidationType.ECDSA_P256_SHA256)
    board = enter_dfu(Board(application=OLD))

    async def story() -> None:
        async with dfu_mode(board) as life:
            await send(life, package(application=part))

    on_virtual_time(story())
    assert after(board) == (APP, True)


@contextmanager
def refused(code: int) -> Iterator[None]:
    with pytest.raises(Refused) as refusal:
        yield
    assert (refusal.value.request, refusal.value.group, refusal.value.code) == ("init execute", 0x0B, code)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"hw_version": 51}, 0x06),
        ({"key": None}, 0x08),
        ({"application": Part(data=NEW, version=0, sd_req=(0x100,))}, 0x05),
        ({"application": Part(data=NEW, version=2, sd_req=(0x101,))}, 0x07),
    ],
)
def test_refusals_have_their_code(changes: dict[str, Any], code: int) -> None:
    async def story() -> None:
        async with dfu_mode(enter_dfu(Board(application=OLD))) as life:
            await send(life, package(**changes))

    with refused(code):
        on_virtual_time(story())


def cut_and_resumed(board: Board, stop: Callable[[Progress], bool]) -> list[Progress]:
    """Lose power at `stop`, enter DFU mode again, update; the steps of the second attempt."""

    async def story() -> list[Progress]:
        async with dfu_mode(enter_dfu(board)) as life:
            await send_until(life, package(), stop)
        async with dfu_mode(enter_dfu(board)) as life:
            return await send(life, package())

    return on_virtual_time(story())


def resumed_at(steps: list[Progress]) -> dict[Stage, int]:
    return {step.stage: step.offset for step in steps if step.step is Step.RESUME}


@pytest.mark.parametrize("offset", [244, 4096, 12_288 + 488])
def test_after_a_power_cut_the_init_packet_is_kept_and_the_data_are_not(offset: int) -> None:
    board = Board(application=OLD)

    steps = cut_and_resumed(board, lambda step: step.stage is Stage.DATA and step.offset == offset)

    assert resumed_at(steps) == {Stage.INIT: len(package().images[0].init_packet), Stage.DATA: 0}
    assert after(board) == (APP, True)


def test_saved_progress_is_used() -> None:
    board = Board(application=OLD, config=replace(default_config("nrf52840"), save_progress=True))

    steps = cut_and_resumed(board, lambda step: step.stage is Stage.DATA and step.offset == 12_288 + 488)

    assert resumed_at(steps)[Stage.DATA] == 12_288
    assert after(board) == (APP, True)


@pytest.mark.parametrize(("sdk", "offset"), [(15, 12_288 + 488), (17, 0)])
def test_a_lost_link_keeps_the_progress_of_old_bootloaders_only(sdk: int, offset: int) -> None:
    board = enter_dfu(Board(application=OLD, config=replace(default_config("nrf52840"), sdk=sdk)))

    async def story() -> list[Progress]:
        async with dfu_mode(board) as life:
            await send_until(life, package(), lambda step: step.stage is Stage.DATA and step.offset == 12_288 + 488)
            life.radio.drop()
            await asyncio.sleep(1)
            return await send(life, package())

    steps = on_virtual_time(story())

    assert resumed_at(steps)[Stage.DATA] == offset
    assert after(board) == (APP, True)


# ---------------------------------------------------------------------------------------------------------------- serial
class SerialEnds:
    """Both ends of a serial line: `rig.ports.ByteStream` for the host, the UART for the bootloader."""

    def __init__(self) -> None:
        self._to_host: Callable[[float, bytes], None] = lambda _when, _data: None
        self._to_device: Callable[[bytes], None] = lambda _data: None
        self.device = self.Device(self)
        self.listening = asyncio.Event()

    def listen(self, receiver: Callable[[float, bytes], None]) -> None:
        self._to_host = receiver

    def write(self, data: bytes) -> None:
        asyncio.get_running_loop().call_later(0.001, self._to_device, data)

    async def drain(self) -> None:
        await asyncio.sleep(0.006)

    async def close(self) -> None: ...

    class Device:
        def __init__(self, ends: SerialEnds) -> None:
            self._ends = ends

        def listen(self, receiver: Callable[[bytes], None]) -> None:
            self._ends._to_device = receiver
            self._ends.listening.set()

        async def send(self, data: bytes) -> None:
            assert data == slip.encode(slip.Decoder().feed(data)[0].data)
            loop = asyncio.get_running_loop()
            loop.call_later(0.001, self._ends._to_host, loop.time(), data)


class SerialLife(Life):
    port: SerialEnds.Device

    def read(self, address: int, length: int) -> bytes:
        return b"0CAA" if address == 0x1000_0104 else super().read(address, length)  # FICR INFO.VARIANT

    async def execute(self) -> None:
        await SecureDfuBootloader(self.board.config, port_of=lambda _cpu: self.port).boot(self)


def test_an_application_is_updated_over_a_serial_line() -> None:
    board = enter_dfu(Board(application=OLD, config=replace(default_config("nrf52840"), transport=Transport.SERIAL)))

    async def story() -> str:
        ends, life = SerialEnds(), SerialLife(board)
        life.port = ends.device
        life.spawn(life.execute())
        async with asyncio.timeout(_STORY_S):
            await ends.listening.wait()
            async with SerialTransport(ends) as transport:
                assert transport.max_packet == 64
                session = SecureDfuSession(transport, options=Options(receipts_every=8))
                assert retries([progress async for progress in session.update(package().images[0])]) == []
            return await life.outcome

    assert on_virtual_time(story()) == "reset"
    board.config = default_config("nrf52840")
    assert after(board) == (APP, True)
