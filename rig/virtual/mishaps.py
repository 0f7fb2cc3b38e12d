"""What can go wrong with the rig itself, done to the wires and instruments of a virtual bench.

A board's ``model: {mishap: {kind: …, at_s: …, lasts_s: …}}`` makes one of them happen `at_s` seconds after the bench was built, for
`lasts_s` seconds (left out: for good).  With ``share: 0.3`` three benches out of ten meet it.  A mishap knows nothing of the controller: it pulls a cable, jams a switch or plants a second
board, and whatever drives the bench has to find out.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from rig.errors import ConfigError
from rig.model import Json
from rig.virtual.air import Air
from rig.virtual.cpu import ResetReason
from rig.virtual.surroundings import INTERFERER
from rig.virtual.wires import Wires

if TYPE_CHECKING:
    from rig.virtual.world import VirtualBoard

_SAGGED_MV = 1500
"""Below the brown-out threshold, above what a logic input calls low."""


_FEEDING_MV = 1900
"""Through protection diodes VDD floats at 1 to 2.5 V (reports from users of the kits); enough for the SoC to run on."""
_TRIPPED_S, _HOLDS_S = 0.05, 4.0
"""How long a tripped current limit keeps the supply down, and how long it holds until the next time: estimates."""
_LATE_S = 0.1
_CHATTER_S = 0.3
"""Between two lines of a board that prints a lot."""


class ProbeTrouble(StrEnum):
    """How a probe fails to answer.  STUCK: a debugger was killed in mid-access; the probe serves no other until it has pulled the reset pin."""

    HUNG = "hung"
    LOST = "lost"
    STUCK = "stuck"


@dataclass(frozen=True, kw_only=True)
class Surrounded:
    """A board, and what a mishap can reach around it.  `another` builds a second one, which nobody has asked for."""

    board: VirtualBoard
    wires: Wires
    air: Air
    another: Callable[[Strange], VirtualBoard]

    @property
    def console(self) -> str:
        return f"{self.board.name}/console"

    @property
    def supply(self) -> str:
        return f"{self.board.name}/{self.board.supply_wire}"


class Strange(StrEnum):
    """Which second board: one with another SoC, one of the same type, or one that also sends with the same address."""

    OTHER_SOC = "other-soc"
    OTHER_UNIT = "other-unit"
    SAME_ADDRESS = "same-address"


Undo = Callable[[], object]
Mishap = Callable[[Surrounded], Undo]
"""Happens at once; what it returns ends it."""


def _unplugged(wire: Callable[[Surrounded], str]) -> Mishap:
    def happen(around: Surrounded) -> Undo:
        around.wires.get(wire(around)).unplug()
        return lambda: around.wires.get(wire(around)).plug()

    return happen


def _interferer_unplugged(around: Surrounded) -> Undo:
    """Nothing happens on a bench without one."""
    try:
        wire = around.wires.get(INTERFERER)
    except KeyError:
        return lambda: None
    wire.unplug()
    return wire.plug


def _renamed(around: Surrounded) -> Undo:
    elsewhere = f"{around.console}-2"
    around.wires.rename(around.console, elsewhere)
    return lambda: around.wires.rename(elsewhere, around.console)


def _loose(around: Surrounded) -> Undo:
    wire = around.wires.get(around.console)
    wire.is_broken = True
    return lambda: setattr(wire, "is_broken", False)


def _probe(trouble: ProbeTrouble) -> Mishap:
    def happen(around: Surrounded) -> Undo:
        around.board.probe_trouble = trouble
        return lambda: setattr(around.board, "probe_trouble", None)

    return happen


def _latched_up(around: Surrounded) -> Undo:
    """A spike on a pin has fired the parasitic thyristor across VDD (nRF52 PS, absolute maximum ratings: beyond VDD + 0.3 V)."""
    soc = around.board.soc
    soc.is_latched_up = True
    soc.hold()

    def opens() -> None:
        soc.is_latched_up = False
        soc.release(ResetReason.POWER_ON)

    return opens


def _jammed(position: bool) -> Mishap:
    def happen(around: Surrounded) -> Undo:
        around.board.power.jam(position)
        return lambda: around.board.power.jam(None)

    return happen


def _sagging(around: Surrounded) -> Undo:
    around.board.power.sag(_SAGGED_MV)
    return lambda: around.board.power.sag(None)


def _hiccups(around: Surrounded) -> Undo:
    """The supply's current limit trips in hiccup mode: off for a moment, tried again, time after time."""
    loop, power = asyncio.get_running_loop(), around.board.power
    timers: list[asyncio.TimerHandle] = []

    def trip() -> None:
        power.sag(_SAGGED_MV)
        timers[:] = [loop.call_later(_TRIPPED_S, try_again)]

    def try_again() -> None:
        power.sag(None)
        timers[:] = [loop.call_later(_HOLDS_S, trip)]

    def ends() -> None:
        timers.pop().cancel()
        power.sag(None)

    trip()
    return ends


def _console_swapped(around: Surrounded) -> Undo:
    """The plugs of two boards' consoles change places; the other one's application says time and again that it serves."""
    mine, other = around.board.soc, around.another(Strange.OTHER_UNIT).soc
    loop = asyncio.get_running_loop()
    timers: list[asyncio.TimerHandle] = []

    def chatter() -> None:
        other.console.send(b"advertising\r\n")
        timers[:] = [loop.call_later(_CHATTER_S, chatter)]

    def swap() -> None:
        mine.console, other.console = other.console, mine.console

    def back() -> None:
        timers.pop().cancel()
        swap()

    swap()
    chatter()
    return back


def _adapter_gone(around: Surrounded) -> Undo:
    around.air.has_adapter = False
    for adapter in around.air.adapters:
        adapter.vanish()
    return lambda: setattr(around.air, "has_adapter", True)


def _deaf(around: Surrounded) -> Undo:
    return around.air.disturb(lambda _packet: 1.0)


def _wrong_board(kind: Strange) -> Mishap:
    def happen(around: Surrounded) -> Undo:
        around.board.at_probe = around.another(kind)
        return lambda: setattr(around.board, "at_probe", around.board)

    return happen


def _late(around: Surrounded) -> Undo:
    wire = around.wires.get(around.console)
    wire.late_s = _LATE_S
    return lambda: setattr(wire, "late_s", 0.0)


def _fed_by_console(around: Surrounded) -> Undo:
    """The adapter's TXD idles high and feeds the SoC through its protection diode, while the port is open."""
    wire, power = around.wires.get(around.console), around.board.power

    def follow(is_open: bool) -> None:
        power.feed(_FEEDING_MV if is_open else None)

    wire.on_use = follow
    follow(wire.is_open)
    return lambda: setattr(wire, "on_use", lambda _open: None)


def _fed_by_probe(around: Surrounded) -> Undo:
    """The probe's pull-ups on SWDIO and RESET feed the SoC while somebody has the probe open."""
    board = around.board

    def follow(is_open: bool) -> None:
        board.power.feed(_FEEDING_MV if is_open else None)

    board.on_probe_use = follow
    follow(board.probe_users > 0)
    return lambda: setattr(board, "on_probe_use", lambda _open: None)


def _fed_by_usb(around: Surrounded) -> Undo:
    """Whatever the rig does not switch: VBUS at the SoC's own USB socket, a pull-up to another rail."""
    around.board.power.feed(_FEEDING_MV)
    return lambda: around.board.power.feed(None)


def _twin(around: Surrounded) -> Undo:
    """A sister board with the same address and the same contents is switched on within reach."""
    twin = around.another(Strange.SAME_ADDRESS)
    return lambda: twin.power.switch(False)


MISHAPS: Mapping[str, Mishap] = {
    "console-unplugged": _unplugged(lambda around: around.console),
    "console-renamed": _renamed,
    "console-loose": _loose,
    "probe-hung": _probe(ProbeTrouble.HUNG),
    "probe-lost": _probe(ProbeTrouble.LOST),
    "debug-port-stuck": _probe(ProbeTrouble.STUCK),
    "latched-up": _latched_up,
    "supply-unplugged": _unplugged(lambda around: around.supply),
    "supply-stuck-on": _jammed(True),
    "supply-stuck-off": _jammed(False),
    "supply-sags": _sagging,
    "supply-hiccups": _hiccups,
    "fed-by-console": _fed_by_console,
    "fed-by-probe": _fed_by_probe,
    "fed-by-usb": _fed_by_usb,
    "console-late": _late,
    "console-swapped": _console_swapped,
    "adapter-gone": _adapter_gone,
    "antenna-off": _deaf,
    "other-soc-on-probe": _wrong_board(Strange.OTHER_SOC),
    "other-unit-on-probe": _wrong_board(Strange.OTHER_UNIT),
    "two-boards-one-address": _twin,
    "interferer-unplugged": _interferer_unplugged,
}
"""By the name that a boards file uses."""


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A mishap that is to happen `at_s` seconds from the bench's beginning, for `lasts_s` seconds, None for good.

    `share` of the benches (one for each trial) meet it, 0 to 1; which ones, their seeds decide.
    """

    kind: str
    at_s: float = 0.0
    lasts_s: float | None = None
    share: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in MISHAPS:
            raise ConfigError(f"no mishap {self.kind!r}; known: {', '.join(MISHAPS)}")
        for name, value in (("at_s", self.at_s), ("lasts_s", self.lasts_s)):
            if value is not None and not (isinstance(value, int | float) and value >= 0):
                raise ConfigError(f"{name!r} must be a number of seconds, not {value!r}")
        if not (isinstance(self.share, int | float) and 0 <= self.share <= 1):
            raise ConfigError(f"'share' must be a number from 0 to 1, not {self.share!r}")

    def befalls(self, bench: str) -> bool:
        """Whether the bench with this seed meets it."""
        return random.Random(f"mishap/{bench}").random() < self.share

    def schedule(self, around: Surrounded) -> Undo:
        """Let it happen in its time; returns the function that calls it off."""
        loop = asyncio.get_running_loop()
        timers: list[asyncio.TimerHandle] = []

        def call_off() -> None:
            for timer in timers:
                timer.cancel()

        def happen() -> None:
            undo = MISHAPS[self.kind](around)
            if self.lasts_s is not None:
                timers.append(loop.call_later(self.lasts_s, undo))

        if self.at_s == 0:
            happen()
        else:
            timers.append(loop.call_later(self.at_s, happen))
        return call_off


def planned(section: Mapping[str, Json]) -> Planned | None:
    """The mishap of a board's ``model:``; None without one.  Raises `ConfigError` for a wrong kind, time or key."""
    if not section:
        return None
    try:
        return Planned(**section)
    except TypeError as error:
        raise ConfigError(f"{error}; its keys are kind, at_s, lasts_s and share") from None
