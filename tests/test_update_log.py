"""The update log in flash: what power cuts, full pages and shared pages may not do to it."""

from __future__ import annotations

import asyncio
import random
from typing import Any, cast

import pytest

from rig.formats.update_service import (
    LogEntry,
    LogEvent,
    Status,
    UpdateState,
    decode_heartbeat,
    decode_log,
    encode_heartbeat,
    encode_log,
)
from rig.model import Region
from rig.virtual.cpu import Cpu
from rig.virtual.flash import Erase, Flash, Operation, Write
from rig.virtual.parts import PAGE_SIZE, PARTS
from rig.virtual.update_log import LogRecord, UpdateLog, log_areas
from rig.virtual.update_service import conclusion

PAGES = Region(start=0x70000, size=4 * PAGE_SIZE)
TWO_PAGES = Region(start=0x70000, size=2 * PAGE_SIZE)
ONE_PAGE = Region(start=0x70000, size=PAGE_SIZE)
MARKER = bytes(range(256))
PER_PAGE = PAGE_SIZE // 48


class PowerCut(Exception):
    """Power went during a flash operation."""


class FlashCpu:
    """As much of a `Cpu` as the log needs; operation number `cut` (0-based, a word or an erase) is interrupted half-way."""

    def __init__(self, flash: Flash, *, cut: int | None = None) -> None:
        self.flash = flash
        self._left = cut

    def read(self, address: int, length: int) -> bytes:
        return self.flash.read(address, length)

    async def erase_page(self, address: int) -> None:
        self._drive(Erase(address=address), 1)

    async def write(self, address: int, data: bytes) -> None:
        self._drive(Write(address=address, data=data), len(data) // 4)

    def _drive(self, operation: Operation, count: int) -> None:
        if self._left is not None and self._left < count:
            self.flash.interrupt(operation, (self._left + 0.5) / count)
            raise PowerCut
        if self._left is not None:
            self._left -= count
        self.flash.complete(operation)


def flash_with_marker(seed: int = 1) -> Flash:
    flash = Flash(PARTS["nrf52840"], rng=random.Random(seed))
    flash.poke(PAGES.start, MARKER)
    return flash


def open_log(flash: Flash, where: Region, *, cut: int | None = None) -> UpdateLog:
    return UpdateLog(cast(Cpu, FlashCpu(flash, cut=cut)), where)


def append(log: UpdateLog, count: int, version: str = "1.0.0") -> int:
    """Append until done or cut; how many were appended."""

    async def main() -> int:
        for done in range(count):
            try:
                await log.append(LogEvent.REQUESTED, version, running=7)
            except PowerCut:
                return done
        return count

    return asyncio.run(main())


def numbers(log: UpdateLog) -> list[int]:
    return [record.entry.number for record in log.records]


@pytest.mark.parametrize("where", [PAGES, TWO_PAGES, ONE_PAGE])
def test_entries_survive_a_restart(where: Region) -> None:
    flash = flash_with_marker()
    append(open_log(flash, where), 5, "1.2.3+4")
    log = open_log(flash, where)
    assert [str(record.entry) for record in log.records] == [f"{number} requested 1.2.3+4" for number in range(1, 6)]
    append(log, 1)
    assert numbers(open_log(flash, where)) == list(range(1, 7))
    assert flash.read(where.start, len(MARKER)) == MARKER


@pytest.mark.parametrize("where", [PAGES, TWO_PAGES])
@pytest.mark.parametrize("count", [1000, PER_PAGE + 1])
def test_a_full_page_makes_room_and_the_numbers_go_on(where: Region, count: int) -> None:
    flash = flash_with_marker()
    append(open_log(flash, where), count)
    kept = numbers(open_log(flash, where))
    assert kept[-24:] == list(range(count - 23, count + 1))
    assert flash.read(PAGES.start, len(MARKER)) == MARKER
    assert sum(flash.erase_counts) <= 1000 // (PER_PAGE - 24) + 1
    assert flash.erase_counts[PAGES.start // PAGE_SIZE] == 0


def test_a_log_that_shares_the_only_page_ends_when_it_is_full() -> None:
    flash = flash_with_marker()
    append(open_log(flash, ONE_PAGE), 1000)
    kept = numbers(open_log(flash, ONE_PAGE))
    assert kept == list(range(1, 65))
    assert sum(flash.erase_counts) == 0


def test_a_torn_entry_costs_its_own_place_and_no_erase() -> None:
    flash = flash_with_marker()
    append(open_log(flash, PAGES, cut=2 * 12 + 5), 3)
    append(open_log(flash, PAGES), 2, "9.9.9")  # other bits than those of the torn entry
    assert numbers(open_log(flash, PAGES)) == [1, 2, 3, 4]
    assert sum(flash.erase_counts) == 0


def test_a_page_that_does_not_keep_what_is_written_is_left() -> None:
    class Worn(FlashCpu):
        async def write(self, address: int, data: bytes) -> None:
            if address not in range(log_areas(PAGES)[0].start, log_areas(PAGES)[0].end):
                await super().write(address, data)

    flash = flash_with_marker()
    append(UpdateLog(cast(Cpu, Worn(flash)), PAGES), 3)
    assert numbers(open_log(flash, PAGES)) == [1, 2, 3]


@pytest.mark.parametrize("before", [0, 3, PER_PAGE - 1, PER_PAGE, 2 * PER_PAGE - 20])
def test_a_power_cut_at_any_operation_costs_at_most_the_entry_under_way(before: int) -> None:
    for cut in range(0, 340, 7):
        flash = flash_with_marker(cut)
        append(open_log(flash, PAGES), before)
        done = append(open_log(flash, PAGES, cut=cut), 3)
        log = open_log(flash, PAGES)
        whole = before + done
        assert numbers(log)[-1:] in ([whole] if whole else [], [whole + 1]), (before, cut)
        newest = [number for number in numbers(log) if number <= whole][-24:]
        assert newest == list(range(max(1, whole - len(newest) + 1), whole + 1))
        assert len(newest) >= min(whole, 24)
        append(log, 2)
        again = numbers(open_log(flash, PAGES))
        assert again[-2:] == [numbers(log)[-2], numbers(log)[-1]]
        assert len(set(again)) == len(again)
        assert flash.read(PAGES.start, len(MARKER)) == MARKER


def test_what_is_no_record_is_skipped() -> None:
    flash = flash_with_marker()
    append(open_log(flash, PAGES), 3)
    area = log_areas(PAGES)[0]
    flash.poke(area.start + 48 + 12, b"\x00")
    assert numbers(open_log(flash, PAGES)) == [1, 3]
    assert LogRecord.decode(b"\xff" * 48) is None
    assert LogRecord.decode(bytes(48)) is None


def test_a_log_in_ram_leaves_the_flash_alone() -> None:
    flash = flash_with_marker()
    log = UpdateLog(cast(Cpu, FlashCpu(flash)), PAGES, persistent=False)
    append(log, 2)
    assert numbers(log) == [1, 2]
    assert flash.count == 0


# ----------------------------------------------------------------------------------------------------------- conclusions
def record(number: int, event: str, version: str, running: int) -> LogRecord:
    return LogRecord(entry=LogEntry(number=number, event=LogEvent(event), version=version), running=running)


@pytest.mark.parametrize(
    ("history", "running", "expected"),
    [
        ([], 1, None),
        ([("requested", "2.0.0", 1)], 2, ("installed", "2.0.0")),
        ([("requested", "2.0.0", 1)], 1, ("failed", "2.0.0")),
        ([("requested", "-", 1)], 2, ("installed", "2.0.0")),
        ([("requested", "-", 1)], 1, ("failed", "-")),
        ([("refused", "2.0.0", 1)], 1, None),
        ([("requested", "2.0.0", 1), ("installed", "2.0.0", 2)], 2, None),
        ([("requested", "3.0.0", 1), ("installed", "3.0.0", 3)], 1, ("reverted", "3.0.0")),
        ([("requested", "3.0.0", 1), ("installed", "3.0.0", 3), ("refused", "4.0.0", 3)], 1, ("reverted", "3.0.0")),
        ([("requested", "3.0.0", 1), ("installed", "3.0.0", 3)], 2, ("installed", "2.0.0")),
        ([("requested", "3.0.0", 1), ("failed", "3.0.0", 1)], 2, ("installed", "2.0.0")),
    ],
)
def test_what_must_have_happened(history: list[tuple[str, str, int]], running: int, expected: Any) -> None:
    records = [record(number, *fields) for number, fields in enumerate(history, start=1)]
    assert conclusion(records, running=running, version="2.0.0") == expected


# ----------------------------------------------------------------------------------------------------------- on the air
def test_the_value_of_the_log_holds_the_newest_entries_that_fit() -> None:
    entries = [LogEntry(number=number, event=LogEvent.INSTALLED, version="1.10.100") for number in range(1, 101)]
    value = encode_log(entries)
    assert len(value) <= 512
    assert decode_log(value) == tuple(entries[-len(decode_log(value)) :])
    assert len(value) + len(f"{entries[0]}\n") > 512 - 2
    assert encode_log([]) == b""


def test_values_that_are_none() -> None:
    assert Status.decode(b"\x02\x64") == Status(state=UpdateState.RECEIVING, percent=100)
    for value in (b"", b"\x02", b"\x06\x00", b"\x02\x65"):
        with pytest.raises(ValueError, match=r"."):
            Status.decode(value)
    for text in (b"1 installed", b"x installed 1.0.0", b"1 eaten 1.0.0"):
        with pytest.raises(ValueError, match=r"."):
            decode_log(text)
    assert decode_heartbeat(encode_heartbeat(2**32 + 5)) == 5
    with pytest.raises(ValueError, match="four bytes"):
        decode_heartbeat(b"\x00")
