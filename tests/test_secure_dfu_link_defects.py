"""Known-bad virtual Secure DFU bootloaders whose defects show on the link, in time, or in what the application is left with."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from rig.virtual.ble_peripheral import AttRefusal
from rig.virtual.secure_dfu import Defect, SecureDfuBootloader, default_config
from rig.virtual.secure_dfu.ble import CONTROL_POINT, PACKET
from tests.instant_dfu_cpu import BANK0, Board, Life, image, on_virtual_time
from tests.instant_dfu_host import Host, Update, enter_dfu, init_for, live, packet_for, settle_down

OLD, NEW = image(10_240, 1), image(6_000, 2)
APP = f"app 0x{BANK0:x}"


def board_with(defect: Defect | None, *, application: bytes | None = OLD, **options: Any) -> Board:
    defects = frozenset(() if defect is None else {defect})
    return Board(application=application, config=replace(default_config("nrf52840"), defects=defects, **options))


def play(script, defect: Defect | None, **options: Any) -> str:
    return on_virtual_time(live(enter_dfu(board_with(defect, **options)), script))


@pytest.mark.parametrize("defect", [None, Defect.CONTROL_POINT_WITHOUT_CCCD])
def test_control_point_without_cccd(defect):
    async def script(host):
        host.radio.subscribed = False
        if defect is None:
            with pytest.raises(AttRefusal) as refusal:
                host.radio.write(CONTROL_POINT, b"\x06\x01")
            assert refusal.value.code == 0xFD
        else:
            host.radio.write(CONTROL_POINT, b"\x02\x01\x00")  # receipts after every packet: that it was served shows later
            await host.settle()
        host.radio.subscribed = True
        await host.ask("010110000000")
        host.radio.write(PACKET, bytes(16))
        assert await host.silence() is (defect is None)

    assert play(script, defect) == "dfu"


async def enormous_data_object(host: Host) -> None:
    assert await host.send_init(packet_for(init_for(NEW))) == "600401"
    assert await host.ask("0102ffffffff") == ["600103"]


async def enormous_command_object(host: Host) -> None:
    assert await host.ask("0101ffffffff") == ["600104"]


async def packet_beyond_its_object(host: Host) -> None:
    await host.ask("010110000000", "020100")
    host.radio.write(PACKET, bytes(17))
    assert (await host.reply()).hex() == "600303"


@pytest.mark.parametrize("script", [enormous_data_object, enormous_command_object, packet_beyond_its_object])
def test_malformed_length_crashes(script):
    assert play(script, None) == "dfu"
    assert play(script, Defect.MALFORMED_LENGTH_CRASHES).startswith("fault")


@pytest.mark.parametrize("defect", [None, Defect.MALFORMED_LENGTH_CRASHES])
def test_well_formed_lengths_never_crash(defect):
    board = enter_dfu(board_with(defect))

    async def story():
        await live(board, Update().script)
        return await settle_down(board)

    assert on_virtual_time(story()) == ["reset", APP]


@pytest.mark.parametrize(("defect", "outcome"), [(None, "reset"), (Defect.INACTIVITY_TIMER_NEVER_FIRES, "dfu")])
def test_inactivity_timer_never_fires(defect, outcome):
    assert play(lambda _host: asyncio.sleep(1_000), defect) == outcome


class SlowLife(Life):
    """A life in which page erases take their time."""

    async def erase_page(self, address: int) -> None:
        await asyncio.sleep(self.part.page_erase_s)
        await super().erase_page(address)


@pytest.mark.parametrize(("defect", "in_dfu_mode", "copying"), [(None, "dfu", "reset"), (Defect.WATCHDOG_NOT_FED, "watchdog", "watchdog")])
def test_watchdog_not_fed(defect, in_dfu_mode, copying):
    """The application's watchdog of 2 s goes on over its soft reset, through a long DFU mode and a copy that takes longer."""
    board = board_with(defect, watchdog_s=2.0)
    update = Update(old=OLD, new=image(100_000, 2))

    async def copy() -> str:
        life = SlowLife(board)
        life.spawn(life.execute())
        outcome = await life.outcome
        await asyncio.sleep(0)
        return outcome

    async def story():
        assert await live(board) == APP
        assert board.watchdog_s == 2.0
        assert await live(enter_dfu(board), lambda _host: asyncio.sleep(3)) == in_dfu_mode
        board.watchdog_s = 0.0
        assert await live(enter_dfu(board), update.script) == "reset"
        board.watchdog_s = 2.0
        assert await copy() == copying

    on_virtual_time(story())


class WithApplication(Life):
    """A life in which the application runs for ten seconds and feeds no watchdog."""

    async def execute(self) -> None:
        await SecureDfuBootloader(self.board.config).boot(self)
        await asyncio.sleep(10)
        self.end("ran")


@pytest.mark.parametrize("defect", [None, Defect.WATCHDOG_NOT_FED])
def test_the_watchdog_is_fed_in_the_name_of_the_application(defect):
    async def story():
        life = WithApplication(board_with(defect, watchdog_s=2.0))
        life.spawn(life.execute())
        return await life.outcome

    assert on_virtual_time(story()) == "ran"


def test_without_the_option_no_watchdog_runs():
    board = board_with(None)
    assert on_virtual_time(live(board)) == APP
    assert board.watchdog_s == 0.0


@pytest.mark.parametrize(("defect", "empty"), [(None, "dfu"), (Defect.HANG_WITHOUT_APPLICATION, "hang")])
def test_hang_without_application(defect, empty):
    assert on_virtual_time(live(board_with(defect, application=None))) == empty
    assert on_virtual_time(live(board_with(defect))) == APP
    assert on_virtual_time(live(enter_dfu(board_with(defect)))) == "dfu"


@pytest.mark.parametrize("defect", [None, Defect.DROPPED_PACKETS_COUNTED])
def test_dropped_packets_counted(defect):
    """Sixteen packets behind a page erase, one too many: the good board's CRC says so, the bad one's only the hash at the end."""

    async def script(host):
        assert await host.send_init(packet_for(init_for(NEW))) == "600401"
        await host.settle()
        host.life.hold()
        await host.ask("0602", "010200100000")
        for start in range(0, 16 * 244, 244):
            host.radio.write(PACKET, NEW[start : start + 244])
        (state,) = await host.ask("03")
        counted = 15 * 244 if defect is None else 16 * 244
        assert int.from_bytes(bytes.fromhex(state)[3:7], "little") == counted
        host.life.release()
        await host.settle()
        assert host.life.board.flash[0x2A000 + 15 * 244 : 0x2A000 + 16 * 244] == b"\xff" * 244

    assert play(script, defect) == "dfu"


@pytest.mark.parametrize("defect", [None, Defect.RECEIPTS_NEVER_SENT])
def test_receipts_never_sent(defect):
    async def script(host):
        assert await host.ask("020100", "010110000000") == ["600201", "600101"]
        host.radio.write(PACKET, bytes(8))
        assert await host.silence() is (defect is not None)

    play(script, defect)


@pytest.mark.parametrize(("defect", "least_s", "most_s"), [(None, 0.0, 0.1), (Defect.SLOW_BOOT, 12.0, 12.1)])
def test_slow_boot(defect, least_s, most_s):
    async def story():
        started = asyncio.get_running_loop().time()
        assert await live(board_with(defect)) == APP
        return asyncio.get_running_loop().time() - started

    assert least_s <= on_virtual_time(story()) <= most_s


@pytest.mark.parametrize(("defect", "mtu"), [(None, 247), (Defect.SMALL_MTU, 23)])
def test_small_mtu(defect, mtu):
    async def script(host):
        assert host.radio.max_mtu == mtu
        packet = packet_for(init_for(NEW))
        await host.ask("0601", f"0101{len(packet):02x}000000")
        await host.packets(packet, size=mtu - 3)
        assert await host.ask("04") == ["600401"]

    play(script, defect)


@pytest.mark.parametrize(("defect", "name"), [(None, "DfuTarg"), (Defect.APPLICATION_NAME_ADVERTISED, "Thermostat")])
def test_application_name_advertised(defect, name):
    async def script(host):
        assert host.radio.advertised["name"] == name

    play(script, defect, application_name="Thermostat")


@pytest.mark.parametrize("defect", [None, Defect.PAGES_NOT_PROTECTED])
def test_pages_not_protected(defect):
    """MBR, and everything from the bootloader to the settings backup; the settings page stays open for the application."""
    board = board_with(defect)
    assert on_virtual_time(live(board)) == APP
    assert board.protected == ([(0, 0x1000), (0xF8000, 0x7000)] if defect is None else [])
    assert on_virtual_time(live(enter_dfu(board))) == "dfu"
    assert board.protected == []
