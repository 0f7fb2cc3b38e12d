"""How long the virtual Secure DFU bootloader computes, and what it does meanwhile."""

from __future__ import annotations

import asyncio
import hashlib
import struct
from dataclasses import replace

import pytest

from rig.errors import ConfigError
from rig.formats import init_packet
from rig.formats.dfu_settings import Validation, factory_page
from rig.virtual.crypto_time import HASH_BYTES_PER_S, SIGNATURE_S, Crypto, default_crypto
from rig.virtual.secure_dfu import Defect, default_config
from rig.virtual.secure_dfu.ble import CONTROL_POINT, PACKET
from rig.virtual.secure_dfu.config import config_from_options
from tests.instant_dfu_cpu import BANK0, Board, image, on_virtual_time
from tests.instant_dfu_host import KEY, Host, enter_dfu, init_for, live, packet_for

OLD, NEW = image(100_000, 1), image(60_000, 2)
APP = f"app 0x{BANK0:x}"
CC310, SOFTWARE = SIGNATURE_S[Crypto.CC310], SIGNATURE_S[Crypto.SOFTWARE]


def now() -> float:
    return asyncio.get_running_loop().time()


def board_with(*defects: Defect, crypto: Crypto = Crypto.CC310) -> Board:
    config = replace(default_config("nrf52840"), crypto=crypto, defects=frozenset(defects))
    return enter_dfu(Board(application=OLD, config=config))


async def execute_s(host: Host) -> float:
    """The time from an execute to its reply."""
    started = now()
    assert await host.ask("04") == ["600401"]
    return now() - started


async def send(host: Host, packet: bytes) -> None:
    await host.request(struct.pack("<BBI", 1, 1, len(packet)))
    await host.packets(packet)


@pytest.mark.parametrize(("board", "signature_s"), [
    (board_with(), CC310), (board_with(crypto=Crypto.SOFTWARE), SOFTWARE), (board_with(Defect.SOFTWARE_CRYPTO), SOFTWARE),
    (board_with(Defect.SIGNATURE_NOT_CHECKED), 0.0),
])  # fmt: skip
def test_the_init_execute_takes_as_long_as_the_signature(board, signature_s):
    """The second time it is not verified again."""

    async def script(host):
        await send(host, packet_for(init_for(NEW)))
        assert await execute_s(host) == pytest.approx(signature_s, abs=1e-3)
        assert await execute_s(host) == pytest.approx(0.0, abs=1e-3)

    on_virtual_time(live(board, script))


def test_the_last_execute_takes_as_long_as_the_hash():
    async def script(host):
        assert await host.send_init(packet_for(init_for(NEW))) == "600401"
        await host.send_objects(NEW, last=False)
        hashed_s = len(NEW) / HASH_BYTES_PER_S
        assert await execute_s(host) == pytest.approx(2 * hashed_s, abs=1e-3)  # the hash, and the checksum for later boots

    on_virtual_time(live(board_with(), script))


@pytest.mark.parametrize(("entry", "seconds"), [
    (Validation(type=0, data=b""), 0.0),
    (Validation(type=2, data=hashlib.sha256(OLD).digest()), len(OLD) / HASH_BYTES_PER_S),
    (Validation(type=3, data=init_packet.sign(OLD, KEY)), len(OLD) / HASH_BYTES_PER_S + CC310),
])  # fmt: skip
def test_every_boot_takes_as_long_as_its_validation(entry, seconds):
    page = factory_page(application=OLD, validation=entry)

    async def story():
        started = now()
        assert await live(Board(application=OLD, settings=page, backup=page)) == APP
        return now() - started

    assert on_virtual_time(story()) == pytest.approx(seconds, abs=1e-3)


def test_a_stored_init_packet_delays_the_first_advertisement():
    async def to_the_air_s(board: Board) -> float:
        times = []

        async def look(_host):
            times.append(now())

        started = now()
        await live(enter_dfu(board), look)
        return times[0] - started - len(OLD) / HASH_BYTES_PER_S

    async def script(host):
        assert await host.send_init(packet_for(init_for(NEW))) == "600401"
        await host.settle()

    async def story():
        board = board_with(crypto=Crypto.SOFTWARE)
        assert await to_the_air_s(board) == pytest.approx(0.0, abs=1e-3)
        await live(enter_dfu(board), script)
        assert await to_the_air_s(board) == pytest.approx(SOFTWARE, abs=1e-3)

    on_virtual_time(story())


def test_what_arrives_while_the_core_computes_waits_its_turn():
    """A request behind the init execute is answered after it, and sees what it has done."""

    async def script(host):
        await send(host, packet_for(init_for(NEW)))
        host.radio.write(CONTROL_POINT, b"\x04")
        host.radio.write(CONTROL_POINT, bytes.fromhex("010200100000"))
        host.radio.write(PACKET, NEW[:244])
        await asyncio.sleep(SOFTWARE / 2)
        assert host.radio.notifications.empty()
        assert [(await host.reply()).hex(), (await host.reply()).hex()] == ["600401", "600101"]
        await host.settle()
        assert (await host.ask("03"))[0][6:14] == struct.pack("<I", 244).hex()

    on_virtual_time(live(board_with(crypto=Crypto.SOFTWARE), script))


def test_the_option():
    assert [config_from_options(part, {}).crypto for part in ("nrf52832", "nrf52833", "nrf52840")] == [
        Crypto.SOFTWARE, Crypto.SOFTWARE, Crypto.CC310,
    ]  # fmt: skip
    assert default_crypto("nrf52840") is Crypto.CC310
    assert config_from_options("nrf52840", {"crypto": "software"}).signature_s == SOFTWARE
    with pytest.raises(ConfigError, match="unknown crypto 'fast'; known: cc310, software"):
        config_from_options("nrf52840", {"crypto": "fast"})
    with pytest.raises(ConfigError, match="crypto cc310: an nrf52832 has no CryptoCell"):
        config_from_options("nrf52832", {"crypto": "cc310"})
