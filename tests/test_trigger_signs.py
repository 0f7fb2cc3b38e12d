"""What a trigger finds in a stream of supply samples, however the stream is cut into blocks, and which flash operations it counts."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Awaitable, Callable, Sequence
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.errors import InstrumentError
from rig.fault import CurrentStretch, Edge, PinEdge
from rig.inject.signs import CurrentSign, EdgeSign, Sign
from rig.inject.trigger import Watch
from rig.model import Event, MemoryMap, OperationKind, Phase, Region, Trigger, TriggerKind
from rig.ports import FlashOperation, SupplyCapability, SupplyTrace
from rig.virtual.clock import loop_factory

STEP_S = 10e-6
LIMIT_UA = 5000.0


def blocks(current_ua: Sequence[float], logic: bytes, cuts: Sequence[int], *, start_s: float = 0.0) -> list[SupplyTrace]:
    """One stretch of samples in pieces."""
    ends = [0, *sorted(cut % (len(logic) + 1) for cut in cuts), len(logic)]
    return [
        SupplyTrace(start_s=start_s + low * STEP_S, step_s=STEP_S, current_ua=array("f", current_ua[low:high]), logic=logic[low:high])
        for low, high in pairwise(ends)
    ]


def samples_found(sign: Sign, pieces: Sequence[SupplyTrace], since_s: float = 0.0) -> list[int]:
    """The numbers of the samples at which the sign was found."""
    return [round(found_s / STEP_S) for piece in pieces for found_s in sign.found(piece, since_s)]


def long_enough(beyond: Sequence[bool], needed: int) -> list[int]:
    """The plain way: look at every sample, and count those in a row."""
    found, length = [], 0
    for index, is_beyond in enumerate(beyond):
        length = length + 1 if is_beyond else 0
        if length == needed:
            found.append(index)
    return found


LEVELS = st.lists(st.sampled_from([0.0, 4999.0, 5000.0, 5001.0, 9000.0]), max_size=60)
CUTS = st.lists(st.integers(0, 60), max_size=6)


@given(current_ua=LEVELS, cuts=CUTS, needed=st.integers(1, 5), above=st.booleans(), since=st.integers(0, 60))
def test_a_stretch_of_current_is_found_once_when_it_is_long_enough(
    current_ua: list[float], cuts: list[int], needed: int, above: bool, since: int
) -> None:
    sign = CurrentSign(CurrentStretch(above=above, limit_ua=LIMIT_UA, for_s=needed * STEP_S))
    beyond = [index >= since and (value > LIMIT_UA if above else value < LIMIT_UA) for index, value in enumerate(current_ua)]
    assert samples_found(sign, blocks(current_ua, bytes(len(current_ua)), cuts), since * STEP_S) == long_enough(beyond, needed)


@given(logic=st.binary(max_size=60), cuts=CUTS, number=st.integers(1, 7), edge=st.sampled_from(Edge), since=st.integers(0, 60))
def test_an_edge_is_found_at_its_first_sample_and_on_its_own_input(logic: bytes, cuts: list[int], number: int, edge: Edge, since: int) -> None:
    levels = [value >> number & 1 for value in logic]
    after = 1 if edge is Edge.RISING else 0
    expected = [index for index in range(1, len(levels)) if index >= since and levels[index - 1] != levels[index] == after]
    found = samples_found(EdgeSign(PinEdge(number=number, edge=edge)), blocks([0.0] * len(logic), logic, cuts), since * STEP_S)
    assert found == expected


def test_nothing_counts_before_the_window_opens() -> None:
    sign = CurrentSign(CurrentStretch(above=True, limit_ua=LIMIT_UA, for_s=STEP_S))
    assert samples_found(sign, blocks([9000.0] * 10, bytes(10), [3, 7]), float("inf")) == []


# -------------------------------------------------------------------------------------------------------------------- Watch
MEMORY = MemoryMap(
    primary=Region(start=0x8000, size=0x8000), secondary=Region(start=0x10000, size=0x8000), user_data=Region(start=0x20000, size=0x1000)
)
TRAILER = 0x10000 - 0x1000


class Counter:
    """A counter that a test drives."""

    def __init__(self) -> None:
        self.listeners: list[Callable[[FlashOperation], None]] = []

    def watch(self, listener: Callable[[FlashOperation], None]) -> Callable[[], None]:
        self.listeners.append(listener)
        return lambda: self.listeners.remove(listener)

    def begin(self, address: int, *, erase: bool = False, words: int = 1) -> None:
        operation = FlashOperation(erase=erase, address=address, words=words, first=0, started_s=0.0, duration_s=1e-3)
        for listener in tuple(self.listeners):
            listener(operation)


class Supply:
    """A supply that a test drives."""

    def __init__(self, *capabilities: SupplyCapability) -> None:
        self.capabilities = frozenset(capabilities or {SupplyCapability.WATCH})
        self.listeners: list[Callable[[SupplyTrace], None]] = []

    async def watch(self, listener: Callable[[SupplyTrace], None]) -> Callable[[], Awaitable[None]]:
        self.listeners.append(listener)

        async def stop() -> None:
            self.listeners.remove(listener)

        return stop

    def sample(self, current_ua: Sequence[float], start_s: float) -> None:
        for listener in tuple(self.listeners):
            listener(blocks(current_ua, bytes(len(current_ua)), [], start_s=start_s)[0])


def watch(trigger: Trigger, fired: list[str], *, counter: Counter | None = None, supply: Supply | None = None) -> Watch:
    means: Any = SimpleNamespace(counter=counter, supply=supply, memory=MEMORY)
    return Watch(trigger, means, fire=lambda: fired.append("fired"))


def phase(name: str) -> Event:
    return Event(seq=0, t_ns=0, source="run", kind="phase.start", data={"phase": name})


def run(test: Callable[[], Awaitable[None]]) -> None:
    with asyncio.Runner(loop_factory=loop_factory("virtual")) as runner:
        runner.run(test())


@pytest.mark.parametrize(
    ("kind", "expected"), [(OperationKind.ERASE, 2), (OperationKind.WRITE, 4), (OperationKind.STATUS, 6)], ids=["erase", "write", "status"]
)
def test_operations_of_one_kind_are_counted(kind: OperationKind, expected: int) -> None:
    async def test() -> None:
        fired: list[str] = []
        counter = Counter()
        watched = watch(Trigger(kind=TriggerKind.FLASH_OPERATION, operation=kind, count=2), fired, counter=counter)
        watched.open()
        sequence = [(0x8000, True, 1), (TRAILER, True, 1), (0x8000, False, 1024), (0x9000, False, 1), (TRAILER, False, 1), (TRAILER + 8, False, 4)]
        begun = 0
        while not fired:
            address, erase, words = sequence[begun]
            counter.begin(address, erase=erase, words=words)
            begun += 1
        assert begun == expected

    run(test)


def test_operations_count_in_the_named_phase_only_and_not_after_it() -> None:
    async def test() -> None:
        fired: list[str] = []
        counter = Counter()
        trigger = Trigger(kind=TriggerKind.FLASH_OPERATION, operation=OperationKind.ERASE, phase=Phase.INSTALL, count=2)
        watched = watch(trigger, fired, counter=counter)
        watched.open()
        watched.hear(phase("upload"))
        counter.begin(0x8000, erase=True)
        watched.hear(phase("install"))
        counter.begin(0x8000, erase=True)
        watched.hear(phase("boot_new"))
        counter.begin(0x8000, erase=True)
        assert (watched.matches, fired) == (1, [])
        watched.hear(phase("install"))
        counter.begin(0x8000, erase=True)
        assert (watched.matches, fired) == (2, ["fired"])
        watched.disarm()
        assert counter.listeners == []

    run(test)


def test_samples_count_from_the_beginning_of_the_phase_on() -> None:
    async def test() -> None:
        fired: list[str] = []
        supply = Supply()
        stretch = CurrentStretch(above=True, limit_ua=LIMIT_UA, for_s=10 * STEP_S)
        watched = watch(Trigger(kind=TriggerKind.CURRENT, current=stretch, phase=Phase.INSTALL), fired, supply=supply)
        await watched.prepare()
        watched.open()
        await asyncio.sleep(1.0)
        supply.sample([9000.0] * 20, start_s=0.99)
        watched.hear(phase("install"))
        supply.sample([9000.0] * 20, start_s=1.0 - 15 * STEP_S)
        assert (fired, watched.seen_s) == ([], None), "only five of these samples lie in the phase"
        supply.sample([9000.0] * 20, start_s=1.0 + 5 * STEP_S)
        assert fired == ["fired"]
        assert watched.seen_s == pytest.approx(1.0 + 9 * STEP_S)
        await watched.close()
        assert supply.listeners == []

    run(test)


def test_samples_from_between_two_windows_do_not_count_in_the_second() -> None:
    async def test() -> None:
        fired: list[str] = []
        supply = Supply()
        stretch = CurrentStretch(above=True, limit_ua=LIMIT_UA, for_s=10 * STEP_S)
        watched = watch(Trigger(kind=TriggerKind.CURRENT, current=stretch, phase=Phase.INSTALL, count=2), fired, supply=supply)
        await watched.prepare()
        watched.open()
        watched.hear(phase("install"))
        supply.sample([9000.0] * 20 + [0.0], start_s=0.0)
        watched.hear(phase("boot_new"))
        await asyncio.sleep(1.0)
        watched.hear(phase("install"))
        supply.sample([9000.0] * 20 + [0.0], start_s=0.9)
        assert (watched.matches, fired) == (1, [])
        supply.sample([9000.0] * 20, start_s=1.0)
        assert fired == ["fired"]

    run(test)


@pytest.mark.parametrize(
    ("trigger", "offered", "missing"),
    [
        (Trigger(kind=TriggerKind.CURRENT, current=CurrentStretch(above=True, limit_ua=1.0, for_s=1.0)), SupplyCapability.SENSE_VDD, "watch"),
        (Trigger(kind=TriggerKind.GPIO, pin=PinEdge(number=1, edge=Edge.RISING)), SupplyCapability.WATCH, "logic_inputs"),
    ],
    ids=["current", "pin"],
)
def test_a_trial_that_was_planned_for_another_bench_says_what_this_one_lacks(trigger: Trigger, offered: SupplyCapability, missing: str) -> None:
    async def test() -> None:
        with pytest.raises(InstrumentError, match=f"does not offer {missing}"):
            await watch(trigger, [], supply=Supply(offered)).prepare()

    run(test)
