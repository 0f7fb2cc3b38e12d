"""How the virtual Secure DFU bootloader is reached: the BLE service and the serial port."""

from __future__ import annotations

import asyncio
import struct
from dataclasses import replace

import pytest

from rig.formats.dfu_settings import PEER_DATA_AT, factory_page, peer_data_record
from rig.formats.slip import Decoder, encode
from rig.virtual.ble_peripheral import AttRefusal, Security
from rig.virtual.secure_dfu import SecureDfuBootloader, Transport, default_config
from rig.virtual.secure_dfu.ble import CONTROL_POINT, PACKET, SERVICE, dfu_address, mtu_reply
from rig.virtual.secure_dfu.serial import FrameReceiver
from tests.instant_dfu_cpu import BANK0, Board, Life, image, on_virtual_time
from tests.instant_dfu_host import KEY, enter_dfu, init_for, live, packet_for, settle_down

OLD, NEW = image(6_000, 1), image(9_000, 2)
APP = f"app 0x{BANK0:x}"


def play(script, *, config=None, connect=True, **board):
    board = enter_dfu(Board(application=OLD, config=config, **board))
    return board, on_virtual_time(live(board, script, connect=connect))


# ----------------------------------------------------------------------------------------------------------------- BLE
def test_the_service_and_its_advertisement():
    async def script(host):
        radio = host.radio
        assert radio.advertised == {"name": "DfuTarg", "service_uuids": ["fe59"], "interval_s": 0.025}
        (service,) = radio.services
        assert service.uuid == SERVICE
        properties = {entry.uuid: (entry.properties, entry.security) for entry in service.characteristics}
        assert properties == {
            PACKET: ({"write-without-response"}, Security.OPEN), CONTROL_POINT: ({"write", "notify"}, Security.OPEN),
        }  # fmt: skip
        assert radio.max_mtu == 247
        assert radio.address == "C0:11:22:33:44:00"  # one more than the application's, without a carry
        await host.settle()
        assert radio.parameters == {"interval_s": 0.015, "latency": 0, "timeout_s": 6.0}

    play(script)


def test_the_control_point_wants_notifications_first():
    async def script(host):
        host.radio.connect(subscribe=False)
        with pytest.raises(AttRefusal) as refusal:
            host.radio.write(CONTROL_POINT, b"\x06\x01")
        assert refusal.value.code == 0xFD
        with pytest.raises(AttRefusal) as refusal:
            host.radio.write(CONTROL_POINT, bytes(24))
        assert refusal.value.code == 0x0D
        host.radio.subscribed = True
        assert await host.ask("0601") == ["60060100020000" + "00" * 8]

    play(script, connect=False)


def test_packets_that_do_not_fit_a_buffer_disappear():
    async def script(host):
        await host.ask("0602", "020100")
        host.radio.write(PACKET, bytes(245))
        assert await host.silence()
        host.radio.write(PACKET, bytes(244))
        assert (await host.reply()).hex() == "600308"

    play(script)


def test_a_reply_to_a_host_that_has_gone_is_dropped():
    async def script(host):
        host.radio.write(CONTROL_POINT, b"\x06\x01")
        host.radio.drop()
        await host.settle()
        host.radio.connect(subscribe=False)
        host.radio.subscribed = True
        host.radio.write(CONTROL_POINT, b"\x06\x01")
        host.radio.subscribed = False
        await host.settle()
        host.radio.subscribed = True
        assert await host.ask("0602") == ["60060100100000" + "00" * 8]

    assert play(script)[1] == "dfu"


@pytest.mark.parametrize(("application", "bootloader"), [
    ("C0:11:22:33:44:55", "C0:11:22:33:44:56"), ("C0:11:22:33:44:FF", "C0:11:22:33:44:00"), ("C0:11:22:33:44:0F", "C0:11:22:33:44:10"),
])  # fmt: skip
def test_the_address_in_dfu_mode(application, bootloader):
    assert dfu_address(application) == bootloader


@pytest.mark.parametrize(("requested", "reply"), [(23, 23), (24, 23), (64, 63), (246, 243), (247, 247), (517, 247)])
def test_the_mtu_leaves_whole_words(requested, reply):
    """9."""
    assert mtu_reply(requested) == reply


def test_a_bootloader_that_requires_bonds():
    """Without handed-over keys its error handler resets for ever; with them the service wants encryption, name and address stay."""
    config = replace(default_config("nrf52840"), requires_bonds=True)
    board = enter_dfu(Board(application=OLD, config=config))
    assert on_virtual_time(live(board)) == "reset"
    page = bytearray(factory_page(application=OLD))
    page[PEER_DATA_AT : PEER_DATA_AT + 64] = peer_data_record(bytes(60))

    async def script(host):
        assert host.radio.advertised["name"] == "DfuTarg"
        assert host.radio.address == "C0:11:22:33:44:FF"  # the bond is with this address
        assert {entry.security for entry in host.radio.services[0].characteristics} == {Security.ENCRYPTED}

    assert play(script, config=config, settings=bytes(page), backup=bytes(page))[1] == "dfu"


# -------------------------------------------------------------------------------------------------------------- serial
class Loopback:
    """The board's UART, with the host on the other side of a function call."""

    def __init__(self) -> None:
        self.receiver = lambda _data: None
        self.listening = asyncio.Event()
        self.frames: asyncio.Queue[bytes] = asyncio.Queue()
        self._decoder = Decoder()

    def listen(self, receiver) -> None:
        self.receiver = receiver
        self.listening.set()

    async def send(self, data: bytes) -> None:
        for frame in self._decoder.feed(data):
            self.frames.put_nowait(frame.data)

    async def ask(self, *requests: str) -> list[str]:
        replies = []
        for request in requests:
            self.receiver(encode(bytes.fromhex(request)))
            async with asyncio.timeout(1):
                replies.append((await self.frames.get()).hex())
        return replies

    async def packets(self, data: bytes, size: int = 64) -> None:
        for start in range(0, len(data), size):
            self.receiver(encode(b"\x08" + data[start : start + size]))
            await asyncio.sleep(1e-6)


class SerialLife(Life):
    """A start of the bootloader with a serial port.  The virtual FICR says variant AAC0."""

    port: Loopback

    def read(self, address: int, length: int) -> bytes:
        return b"0CAA" if address == 0x1000_0104 else super().read(address, length)

    async def execute(self) -> None:
        await SecureDfuBootloader(self.board.config, port_of=lambda _cpu: self.port).boot(self)


def over_serial(script) -> tuple[Board, str]:
    board = enter_dfu(Board(application=OLD, config=replace(default_config("nrf52840"), transport=Transport.SERIAL)))

    async def story():
        life = SerialLife(board)
        life.port = Loopback()
        life.spawn(life.execute())
        await life.port.listening.wait()
        await script(life.port)
        await asyncio.sleep(1)
        life.end("dfu")
        return await life.outcome

    return board, on_virtual_time(story())


def test_a_serial_build_answers_all_opcodes():
    async def script(port):
        words = struct.pack("<IIII", 0xF8000, 0x6000, 7_002_000, 0x1000).hex()
        assert await port.ask("00", "07", "09a5", "0a", "0b00", "0b01", "0b02", "0b03", "05") == [
            "60000101",
            "6007018300",
            "600901a5",
            "600a01" + struct.pack("<I", 0x52840).hex() + b"0CAA".hex() + struct.pack("<III", 1 << 20, 1 << 18, 4096).hex(),
            "600b01" + "02" + "00000000" + words[:16],
            "600b01" + "00" + words[16:] + struct.pack("<I", 0x27000).hex(),
            "600b01" + "01" + struct.pack("<III", 1, BANK0, len(OLD)).hex(),
            "600b01" + "ff" + "00" * 12,
            "600502",
        ]

    assert over_serial(script)[1] == "dfu"


def test_a_complete_update_over_the_serial_port():
    packet = packet_for(init_for(NEW), key=KEY)

    async def script(port):
        await port.ask("0601", "0101" + struct.pack("<I", len(packet)).hex(), "020100")
        await port.packets(packet[:64])
        assert (await port.frames.get())[:3].hex() == "600301"
        await port.ask("020000")
        await port.packets(packet[64:])
        assert await port.ask("04", "0602") == ["600401", "60060100100000" + "00" * 8]
        for start in range(0, len(NEW), 4096):
            piece = NEW[start : start + 4096]
            assert await port.ask("0102" + struct.pack("<I", len(piece)).hex()) == ["600101"]
            await port.packets(piece)
            assert await port.ask("04") == ["600401"]

    board, outcome = over_serial(script)
    assert outcome == "reset"
    board.config = default_config("nrf52840")
    assert on_virtual_time(settle_down(board)) == ["reset", APP]
    assert board.flash[BANK0 : BANK0 + len(NEW)] == NEW


@pytest.mark.parametrize(("stream", "frames"), [
    ("0601c0", ["0601"]), ("c0", [""]), ("dbdcdbddc0", ["c0db"]), ("db00ff01c00602c0", ["0602"]), ("0601", []),
])  # fmt: skip
def test_the_frame_receiver(stream, frames):
    """An empty frame is a frame; after a bad escape everything up to the END is dropped."""
    assert [frame.hex() for frame in FrameReceiver().feed(bytes.fromhex(stream))] == frames


def test_a_frame_that_fills_the_buffer_blocks_the_receiver():
    receiver = FrameReceiver()
    assert receiver.feed(bytes(130) + b"\xc0") == [bytes(130)]
    assert receiver.feed(bytes(131) + b"\xc0" + b"\x06\x01\xc0") == []
