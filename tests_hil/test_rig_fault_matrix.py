"""Every fault of the rig in every phase of a trial: never FAIL, never PASS, and the reason names what broke.

The mishaps happen to the wires and instruments of the virtual bench (`rig.virtual.mishaps`), at an instant that an undisturbed trial
of the same seed has shown to lie in the phase.  The trial is one with a power cut, so that every instrument bears witness.

What befalls an instrument after its last word changes nothing, and that has to show as well: the journal is then the undisturbed one,
byte for byte.  So it is with the host's wall clock, which no trial reads.
"""

from __future__ import annotations

import re
import resource
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from rig import drivers
from rig.bench import Dut
from rig.errors import StorageError
from rig.model import Event, InstrumentSpec, Judgement, Limits, Verdict
from rig.run.closing import ClosingCheck
from rig.run.single import run_one
from rig.store import Campaign, Session
from rig.virtual.mishaps import MISHAPS
from tests_hil.campaigns import boards_file, plan_campaign, scenario_file
from tests_hil.sample_boards import Desk, at_desk

IMAGES = {
    "old": {"build": {"version": "1.0.0", "size": "8 KiB"}},
    "new": {"build": {"version": "1.1.0", "size": "8 KiB"}},
}
CUT = {"power_cut": {"trigger": {"phase": "install"}, "offset_ms": 150, "off_ms": 200}}
PHASES = ("flash", "boot", "discover", "upload", "reset", "install", "boot_new", "confirm", "settle", "observe")

SILENT_RADIO = "the radio never heard it"
NAMED = {
    "console-unplugged": r"dk1\.console: .*vanished",
    "console-renamed": r"dk1\.console: .*vanished",
    "console-loose": r"dk1\.console: is silent",
    "console-swapped": r"dk1\.console: |console_was_silent",
    "probe-hung": r"dk1\.probe: does not answer",
    "probe-lost": r"dk1\.probe: has vanished",
    "debug-port-stuck": r"dk1\.probe: the debug port does not answer",
    "latched-up": r"dk1\.probe: the debug port does not answer",
    "supply-unplugged": r"dk1\.supply: .*vanished",
    "supply-stuck-on": r"dk1\.supply: was switched off .* VDD is high",
    "supply-stuck-off": r"dk1\.(supply: .* VDD stayed low|probe: no target voltage)",
    "supply-sags": r"dk1\.(supply: .*neither seen nor heard|probe: no target voltage)",
    "supply-hiccups": r"dk1\.(supply: has failed by itself|probe: no target voltage)",
    "adapter-gone": r"dk1\.radio: .*vanished",
    "antenna-off": rf"dk1\.radio: |{SILENT_RADIO}",
    "other-soc-on-probe": r"dk1\.probe: ",
    "other-unit-on-probe": r"dk1\.probe: is on another board",
    "fed-by-console": r"dk1\.supply: was switched off .* VDD is high",
    "fed-by-probe": r"dk1\.supply: was switched off .* VDD is high",
    "fed-by-usb": r"dk1\.supply: was switched off .* VDD is high",
    "two-boards-one-address": r"dk1\.radio: hears the board while its power is off",
}
"""Mishap → what the reason says.  A probe that finds no target voltage is the witness of a supply that delivers none."""


@dataclass(frozen=True, kw_only=True)
class Course:
    """How a trial went: its events, its judgement, and when each phase began and ended (first run of each; seconds)."""

    events: list[Event]
    judgement: Judgement
    windows: dict[str, tuple[float, float]]

    @classmethod
    def of(cls, events: list[Event], judgement: Judgement) -> Course:
        windows: dict[str, tuple[float, float]] = {}
        started: dict[str, float] = {}
        for event in events:
            if event.kind == "phase.start":
                started[event.data["phase"]] = event.t_ns / 1e9
            elif event.kind == "phase.end":
                windows.setdefault(event.data["phase"], (started[event.data["phase"]], event.t_ns / 1e9))
        looked = next((event.t_ns / 1e9 for event in events if event.kind == "observe.start"), None)
        read = next((event.t_ns / 1e9 for event in events if event.kind == "probe.read"), None)
        if looked is not None and read is not None:
            windows["observe"] = (looked, read)
        return cls(events=events, judgement=judgement, windows=windows)


def plan(folder: Path, *, mishap: dict[str, Any] | None = None) -> Campaign:
    model = {"mishap": mishap} if mishap else {}
    scenario = scenario_file(folder, images=IMAGES, faults=[CUT])
    return plan_campaign(folder, scenario, boards_file(folder, only="nrf52840", **model))


def run(campaign: Campaign, follow: Callable[[Event], None] = lambda _event: None) -> Course:
    """Run the campaign's one trial in this process, with `follow` told of every event as it happens."""
    (trial,) = campaign.plan.trials
    with Session(campaign) as session:

        def begin(now: Callable[[], float]) -> Any:
            attempt = session.begin(trial.id, now)
            attempt.journal.listen(follow)
            return attempt

        (board,) = campaign.plan.boards
        judgement = run_one(
            trial, board, campaign.plan.bench, clock=campaign.plan.clock, begin=begin, image_path=campaign.image
        )
        session.record(judgement)
    return Course.of(list(campaign.journal(trial.id).events), judgement)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Course:
    course = run(plan(tmp_path_factory.mktemp("undisturbed")))
    assert course.judgement.verdict is Verdict.PASS, course.judgement.reason
    return course


def test_the_matrix_is_large_enough_and_complete() -> None:
    assert NAMED.keys() == MISHAPS.keys() - {"console-late", "interferer-unplugged"}
    assert len(NAMED) >= 12
    assert len(PHASES) >= 8


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("kind", NAMED)
def test_a_mishap_is_the_rigs_and_is_named(tmp_path: Path, undisturbed: Course, kind: str, phase: str) -> None:
    begin_s, end_s = undisturbed.windows[phase]
    at_s = (begin_s + end_s) / 2
    course = run(plan(tmp_path, mishap={"kind": kind, "at_s": at_s}))
    before = [event for event in undisturbed.events if event.t_ns / 1e9 < at_s]
    assert course.events[: len(before)] == before, "the trials must agree until the mishap"
    assert course.judgement.verdict in (Verdict.ERROR, Verdict.INCONCLUSIVE), course.judgement.reason
    assert re.search(NAMED[kind], course.judgement.reason), course.judgement.reason


@pytest.mark.parametrize("phase", PHASES)
def test_a_console_that_is_late_condemns_nobody_and_proves_no_cut_that_it_contradicts(
    tmp_path: Path, undisturbed: Course, phase: str
) -> None:
    """A tenth of a second changes no evidence unless bytes were on their way at the cut; how late it is, `rig selftest` measures."""
    begin_s, end_s = undisturbed.windows[phase]
    course = run(plan(tmp_path, mishap={"kind": "console-late", "at_s": (begin_s + end_s) / 2}))
    if course.judgement.verdict is Verdict.PASS:
        assert course.judgement.fault_proved
    else:
        assert course.judgement.verdict is Verdict.INCONCLUSIVE
        assert "console_was_silent" in course.judgement.reason


@pytest.mark.parametrize("kind", ["probe-hung", "probe-lost", "other-soc-on-probe", "other-unit-on-probe"])
def test_what_befalls_an_instrument_after_its_last_word_changes_nothing(tmp_path: Path, undisturbed: Course, kind: str) -> None:
    """The probe is detached before the power is cycled for the last time."""
    last = next(event.t_ns for event in undisturbed.events if event.kind == "rig.sound" and ".radio" in event.data["instrument"]) / 1e9
    course = run(plan(tmp_path, mishap={"kind": kind, "at_s": last}))
    assert course.judgement.verdict is Verdict.PASS
    assert course.events == undisturbed.events


def test_a_wire_that_another_supply_feeds_is_noticed(tmp_path: Path) -> None:
    """Back-powering is no mishap but a way of wiring: the cut itself is not proved, and the closing check names the supply."""
    folder = tmp_path
    campaign = plan_campaign(
        folder, scenario_file(folder, images=IMAGES, faults=["none"]), boards_file(folder, only="nrf52840", power={"back_power_mv": 1500})
    )
    course = run(campaign)
    assert course.judgement.verdict is Verdict.ERROR
    assert "dk1.supply: was switched off" in course.judgement.reason


# ---------------------------------------------------------------------------------------------------------------- the host
@contextmanager
def full_disk() -> Any:
    """No regular file may grow any more, by the kernel's own word (EFBIG), which is as good as a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("phase", PHASES)
def test_a_full_disk_ends_the_run_without_a_judgement_and_the_trial_can_be_run_again(
    tmp_path: Path, undisturbed: Course, phase: str
) -> None:
    """Nothing can be recorded, so nothing is judged: the command ends, says why, and `rig resume` runs the trial anew."""
    campaign = plan(tmp_path)
    with full_disk() as fill:

        def follow(event: Event) -> None:
            if event.data.get("phase") == phase or (phase == "observe" and event.kind == "observe.start"):
                fill()

        with pytest.raises(StorageError, match=r"campaign.*free space and run `rig resume"):
            run(campaign, follow)
    assert campaign.pending_trials() == list(campaign.plan.trials)
    if phase == PHASES[-1]:
        assert run(campaign).events == undisturbed.events


@pytest.mark.parametrize("phase", PHASES)
def test_a_step_of_the_wall_clock_is_not_even_noticed(
    tmp_path: Path, undisturbed: Course, monkeypatch: pytest.MonkeyPatch, phase: str
) -> None:
    step_s = 0.0
    now, now_ns = time.time, time.time_ns
    monkeypatch.setattr(time, "time", lambda: now() + step_s)
    monkeypatch.setattr(time, "time_ns", lambda: now_ns() + int(step_s * 1e9))

    def follow(event: Event) -> None:
        nonlocal step_s
        if event.data.get("phase") == phase or (phase == "observe" and event.kind == "observe.start"):
            step_s = -7200.0

    course = run(plan(tmp_path), follow)
    assert step_s
    assert course.events == undisturbed.events
    assert course.judgement == undisturbed.judgement


# ---------------------------------------------------------------------------------------------- what the check must not do
@pytest.mark.parametrize(("driver", "cycles"), [("ppk2", 1), ("uhubctl", 0), ("http-plug", 0)])
def test_a_supply_that_takes_probe_and_console_with_it_is_left_on(tmp_path: Path, driver: str, cycles: int) -> None:
    """A hub's port or a mains plug cuts the interface of the kit as well: a start that nobody can hear proves nothing."""

    async def story(desk: Desk) -> list[str]:
        board = replace(desk.board, supply=InstrumentSpec(driver=driver))
        console = drivers.load("console", desk.board.console, owner="second")
        dut = Dut(board=board, probe=desk.probe, supply=desk.supply, console=console, radio=desk.radio, counter=None)
        kinds: list[str] = []

        async def is_absent(_for_s: float) -> bool:
            return True

        check = ClosingCheck(dut, is_absent=is_absent, limits=Limits(), emit=lambda kind, _data: kinds.append(kind))
        await check.run(identity=await desk.probe.info())
        return kinds

    kinds = at_desk(tmp_path, story)
    assert (kinds.count("supply.off"), kinds.count("supply.on")) == (cycles, cycles)
