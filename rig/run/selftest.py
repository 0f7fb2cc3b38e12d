"""Proves the wiring of one board before a night is lost to it: every check says what it found, what is wrong and where to look.

The board must run an application that prints its reset reason and its word of readiness (``signals:`` of the boards file).  Power is
cut some ten times; one page of the user data is written and put back.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import statistics
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from rig import __version__, bench, drivers
from rig.bench import Dut
from rig.errors import InstrumentError, NotFound
from rig.images.provide import provide_file
from rig.model import Board, Calibration, InstrumentSpec, Interference, Limits
from rig.ports import Advertisement, DeviceInfo, SupplyCapability, SupplyTrace
from rig.run.desk import as_trial
from rig.run.flashing import place_old_image
from rig.run.leak import likely_leak
from rig.run.single import CLOCKS

_PAGE = 4096
_VDD_BIT = 0x01
_OFF_TIMES_S = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
_LONG_OFF_S = 0.5
_DISCHARGED_S = 0.25
"""After this a board without power draws nothing and prints nothing."""
_RUN_S = 0.3
_AFTER_ON_S = 0.05
_LATE_S = 0.3
"""How long late console bytes are waited for."""
_MOST_CUT_LATENCY_S = 0.1
_MOST_RISE_S = 0.06
"""The SoC is guaranteed to start when VDD rises within 60 ms (nRF52 Product Specification, POWER)."""
_MOST_CONSOLE_DELAY_S = 0.02
"""What the proof of a power cut allows for (`rig.inject`)."""
_MOST_RESIDUAL_UA = 100.0
_WEAKEST_DBM = -80
_LISTEN_S = 3.0
_JAMMED_DBM = 0
_LEAK_HINT = "see `Back-powering` in docs/lab.md"


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that was looked at.  `ok` None: this bench cannot tell."""

    name: str
    ok: bool | None
    says: str
    hint: str = ""


@dataclass(kw_only=True)
class _Cut:
    """One cycle of power.  Times in seconds of the loop's clock; None where nothing shows them."""

    off_s: float
    on_s: float
    fell_s: float | None
    rose_s: float | None
    residual_ua: float | None
    last_byte_s: float | None
    """The last console byte before power came back."""
    ready_s: float | None
    reset_reason: int | None


@dataclass(kw_only=True)
class SelfTest:
    """What `run` found out: the checks in order, and the calibration when none of them failed."""

    board: Board
    checks: list[Check] = field(default_factory=list)
    calibration: Calibration | None = None

    @property
    def passed(self) -> bool:
        return all(check.ok is not False for check in self.checks)


def self_test(board: Board, bench_spec: InstrumentSpec, *, clock: str, flash: Path | None, tell: Callable[[Check], None]) -> SelfTest:
    """Run every check on `board`, with the application of the update package `flash` put on it first; `tell` hears each result.

    Raises:
        ConfigError: `flash` is no package for this board.
    """
    prepare = _placing(board, flash) if flash is not None else None
    with asyncio.Runner(loop_factory=drivers.resolve(CLOCKS[clock])) as runner:
        return runner.run(_self_test(board, bench_spec, prepare, tell))


def _placing(board: Board, file: Path) -> Callable[[Dut], Awaitable[None]]:
    image = provide_file(file, board)
    trial = as_trial(board, image, image)

    async def place(dut: Dut) -> None:
        await place_old_image(trial, dut, lambda image: Path(image.path))
        await dut.probe.detach()

    return place


async def _self_test(
    board: Board, bench_spec: InstrumentSpec, prepare: Callable[[Dut], Awaitable[None]] | None, tell: Callable[[Check], None]
) -> SelfTest:
    result = SelfTest(board=board)

    def note(check: Check) -> None:
        result.checks.append(check)
        tell(check)

    try:
        async with bench.standing(board, bench_spec, seed=0):
            async with bench.opened(board, around=tuple(bench.Around)) as dut:
                result.calibration = await _Examination(dut, note).run(prepare)
            if any(check.name == "power off" and check.ok is False for check in result.checks):
                note(await _leak(board))
    except InstrumentError as error:
        note(Check(name=error.instrument.rpartition(".")[2], ok=False, says=f"{error.instrument} {error.reason}", hint=error.hint))
    if not result.passed:
        result.calibration = None
    return result


async def _leak(board: Board) -> Check:
    wire, reason = await likely_leak(board)
    return Check(name="back-powering", ok=False, says=f"the likely wire: {wire} ({reason})", hint=_LEAK_HINT)


class _Examination:
    """The checks on a board whose instruments are open."""

    def __init__(self, dut: Dut, note: Callable[[Check], None]) -> None:
        self._dut, self._note = dut, note
        self._board = dut.board
        self._now = asyncio.get_running_loop().time
        self._bytes: list[tuple[float, bytes]] = []
        self._heard = asyncio.Event()
        self._senses = SupplyCapability.SENSE_VDD in dut.supply.capabilities
        self._measures = SupplyCapability.MEASURE_CURRENT in dut.supply.capabilities

    async def run(self, prepare: Callable[[Dut], Awaitable[None]] | None) -> Calibration | None:
        """Everything in order.  None when the board does not start, without which nothing can be measured."""
        remove = self._dut.console.attach(self._receive)
        try:
            await self._dut.supply.on()
            await asyncio.sleep(_RUN_S)
            if prepare is not None:
                await prepare(self._dut)
            identity = await self._identity()
            await self._exclusive()
            await self._flash_round_trip()
            await self._dut.probe.detach()
            first = await self._cycle(_LONG_OFF_S, wait_s=Limits().boot_s)
            if not (self._power(first) and self._started(first)):
                return None
            rssi_dbm = await self._on_air()
            cuts = [await self._cycle(off_s, wait_s=Limits().boot_s) for off_s in _OFF_TIMES_S]
            shortest_off_s = self._off_times(cuts)
            await self._gone_from_air()
            delay_s = await self._console_delay()
            await self._interferer()
        finally:
            remove()
        return self._calibration(identity, cuts, shortest_off_s, delay_s, rssi_dbm, first)

    def _receive(self, when_s: float, data: bytes) -> None:
        self._bytes.append((when_s, data))
        self._heard.set()

    # ----------------------------------------------------------------------------------------------------------- the probe
    async def _identity(self) -> DeviceInfo:
        info = await self._dut.probe.info()
        found = f"nrf{info.part:x}"
        says = f"{found}, device id {info.device_id:016x}"
        self._note(Check(name="probe", ok=found == self._board.soc, says=says, hint=f"the boards file says {self._board.soc}; look where the probe's cable ends"))
        return info

    async def _exclusive(self) -> None:
        """Whoever else can open the probe may keep the chip awake during a cut."""
        try:
            async with drivers.load("probe", self._board.probe, owner=self._board.name) as second:
                await second.info()
        except InstrumentError:
            self._note(Check(name="probe exclusive", ok=True, says="a second user is refused"))
            return
        says = "a second user gets through: this driver does not keep others out"
        self._note(Check(name="probe exclusive", ok=None, says=says, hint="close debuggers and IDEs before a campaign"))

    async def _flash_round_trip(self) -> None:
        """Write noise into the last page of the user data, read it back, and put back what was there."""
        probe, region = self._dut.probe, self._board.memory.user_data
        address = region.end - _PAGE
        before = await probe.read(address, _PAGE)
        noise = random.Random(f"selftest/{self._board.name}").randbytes(_PAGE)
        await probe.program(address, noise)
        same = await probe.read(address, _PAGE) == noise
        await probe.program(address, before)
        restored = await probe.read(address, _PAGE) == before
        says = f"one page at 0x{address:x} written, read back and restored" if same and restored else f"the page at 0x{address:x} does not hold what was written"
        self._note(Check(name="flash round trip", ok=same and restored, says=says, hint="lower swd_khz and shorten the cable"))

    # ----------------------------------------------------------------------------------------------------------- the power
    async def _cycle(self, off_for_s: float, *, wait_s: float) -> _Cut:
        """Power off for `off_for_s`, then on until the application serves, at most `wait_s`."""
        supply = self._dut.supply
        await supply.record()
        start = len(self._bytes)
        off_s = await supply.off()
        await asyncio.sleep(off_for_s)
        before = len(self._bytes)
        on_s = await supply.on()
        await asyncio.sleep(_AFTER_ON_S)
        trace = await supply.stop_recording()
        ready_s, reason = await self._boot(before, wait_s)
        late = [when_s for when_s, _ in self._bytes[start:before]]
        cut = _Cut(
            off_s=off_s, on_s=on_s, fell_s=None, rose_s=None, residual_ua=None,
            last_byte_s=late[-1] if late else None, ready_s=ready_s, reset_reason=reason,
        )  # fmt: skip
        if self._senses:
            cut.fell_s, cut.rose_s = _edges(trace, off_s, on_s)
        if self._measures and off_for_s > _DISCHARGED_S:
            cut.residual_ua = _largest_between(trace, off_s + _DISCHARGED_S, on_s)
        await asyncio.sleep(_RUN_S)
        return cut

    async def _boot(self, start: int, wait_s: float) -> tuple[float | None, int | None]:
        """When the application said that it serves, and its reset reason, from the bytes after number `start`."""
        deadline = self._now() + wait_s
        signals = self._board.signals
        while True:
            lines = _lines(self._bytes[start:])
            ready = next((when_s for when_s, text in lines if re.search(signals.ready, text)), None)
            if ready is not None or self._now() > deadline:
                break
            await asyncio.sleep(0.05)
        reasons = [found for _, text in lines if (found := re.search(signals.reset_reason, text))]
        return ready, int(reasons[0].group(1), 16) if reasons else None

    def _started(self, cut: _Cut) -> bool:
        says = f"the application serves {cut.ready_s - cut.on_s:.2f} s after power-on" if cut.ready_s is not None else "the board does not say that it serves"
        hint = "wrong port, baud rate or signals:? no application (--flash FILE puts one on it)? supply too weak?"
        self._note(Check(name="console", ok=cut.ready_s is not None, says=says, hint=hint))
        return cut.ready_s is not None

    def _power(self, cut: _Cut) -> bool:
        """Off is off: VDD low, no current, a silent console, and a power-on reset afterwards.  Whether it is."""
        reason = "was not printed" if cut.reset_reason is None else f"0x{cut.reset_reason:x}"
        silent = cut.last_byte_s is None or cut.last_byte_s - cut.off_s < _DISCHARGED_S
        if not self._senses:
            says = f"this supply cannot sense VDD; the console is {'silent' if silent else 'not silent'}, the reset reason afterwards {reason}"
            off = silent and cut.reset_reason in (0, None)
        elif cut.fell_s is None:
            off, says = False, f"VDD is still high {_LONG_OFF_S:g} s after the supply was switched off"
        else:
            latency_s = cut.fell_s - cut.off_s
            off = latency_s <= _MOST_CUT_LATENCY_S and silent and cut.reset_reason in (0, None)
            says = f"VDD is low {latency_s * 1e3:.2f} ms after the command; the reset reason afterwards {reason}"
        self._note(Check(name="power off", ok=off, says=says, hint="a stuck supply, a wire that feeds the board, or no bleed resistor; " + _LEAK_HINT))
        if off and cut.residual_ua is not None:
            ok = cut.residual_ua <= _MOST_RESIDUAL_UA
            self._note(Check(name="residual current", ok=ok, says=f"{max(0.0, cut.residual_ua):.1f} µA while off", hint=_LEAK_HINT))
        if off and self._senses:
            self._power_on(cut)
        return off

    def _power_on(self, cut: _Cut) -> None:
        rise_s = cut.rose_s - cut.on_s if cut.rose_s is not None else None
        says = f"VDD is up {rise_s * 1e3:.2f} ms after the command" if rise_s is not None else f"VDD does not come up within {_AFTER_ON_S * 1e3:g} ms"
        self._note(Check(name="power on", ok=rise_s is not None and rise_s <= _MOST_RISE_S, says=says, hint="current limit too low, or a long thin wire"))

    def _off_times(self, cuts: list[_Cut]) -> float | None:
        """The shortest off-time that is a power cut; shorter ones are dips that leave memory standing."""
        proved = [off_s for off_s, cut in zip(_OFF_TIMES_S, cuts, strict=True) if cut.reset_reason == 0]
        says = f"{min(proved) * 1e3:g} ms are enough for a power-on reset" if proved else "no off-time up to 500 ms gave a power-on reset"
        self._note(Check(name="off-times", ok=bool(proved), says=says, hint=_LEAK_HINT))
        return min(proved) if proved else None

    # ------------------------------------------------------------------------------------------------------- console, radio
    async def _console_delay(self) -> float | None:
        """Cut the power in the middle of the board's start-up lines: what arrives later than VDD fell was late."""
        if not self._senses:
            self._note(Check(name="console delay", ok=None, says="needs a supply that senses VDD"))
            return None
        await self._dut.supply.off()
        await asyncio.sleep(_LONG_OFF_S)
        start = len(self._bytes)
        await self._dut.supply.on()
        self._heard.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(Limits().boot_s):
                await self._heard.wait()
        await self._dut.supply.record()
        off_s = await self._dut.supply.off()
        await asyncio.sleep(_LATE_S)
        trace = await self._dut.supply.stop_recording()
        await self._dut.supply.on()
        await asyncio.sleep(_RUN_S)
        fell_s, _ = _edges(trace, off_s, trace.start_s + len(trace.logic) * trace.step_s)
        last_s = max((when_s for when_s, _ in self._bytes[start:] if when_s < off_s + _LATE_S), default=off_s)
        delay_s = max(0.0, last_s - fell_s) if fell_s is not None else None
        says = f"bytes arrive up to {delay_s * 1e3:.1f} ms after VDD fell" if delay_s is not None else "VDD did not fall"
        hint = f"more than {_MOST_CONSOLE_DELAY_S * 1e3:g} ms look like a board that lives on: give the console a USB port of its own"
        self._note(Check(name="console delay", ok=delay_s is not None and delay_s <= _MOST_CONSOLE_DELAY_S, says=says, hint=hint))
        return delay_s

    async def _on_air(self) -> int:
        seen = await self._find(_LISTEN_S)
        says = f"{seen.address}, RSSI {seen.rssi_dbm} dBm" if seen is not None else f"not heard within {_LISTEN_S:g} s"
        ok = seen is not None and seen.rssi_dbm >= _WEAKEST_DBM
        self._note(Check(name="radio", ok=ok, says=says, hint="antenna, distance, attenuator; is it the right address?"))
        return seen.rssi_dbm if seen is not None else -127

    async def _gone_from_air(self) -> None:
        await self._dut.supply.off()
        await asyncio.sleep(_LONG_OFF_S)
        heard = await self._find(1.0)
        await self._dut.supply.on()
        await asyncio.sleep(_RUN_S)
        says = "nobody advertises in its name while it is off" if heard is None else f"{heard.address} advertises while the board is off"
        self._note(Check(name="off the air", ok=heard is None, says=says, hint="a second board with this address, or a board that is fed by another wire"))

    async def _interferer(self) -> None:
        """While it sends on the advertising channels, nothing is heard; afterwards it is."""
        interferer = self._dut.interferer
        if interferer is None:
            return
        await interferer.start(Interference.on_advertising_channels(_JAMMED_DBM))
        during = await self._find(_LISTEN_S)
        await interferer.stop()
        after = await self._find(_LISTEN_S)
        says = f"{'still heard' if during else 'not heard'} while it sends, {'heard' if after else 'not heard'} afterwards"
        self._note(Check(name="interferer", ok=during is None and after is not None, says=says, hint="cabling of the interferer, its power, the attenuator before it"))

    async def _find(self, limit_s: float) -> Advertisement | None:
        board = self._board

        def is_it(seen: Advertisement) -> bool:
            return seen.address.upper() == board.ble_address.upper() if board.ble_address else seen.name == board.ble_name

        try:
            return await self._dut.radio.find(is_it, timeout_s=limit_s)
        except NotFound:
            return None

    # ------------------------------------------------------------------------------------------------------------ the file
    def _calibration(  # noqa: PLR0917 - one per thing measured
        self, identity: DeviceInfo, cuts: list[_Cut], shortest_off_s: float | None, delay_s: float | None, rssi_dbm: int, first: _Cut
    ) -> Calibration:
        latencies = [cut.fell_s - cut.off_s for cut in cuts if cut.fell_s is not None]
        rises = [cut.rose_s - cut.on_s for cut in cuts if cut.rose_s is not None]
        assert first.ready_s is not None
        return Calibration(
            measured=datetime.now(UTC).isoformat(timespec="seconds"),
            rig=__version__,
            device_id=f"{identity.device_id:016x}",
            cut_latency_s=statistics.median(latencies) if latencies else None,
            cut_latency_spread_s=max(latencies) - min(latencies) if latencies else None,
            rise_s=statistics.median(rises) if rises else None,
            shortest_off_s=shortest_off_s,
            residual_ua=cuts[-1].residual_ua,
            console_delay_s=delay_s,
            boot_s=first.ready_s - first.on_s,
            rssi_dbm=rssi_dbm,
        )


def _edges(trace: SupplyTrace, off_s: float, on_s: float) -> tuple[float | None, float | None]:
    """When VDD became low after `off_s`, and high again after `on_s`."""
    times = [(trace.start_s + number * trace.step_s, level & _VDD_BIT) for number, level in enumerate(trace.logic)]
    fell = next((when_s for when_s, high in times if when_s >= off_s and not high), None)
    rose = next((when_s for when_s, high in times if when_s >= on_s and high), None)
    return fell, rose


def _largest_between(trace: SupplyTrace, begin_s: float, end_s: float) -> float | None:
    first, last = (max(0, round((when_s - trace.start_s) / trace.step_s)) for when_s in (begin_s, end_s))
    return float(max(trace.current_ua[first:last], default=0.0))


def _lines(pieces: list[tuple[float, bytes]]) -> list[tuple[float, str]]:
    """Whole console lines, each with the reception of its last byte."""
    lines, rest = [], b""
    for when_s, data in pieces:
        *whole, rest = (rest + data).split(b"\n")
        lines += [(when_s, line.decode("utf-8", "backslashreplace").rstrip("\r")) for line in whole]
    return lines
