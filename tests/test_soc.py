"""The virtual SoC: what survives which reset, what a cut leaves, and what misuse costs."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from rig.model import MemoryMap, Region
from rig.virtual.air import Air
from rig.virtual.clock import loop_factory
from rig.virtual.cpu import BoardFacts, Cpu, Entry, ResetReason
from rig.virtual.parts import PAGE_SIZE, PARTS
from rig.virtual.power import PowerNode
from rig.virtual.soc import Soc
from rig.virtual.wires import Wires

PAGE = 0x80000
MEMORY = MemoryMap(primary=Region(start=0xC000, size=0x1000), secondary=Region(start=0xD000, size=0x1000), user_data=Region(start=0, size=0))
FACTS = BoardFacts(name="dk", part=PARTS["nrf52840"], memory=MEMORY, ble_name="dk", ble_address="C0:00:00:00:00:01")
Step = Callable[[Cpu], Awaitable[None]]


class Scripted:
    """A bootloader that does one step per boot and then waits; notes what it finds at each reset."""

    def __init__(self, *steps: Step) -> None:
        self.steps = list(steps)
        self.found: list[tuple[ResetReason, list[int], dict[str, Any]]] = []

    async def boot(self, cpu: Cpu) -> Entry | None:
        self.found.append((cpu.reset_reason, list(cpu.gpregret), dict(cpu.noinit)))
        if self.steps:
            await self.steps.pop(0)(cpu)
        return None


def on_soc(firmware: Scripted, story: Callable[[Soc], Awaitable[None]], **options: Any) -> Soc:
    """Power the SoC, let `story` happen to it, and return it."""

    async def main() -> Soc:
        node, wires = PowerNode(), Wires()
        soc = Soc(
            facts=FACTS, bootloader=firmware, application=lambda *_: pytest.fail("nothing to start"), power=node,
            console=wires.add("console", baudrate=115200), serial=wires.add("serial"), air=Air(seed=1), rng=random.Random(1), **options,
        )  # fmt: skip
        node.on_good, node.on_fail = soc.power_good, soc.power_fail
        node.set_source_mv(3000)
        node.switch(True)
        await asyncio.sleep(0.01)
        await story(soc)
        node.switch(False)
        await asyncio.sleep(1)
        return soc

    with asyncio.Runner(loop_factory=loop_factory("virtual")) as runner:
        return runner.run(main())


async def wait(_soc: Soc) -> None:
    await asyncio.sleep(1)


async def off_and_on(soc: Soc, off_s: float) -> None:
    soc.power.switch(False)
    await asyncio.sleep(off_s)
    soc.power.switch(True)
    await asyncio.sleep(1)


async def mark(cpu: Cpu) -> None:
    cpu.gpregret[0] = 0xB1
    cpu.noinit["boots"] = 7


async def mark_and_reset(cpu: Cpu) -> None:
    await mark(cpu)
    cpu.reset()


def test_power_on_finds_nothing() -> None:
    firmware = Scripted()
    on_soc(firmware, wait)
    assert firmware.found == [(ResetReason.POWER_ON, [0, 0], {})]


def test_a_soft_reset_keeps_gpregret_and_ram_and_says_so() -> None:
    firmware = Scripted(mark_and_reset)
    on_soc(firmware, wait)
    assert firmware.found[1] == (ResetReason.SOFT, [0xB1, 0], {"boots": 7})


def test_reset_reasons_add_up_until_they_are_cleared() -> None:
    async def clear_and_reset(cpu: Cpu) -> None:
        cpu.clear_reset_reason(int(ResetReason.SOFT))
        cpu.reset()

    async def pin(soc: Soc) -> None:
        await asyncio.sleep(0.1)
        soc.restart(ResetReason.PIN)
        await asyncio.sleep(0.1)

    firmware = Scripted(mark_and_reset)
    on_soc(firmware, pin)
    assert firmware.found[2][0] == ResetReason.SOFT | ResetReason.PIN
    firmware = Scripted(mark_and_reset, clear_and_reset)
    on_soc(firmware, pin)
    assert firmware.found[2][0] == ResetReason.SOFT


@pytest.mark.parametrize(("off_s", "ram"), [(0.012, {"boots": 7}), (0.3, {})], ids=["short", "long"])
def test_a_power_cut_clears_gpregret_and_only_a_long_one_ram(off_s: float, ram: dict[str, int]) -> None:
    async def cut(soc: Soc) -> None:
        await asyncio.sleep(0.1)
        await off_and_on(soc, off_s)

    firmware = Scripted(mark)
    on_soc(firmware, cut)
    assert firmware.found[1] == (ResetReason.POWER_ON, [0, 0], ram)


def test_a_dip_above_the_brown_out_threshold_is_not_noticed() -> None:
    async def dip(soc: Soc) -> None:
        await asyncio.sleep(0.1)
        await off_and_on(soc, 0.001)

    firmware = Scripted(mark)
    on_soc(firmware, dip)
    assert len(firmware.found) == 1


def test_the_watchdog_bites_unless_fed_and_lasts_over_a_soft_reset() -> None:
    async def start_and_reset(cpu: Cpu) -> None:
        cpu.start_watchdog(0.5)
        cpu.reset()

    async def feed_for_a_while(cpu: Cpu) -> None:
        for _ in range(4):
            await cpu.sleep(0.4)
            cpu.feed_watchdog()

    firmware = Scripted(start_and_reset, feed_for_a_while)

    async def story(_soc: Soc) -> None:
        await asyncio.sleep(1.9)
        assert len(firmware.found) == 2
        await asyncio.sleep(0.4)

    on_soc(firmware, story)
    assert firmware.found[2][0] & ResetReason.WATCHDOG


def test_misuse_of_the_flash_locks_up_and_resets() -> None:
    async def misuse(cpu: Cpu) -> None:
        await cpu.write(PAGE + 2, b"1234")

    firmware = Scripted(misuse)
    on_soc(firmware, wait)
    assert firmware.found[1][0] == ResetReason.LOCKUP


def test_a_cut_lands_on_the_word_that_is_being_written() -> None:
    """1024 words take 42 ms; VDD falls below 1.7 V some time after the switch opens, and not before."""

    async def copy(cpu: Cpu) -> None:
        await cpu.write(PAGE, bytes(PAGE_SIZE))

    async def cut(soc: Soc) -> None:
        soc.power.switch(False)
        await asyncio.sleep(0.2)

    soc = on_soc(Scripted(copy), cut)
    content = soc.flash.read(PAGE, PAGE_SIZE)
    written = content.count(0)
    assert 0 < written < PAGE_SIZE
    assert set(content[written + 4 :]) == {0xFF}, "nothing beyond the torn word"
    assert soc.flash.count == written // 4


def test_operations_are_timed_and_their_beginning_can_be_waited_for() -> None:
    times: list[float] = []

    async def write(cpu: Cpu) -> None:
        await cpu.erase_page(PAGE)
        await cpu.write(PAGE, bytes(400))

    firmware = Scripted()
    started: list[float] = []

    async def noted(cpu: Cpu) -> None:
        started.append(asyncio.get_running_loop().time())
        await write(cpu)

    async def wait_for_words(soc: Soc) -> None:
        firmware.steps.append(noted)
        soc.call_at_operation(0, lambda: times.append(asyncio.get_running_loop().time()))
        soc.call_at_operation(51, lambda: times.append(asyncio.get_running_loop().time()))
        soc.restart(ResetReason.PIN)
        await asyncio.sleep(1)

    on_soc(firmware, wait_for_words)
    part = PARTS["nrf52840"]
    assert times[0] == pytest.approx(started[0])
    assert times[1] == pytest.approx(started[0] + part.page_erase_s + 50 * part.word_write_s)


def test_an_exception_in_firmware_is_kept_for_the_operator() -> None:
    async def broken(_cpu: Cpu) -> None:
        raise RuntimeError("a mistake in Python, not in the device")

    soc = on_soc(Scripted(broken), wait)
    assert isinstance(soc.failure, RuntimeError)


# --------------------------------------------------------------------------------------------------------------------- pins
async def light(cpu: Cpu) -> None:
    cpu.drive_pin("P0.13", high=True)
    await cpu.sleep(0.5)


async def cut(soc: Soc) -> None:
    soc.power.switch(False)
    await asyncio.sleep(0.1)
    now = asyncio.get_running_loop().time()
    assert not soc.pins.high_between("P0.13", now - 0.05, now, 0.01).any(), "nothing drives it without power"
    soc.power.switch(True)
    await asyncio.sleep(1)


async def reset(soc: Soc) -> None:
    soc.restart(ResetReason.PIN)
    await asyncio.sleep(1)


async def watch_the_pin(soc: Soc, disturb: Callable[[Soc], Awaitable[None]]) -> None:
    begun_s = asyncio.get_running_loop().time()
    await asyncio.sleep(0.1)
    await disturb(soc)
    high = soc.pins.high_between("P0.13", begun_s, asyncio.get_running_loop().time(), 0.01)
    assert high[:8].all()
    assert not high[-50:].any(), "the second boot does not drive it"


@pytest.mark.parametrize("disturb", [cut, reset])
def test_a_pin_is_let_go_by_every_reset(disturb: Callable[[Soc], Awaitable[None]]) -> None:
    on_soc(Scripted(light), lambda soc: watch_the_pin(soc, disturb))
