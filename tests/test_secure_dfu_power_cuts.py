"""Power cuts at every flash operation that decides something, on the virtual Secure DFU bootloader.

An update is recorded once, operation by operation; what a cut leaves is the flash before it plus the operations up to it, the last one
not done ("lost"), done in part ("half") or done.  The torn board is booted until it settles.  Boots whose settings and firmware agree
are the same boot, so only one of each is carried out; a sample is carried out without that, and a sample of torn boards is made by
really cutting the power instead of by reconstruction.

Numbers in docstrings are those of the observations on power cuts of nRF5 SDK 17.0.2.
"""

from __future__ import annotations

import asyncio
import random
import struct
import zlib
from dataclasses import dataclass, field, replace

import pytest

from rig.formats.dfu_settings import BankCode
from rig.formats.init_packet import firmware_hash
from rig.virtual.secure_dfu import SecureDfuConfig, default_config
from rig.virtual.secure_dfu.ble import CONTROL_POINT
from rig.virtual.secure_dfu.settings import SettingsStore
from tests.instant_dfu_cpu import BANK0, Board, Cut, Entry, Life, apply, image, on_virtual_time
from tests.instant_dfu_host import Update, enter_dfu, init_for, live, packet_for, settle_down

OLD, NEW = image(6_000, 1), image(10_000, 2)
APP = f"app 0x{BANK0:x}"
SETTINGS, BACKUP = 0xFF000, 0xFE000
PAGE_WRITE = 225
"""Operations of one page: an erase and 224 words."""


@dataclass
class Recording:
    """A board before some operations, the operations, and the boards that cuts among them leave behind."""

    before: Board
    operations: list[Entry]
    seen: dict[bytes, tuple[list[str], bytes, bytes]] = field(default_factory=dict)

    def torn(self, at: int, kind: str) -> Board:
        board = self.before.copy()
        for operation in self.operations[:at]:
            apply(board.flash, operation)
        if kind != "lost":
            apply(board.flash, self.operations[at], half=kind == "half")
        return board

    def boards(self, first: int, last: int):
        """Torn boards for every cut from operation `first` to `last`, in order, made step by step."""
        board = self.torn(first, "lost")
        for at in range(first, last):
            yield at, "lost", board
            half = board.copy()
            apply(half.flash, self.operations[at], half=True)
            yield at, "half", half
            board = board.copy()
            apply(board.flash, self.operations[at])
        yield last - 1, "done", board

    async def settle(self, board: Board, *, prune: bool = True) -> tuple[list[str], bytes, bytes]:
        """Outcomes of the boots, then bank 0 and the settings page; both pages must agree in the end."""
        life = Life(board)
        store = SettingsStore(life, board.config)
        store.load()
        store.ram.seal()
        life.end("over")
        key = bytes(store.ram.data) + bytes(board.flash[:SETTINGS - 0x1000])
        if prune and key in self.seen:
            return self.seen[key]
        outcomes = await settle_down(board)
        assert board.settings.data == board.backup.data
        assert board.settings.backup_is_valid
        result = outcomes, bytes(board.flash[BANK0 : BANK0 + max(len(OLD), len(NEW))]), bytes(board.settings.data)
        self.seen[key] = result
        return result


async def record(script, *, config: SecureDfuConfig | None = None, old: bytes = OLD) -> tuple[Recording, Board]:
    board = enter_dfu(Board(application=old, config=config))
    before = board.copy()
    await live(board, script)
    return Recording(before=before, operations=board.operations), board


def update_script(new: bytes = NEW):
    return Update(old=OLD, new=new).script


async def init_only(host) -> None:
    assert await host.send_init(packet_for(init_for(NEW))) == "600401"
    await host.settle()


def holds(bank0: bytes, firmware: bytes) -> bool:
    return bank0.startswith(firmware)


# ------------------------------------------------------------------------------------------------------- commit points
def test_cuts_in_the_init_execute():
    """1: the init is there from "backup erase half" on, not before; the old application always starts."""

    async def story():
        recording, _ = await record(init_only)
        assert [entry[1] for entry in recording.operations if entry[0] == "E"] == [SETTINGS, BACKUP]
        assert len(recording.operations) == 2 * PAGE_WRITE
        for at, kind, board in recording.boards(0, 2 * PAGE_WRITE):
            outcomes, bank0, settings = await recording.settle(board)
            assert outcomes == [APP]
            assert holds(bank0, OLD)
            (command_size,) = struct.unpack_from("<I", settings, 0x38)
            committed = at > PAGE_WRITE or (at == PAGE_WRITE and kind != "lost")
            assert (command_size != 0) == committed, (at, kind)
        assert len(recording.seen) == 2

    on_virtual_time(story())


def test_cuts_in_the_final_execute():
    """1: the old application up to and including "backup erase lost", the new one from "backup erase half" on."""

    async def story():
        recording, _ = await record(update_script())
        first = len(recording.operations) - 2 * PAGE_WRITE
        assert [entry[1] for entry in recording.operations[first:] if entry[0] == "E"] == [SETTINGS, BACKUP]
        commit = first + PAGE_WRITE
        for at, kind, board in recording.boards(first, len(recording.operations)):
            outcomes, bank0, _ = await recording.settle(board)
            committed = at > commit or (at == commit and kind != "lost")
            assert outcomes == (["reset", APP] if committed else [APP]), (at, kind)
            assert holds(bank0, NEW if committed else OLD)
        assert len(recording.seen) == 2

    on_virtual_time(story())


def test_cuts_in_the_settings_writes_of_the_activation():
    """The copy goes on with the step that was not finished, and always ends in the new application."""

    async def story():
        _, board = await record(update_script())
        before = board.copy()
        board.log.clear()
        assert await live(board) == "reset"
        recording = Recording(before=before, operations=board.operations)
        erases = [at for at, entry in enumerate(recording.operations) if entry[0] == "E" and entry[1] == SETTINGS]
        assert len(erases) == 3  # two steps of two pages, and the end
        for first in erases:
            for at, kind, torn in recording.boards(first, first + 2 * PAGE_WRITE):
                outcomes, bank0, _ = await recording.settle(torn)
                assert outcomes in (["reset", APP], [APP]), (at, kind)
                assert holds(bank0, NEW)
        assert len(recording.seen) == 4

    on_virtual_time(story())


def test_a_cut_anywhere_leaves_a_board_with_a_valid_application():
    """The rest, sampled: boot, transfer and copy; without pruning."""

    async def story():
        recording, board = await record(update_script())
        rng = random.Random(20)
        for at in rng.sample(range(len(recording.operations)), 60):
            outcomes, bank0, _ = await recording.settle(recording.torn(at, rng.choice(["lost", "half", "done"])), prune=False)
            assert outcomes[-1] == APP
            assert holds(bank0, OLD) or (at >= len(recording.operations) - PAGE_WRITE and holds(bank0, NEW))
        before = board.copy()
        board.log.clear()
        await settle_down(board)
        copying = Recording(before=before, operations=board.operations)
        for at in rng.sample(range(len(copying.operations)), 60):
            outcomes, bank0, _ = await copying.settle(copying.torn(at, rng.choice(["lost", "half", "done"])), prune=False)
            assert outcomes[-1] == APP
            assert holds(bank0, NEW)

    on_virtual_time(story())


def test_real_cuts_leave_what_the_reconstruction_says():
    async def story():
        recording, _ = await record(update_script())
        rng = random.Random(21)
        for at in [*rng.sample(range(len(recording.operations)), 12), len(recording.operations) - PAGE_WRITE]:
            kind = rng.choice(["lost", "half", "done"])
            board = enter_dfu(Board(application=OLD))
            assert await live(board, update_script(), cut=Cut(at=at, kind=kind)) == "cut"
            assert board.flash == recording.torn(at, kind).flash, (at, kind)

    on_virtual_time(story())


def test_several_cuts_in_a_row():
    """1: no double or triple cut loses both pages or corrupts an application."""

    async def story():
        rng = random.Random(22)
        recording, _ = await record(update_script())
        for _ in range(60):
            at = rng.randrange(len(recording.operations) - 2 * PAGE_WRITE, len(recording.operations))
            board = recording.torn(at, "half")
            for _ in range(rng.choice([1, 2])):
                await live(board, cut=Cut(at=rng.randrange(3500), kind=rng.choice(["lost", "half", "done"])))
            outcomes = await settle_down(board)
            assert outcomes[-1] == APP
            bank0 = bytes(board.flash[BANK0 : BANK0 + len(NEW)])
            assert holds(bank0, OLD) or holds(bank0, NEW)
            size = board.settings.bank0.size
            assert board.settings.bank0.crc == zlib.crc32(board.flash[BANK0 : BANK0 + size])
            assert board.settings.data == board.backup.data

    on_virtual_time(story())


# -------------------------------------------------------------------------------------------------------- single bank
def test_a_single_bank_update_loses_the_application_at_the_commit_of_the_init_execute():
    """1 and 3: not before, although the host has seen the reply; afterwards a complete update brings an application back."""

    async def story():
        config = replace(default_config("nrf52840"), single_bank=True)
        recording, _ = await record(init_only, config=config)
        for at, kind, board in recording.boards(0, 2 * PAGE_WRITE):
            outcomes, bank0, settings = await recording.settle(board)
            committed = at > PAGE_WRITE or (at == PAGE_WRITE and kind != "lost")
            assert outcomes == ["dfu" if committed else APP], (at, kind)
            assert holds(bank0, OLD)
            assert struct.unpack_from("<I", settings, 0x20)[0] == (BankCode.INVALID if committed else BankCode.APPLICATION)
        lost = recording.torn(2 * PAGE_WRITE - 1, "done")
        assert await live(lost, update_script()) == "reset"
        assert await settle_down(lost) == ["reset", APP]
        assert holds(bytes(lost.flash[BANK0:]), NEW)

    on_virtual_time(story())


def test_cuts_during_a_single_bank_transfer_end_in_dfu_mode_or_in_the_new_application():
    async def story():
        config = replace(default_config("nrf52840"), single_bank=True)
        recording, _ = await record(update_script(), config=config)
        rng = random.Random(23)
        commit = len(recording.operations) - PAGE_WRITE
        for at in [*rng.sample(range(2 * PAGE_WRITE, len(recording.operations)), 40), commit, commit - 1]:
            outcomes, bank0, _ = await recording.settle(recording.torn(at, "lost"))
            assert outcomes == (["dfu"] if at <= commit else ["reset", APP]), at
            assert at <= commit or holds(bank0, NEW)

    on_virtual_time(story())


def test_saved_progress_flips_at_the_backup_erase_as_well():
    """1: SAVE_PROGRESS=1."""
    config = replace(default_config("nrf52840"), save_progress=True)

    async def one_object(host):
        await init_only(host)
        await host.ask("0602", "010200100000")
        await host.packets(NEW[:4096])
        assert await host.ask("04") == ["600401"]
        await host.settle()

    async def story():
        recording, _ = await record(one_object, config=config)
        first = len(recording.operations) - 2 * PAGE_WRITE
        for at, kind in ((first + PAGE_WRITE, "lost"), (first + PAGE_WRITE, "half"), (first + PAGE_WRITE - 1, "done"), (first, "half")):
            _, _, settings = await recording.settle(recording.torn(at, kind))
            assert struct.unpack_from("<I", settings, 0x54)[0] == (4096 if (at, kind) == (first + PAGE_WRITE, "half") else 0)

    on_virtual_time(story())


# ----------------------------------------------------------------------------------------------------- bootloader update
def test_cuts_in_a_bootloader_update_are_finished_by_the_mbr():
    """9: whatever is torn, the new bootloader is complete in the end, and the application untouched."""
    firmware = image(0x1400, 6)

    async def send(host):
        assert await host.send_init(packet_for(init_for(firmware, type=2, app_size=None, bl_size=len(firmware), fw_version=1))) == "600401"
        assert (await host.send_objects(firmware))[-1] == "600401"
        await asyncio.sleep(1)

    async def story():
        board = enter_dfu(Board(application=OLD))
        await live(board, send)
        before = board.copy()
        board.log.clear()
        assert await settle_down(board) == ["reset", "reset", "reset", APP]
        recording = Recording(before=before, operations=board.operations)
        rng = random.Random(24)
        for at in [*range(6), *rng.sample(range(len(recording.operations)), 80)]:
            torn = recording.torn(at, rng.choice(["lost", "half", "done"]))
            assert (await settle_down(torn))[-1] == APP
            assert torn.flash[0xF8000 : 0xF8000 + len(firmware)] == firmware
            assert torn.settings.bootloader_version == 1
            assert torn.settings.data == torn.backup.data

    on_virtual_time(story())


@pytest.mark.parametrize("commands", [0, 1, 5, 6, 20, 44, 45, 46, 60, 89])
def test_an_abort_while_settings_are_written_costs_no_application(commands):
    """Right after a failed last execute: the host aborts when so many flash commands of the two pages have been done.

    The flash is held until the device has made its copy of the torn page.
    """

    async def script(host):
        assert await host.send_init(packet_for(init_for(NEW, hash=firmware_hash(OLD)))) == "600401"
        await host.send_objects(NEW, last=False)
        host.life.hold_after(commands)
        assert await host.ask("04") == ["60040b0c"]
        host.radio.write(CONTROL_POINT, b"\x0c")
        await asyncio.sleep(1)
        host.life.release()
        await asyncio.sleep(1)

    board = enter_dfu(Board(application=OLD))
    assert on_virtual_time(live(board, script)) == "reset"
    assert on_virtual_time(settle_down(board)) == [APP]
    assert board.flash[BANK0 : BANK0 + len(OLD)] == OLD
