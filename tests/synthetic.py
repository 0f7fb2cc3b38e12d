"""Campaigns made through the store's own API, from a seed: for tests of what reads them."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rig.journal import Journal
from rig.model import (
    Acceptance,
    Board,
    Fault,
    FaultKind,
    ImageFile,
    InstrumentSpec,
    Interference,
    Judgement,
    Limits,
    MemoryMap,
    Outcome,
    Phase,
    Protocol,
    Region,
    Request,
    Rung,
    Trial,
    Trigger,
    TriggerKind,
    Verdict,
)
from rig.ports import SupplyTrace
from rig.store import Attempt, Campaign, Climb, Plan, Provenance, Recovery, RungResult, ScenarioPlan, Session, database, layout

SECONDS = {
    "flash": 3.1,
    "boot": 0.42,
    "discover": 0.6,
    "connect": 0.31,
    "upload": 14.2,
    "mark": 0.045,
    "reset": 0.38,
    "install": 13.1,
    "boot_new": 0.52,
    "confirm": 0.06,
    "settle": 2.0,
}
OPERATIONS = {"upload": 100, "mark": 3, "install": 300, "confirm": 1}
LATE = 0.15
"""Share of the cuts that fall in the phase after the one aimed at."""
AIMS = {"upload": 0.3, "mark": 0.06, "reset": 0.06, "install": 0.4, "boot_new": 0.06, "confirm": 0.05}
ENDS = {
    "upload": (Outcome.RESUMED, Outcome.RECOVERED_ON_RETRY),
    "mark": (Outcome.RECOVERED_ON_RETRY, Outcome.UPDATED),
    "reset": (Outcome.UPDATED,),
    "install": (Outcome.UPDATED,),
    "boot_new": (Outcome.UPDATED, Outcome.ROLLED_BACK),
    "confirm": (Outcome.ROLLED_BACK, Outcome.UPDATED),
}


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.time_s = 1000.0

    def __call__(self) -> float:
        return self.time_s


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a trial is to end."""

    verdict: Verdict = Verdict.PASS
    outcome: Outcome = Outcome.UPDATED
    reason: str = "runs exactly 1.1.0 and was updated again"


def image(folder: Path, version: str) -> ImageFile:
    data = f"image {version}".encode() * 100
    path = folder / f"app-{version}.signed.bin"
    path.write_bytes(data)
    return ImageFile(
        path=str(path),
        sha256=hashlib.sha256(data).hexdigest(),
        size=len(data),
        version=version,
        image_hash=hashlib.sha256(data[:50]).hexdigest(),
    )


def board(name: str, soc: str = "nRF52840") -> Board:
    return Board(
        name=name,
        soc=soc,
        protocol=Protocol.SMP,
        ble_name=f"thermo {name}",
        memory=MemoryMap(
            primary=Region(start=0xC000, size=0x32000),
            secondary=Region(start=0x3E000, size=0x32000),
            user_data=Region(start=0x70000, size=0x2000),
        ),
        probe=InstrumentSpec(driver="virtual"),
        supply=InstrumentSpec(driver="virtual", options={"port": "ppk2-0"}),
        console=InstrumentSpec(driver="virtual"),
        radio=InstrumentSpec(driver="virtual"),
    )


def plan(
    folder: Path,
    *,
    trials: int,
    boards: int = 4,
    name: str = "c-20261121-a",
    scenario: str = "swap-power-cut",
    control_every: int = 10,
    accept: Acceptance | None = None,
    seed: int = 20261121,
    levels: Sequence[int] = (),
) -> Plan:
    """A plan of one scenario; every tenth trial is a control without fault, every fifth has interference of one of the `levels`, dBm."""
    draw = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    old, new, again = (image(folder, version) for version in ("1.0.0", "1.1.0", "1.1.1"))
    names = [f"dk{index + 1}" for index in range(boards)]
    planned = []
    for index in range(trials):
        aim = draw.choices(list(AIMS), list(AIMS.values()))[0]
        control = index % control_every == control_every - 1
        trigger = Trigger(kind=TriggerKind.PHASE, phase=Phase(aim), offset_s=draw.random() * SECONDS[aim])
        planned.append(
            Trial(
                id=f"T-{index + 1:04d}",
                scenario=scenario,
                board=names[index % boards],
                protocol=Protocol.SMP,
                seed=draw.getrandbits(32),
                old=old,
                new=new,
                again=again,
                request=Request.TEST,
                confirm=True,
                staged=False,
                fault=None if control else _fault(trigger, levels[index // 5 % len(levels)] if levels and index % 5 == 1 else None),
                limits=Limits(),
                stratum="control" if control else aim,
            )
        )
    return Plan(
        campaign=name,
        seed=seed,
        clock="virtual",
        bench=InstrumentSpec(driver="virtual"),
        boards=tuple(board(name, "nRF52840" if index < boards - 1 else "nRF52832") for index, name in enumerate(names)),
        scenarios=(
            ScenarioPlan(
                name=scenario,
                purpose="Cut the power at a random moment of the update; the device must end with a valid image by itself.",
                accept=accept or Acceptance(),
            ),
        ),
        trials=tuple(planned),
    )


def _fault(trigger: Trigger, level: int | None) -> Fault:
    if level is None:
        return Fault(trigger=trigger, off_s=1.5)
    disturbance = Interference.on_advertising_channels(level)
    return Fault(trigger=trigger, off_s=1.5, kind=FaultKind.INTERFERENCE, interference=disturbance)


def provenance(of: Plan) -> Provenance:
    return Provenance(
        created="2026-11-21T22:00:00+00:00",
        argv=("rig", "run", "swap-power-cut.yaml", "--seed", str(of.seed)),
        seed=of.seed,
        git_head="7be1f02c8d9e4f1a6b3c5d7e9f0a1b2c3d4e5f60",
        git_dirty=False,
        host="lab-a",
        platform="Linux-6.1.0-x86_64",
        versions={"rig": "0.1.0", "python": "3.11.7", "sqlite": "3.54.1", "bleak": "3.1.0"},
        images={trial.path: trial.sha256 for trial in (of.trials[0].old, of.trials[0].new)} if of.trials else {},
        configs={"boards.yaml": "bench: {driver: virtual}\nboards: []\n", "swap-power-cut.yaml": "scenario: swap-power-cut\n"},
    )


def campaign(
    root: Path,
    *,
    trials: int,
    endings: dict[int, Ending] | None = None,
    skip: Iterable[int] = (),
    chunks: int = 4,
    console: Callable[[Trial], list[str]] | None = None,
    listed: bool = False,
    **options: object,
) -> Campaign:
    """A finished campaign.  `endings` says how the trials of those indices end; those in `skip` are not run.

    With `listed` the journals name every flash operation of the controls, and the one that each cut has struck.
    """
    planned = plan(root / "images", trials=trials, **options)  # type: ignore[arg-type]
    created = Campaign.create(root / "reports", planned, provenance(planned))
    skipped = set(skip)
    with Session(created) as session:
        for index, trial in enumerate(planned.trials):
            if index not in skipped:
                lines = console(trial) if console else ["*** Booting MCUboot v2.2.0", "I: Starting swap using offset algorithm"]
                run_trial(session, trial, (endings or {}).get(index), chunks=chunks, console=lines, listed=listed)
    return created


def recovery(
    number: int, board: str, after: str, cause: str, rungs: Mapping[Rung, str | None], *, quarantine: str | None = None, not_run: tuple[str, ...] = ()
) -> Recovery:
    """What was done about a board; `rungs` are those that were tried, with what was still wrong after each."""
    climb = Climb(rungs=tuple(RungResult(rung=rung, trouble=trouble) for rung, trouble in rungs.items()))
    return Recovery(number=number, board=board, after=after, cause=cause, climb=climb, quarantine=quarantine, not_run=not_run)


def rows(campaign: Campaign) -> list[database.Row]:
    """What the campaign's database says, as another process sees it."""
    connection = database.connect(campaign.path / layout.DATABASE, read_only=True)
    try:
        return database.read_rows(connection)
    finally:
        connection.close()


def run_trial(
    session: Session, trial: Trial, ending: Ending | None = None, *, chunks: int = 4, console: Iterable[str] = (), listed: bool = False
) -> Judgement:
    """Act out one trial, and record what a judge would say of it."""
    draw, clock = random.Random(trial.seed), Clock()
    actor = _Actor(trial, session.begin(trial.id, clock), clock, draw, chunks, listed=listed)
    with actor.attempt:
        judgement = actor.play(ending or _usual(trial, draw), tuple(console))
    session.record(judgement)
    return judgement


def _usual(trial: Trial, draw: random.Random) -> Ending:
    if trial.fault is None:
        return Ending()
    return Ending(outcome=draw.choice(ENDS[trial.stratum]))


class _Actor:
    """Writes the events of one trial."""

    def __init__(self, trial: Trial, attempt: Attempt, clock: Clock, draw: random.Random, chunks: int, *, listed: bool) -> None:
        self.trial, self.attempt, self.clock, self.draw, self.chunks = trial, attempt, clock, draw, chunks
        self.listed = listed
        self.operation = 0
        self.spent: dict[str, float] = {}

    @property
    def journal(self) -> Journal:
        return self.attempt.journal

    def play(self, ending: Ending, console: tuple[str, ...]) -> Judgement:
        self.journal.emit("run", "trial.start", trial=self.trial.id, board=self.trial.board)
        aim = None if self.trial.fault is None else self._hit()
        proved = aim is not None and ending.verdict in (Verdict.PASS, Verdict.FAIL)
        for phase, seconds in SECONDS.items():
            self._phase(phase, seconds * self.draw.lognormvariate(0, 0.05), cut=phase == aim, proved=proved, console=console)
        if ending.verdict is Verdict.ERROR:
            self.journal.emit("run", "rig.error", instrument=f"{self.trial.board}.probe", reason=ending.reason)
        last = self.journal.emit("run", "trial.end")
        return Judgement(
            trial=self.trial.id,
            verdict=ending.verdict,
            outcome=ending.outcome,
            reason=ending.reason,
            because=(*(e.seq for e in self.journal.events if e.kind.startswith(("fault.", "rig."))), last.seq),
            checks={"alive": ending.verdict is not Verdict.FAIL, "exact_image": True, "no_probe": None},
            downtime_s=sum(self.spent[name] for name in ("reset", "install", "boot_new")),
            phases=self.spent,
            fault_requested=aim is not None,
            fault_delivered=aim is not None,
            fault_proved=proved,
            fault_phase=aim,
            attempts=2 if ending.outcome is Outcome.RECOVERED_ON_RETRY else 1,
        )

    def _hit(self) -> str:
        """The phase in which the cut falls: mostly the one aimed at, at times the next."""
        phases = list(SECONDS)
        return phases[phases.index(self.trial.stratum) + (self.draw.random() < LATE)]

    def _phase(self, phase: str, seconds: float, *, cut: bool, proved: bool, console: tuple[str, ...]) -> None:
        operations = OPERATIONS.get(phase, 0)
        self.journal.emit("run", "phase.start", phase=phase, attempt=1, operation=self.operation)
        started = self.clock.time_s
        if phase == "upload":
            for chunk in range(self.chunks):
                self.clock.time_s += 0.001
                self.journal.emit("dut", "upload.chunk", offset=chunk * 244, total=203776)
        if phase == "install":
            self._say(console)
        if cut and self.trial.fault is not None:
            share = self.draw.random()
            self.clock.time_s = started + share * seconds
            self._cut(phase, self.operation + int(share * operations), proved=proved)
        self.clock.time_s = max(started + seconds, self.clock.time_s)
        if self.listed and self.trial.fault is None and operations:
            self._list_operations(phase, operations)
        self.operation += operations
        self.spent[phase] = round(self.clock.time_s - started, 6)
        self.journal.emit("run", "phase.end", phase=phase, attempt=1, ok=True)

    def _list_operations(self, phase: str, operations: int) -> None:
        listed = [[self._kind(phase, number), 4096 * number, 1, self.operation + number - 1, 1000 * number, 500] for number in range(1, operations + 1)]
        self.journal.emit("counter", "flash.operations", phase=phase, number=1, operation=self.operation, operations=listed)

    def _kind(self, phase: str, number: int) -> str:
        return "status" if phase in ("mark", "confirm") else "write" if phase == "upload" else ("erase", "write", "status")[number % 3]

    def _struck(self, phase: str, number: int) -> dict[str, object]:
        if not (self.listed and OPERATIONS.get(phase)):
            return {}
        place = {"phase": phase, "occurrence": 1, "number": number, "kind": self._kind(phase, number), "progress": 0.5, "address": 4096 * number}
        return {"struck": place, "failed_after_s": 0.005, "failed_t_ns": self.journal.t_ns(self.clock.time_s)}

    def _say(self, console: tuple[str, ...]) -> None:
        for text in console:
            self.clock.time_s += 0.01
            self.attempt.console(self.clock.time_s, text.encode("utf-8", "replace") + b"\r\n")
            self.journal.emit("console", "console.line", text=text)

    def _cut(self, phase: str, operation: int, *, proved: bool) -> None:
        started = self.clock.time_s
        self.journal.emit("inject", "fault.requested", n=1, phase=phase, command_t_ns=self.journal.t_ns(started))
        trace = SupplyTrace(start_s=started, step_s=1e-5, current_ua=[4000.0] * 20 + [0.0] * 60, logic=b"\x01" * 20 + b"\x00" * 60)
        self.clock.time_s += 1.505
        file = self.attempt.save_trace("supply-1", trace)
        self.journal.emit("supply", "supply.trace", n=1, file=file, mean_before_ua=4000.0, max_off_ua=0.0)
        fell = self.journal.t_ns(started + 0.0002)
        struck = self._struck(phase, operation - self.operation + 1)
        self.journal.emit("inject", "fault.delivered", n=1, at_phase=phase, vdd_fell_t_ns=fell, operation=operation, **struck)
        self.journal.emit("inject", "fault.proved" if proved else "fault.unproved", n=1, evidence={"vdd_was_low": proved})
