"""(trial, events) → judgement.  Pure: the same journal always gives the same verdict, this year and next.

The judge sees what came over BLE, the console, the probe and the supply, and nothing else.  It asks only what happened *after* the
last fault when it asks whether the device lives.  FAIL needs positive evidence against the device; what cannot be decided is
INCONCLUSIVE, and what the rig broke is ERROR.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from rig.model import Event, Expectation, FaultKind, Finding, ImageFile, Judgement, Outcome, Phase, Trial, Verdict
from rig.practices import REQUIREMENTS, Case


def judge(trial: Trial, events: Sequence[Event]) -> Judgement:
    """Give verdict, outcome, reason and the events that prove it."""
    seen = _Seen.of(_told_apart(trial, events))
    judgement = _undecidable(trial, seen) or (_inspected(trial, seen) if trial.inspect else _decide(trial, seen))
    described = replace(
        judgement,
        checks=seen.checks(trial),
        downtime_s=_downtime_s(events),
        phases=_phase_durations(events),
        fault_requested=bool(seen.requested),
        fault_delivered=bool(seen.delivered),
        fault_proved=seen.is_proved(trial),
        fault_phase=str(seen.delivered[-1].data["at_phase"]) if seen.delivered else None,
        attempts=max((int(event.data["attempt"]) for event in events if event.kind == "phase.start"), default=1),
    )
    return _with_findings(described, trial, events)


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """The events that matter, sorted by what they answer."""

    requested: list[Event]
    delivered: list[Event]
    proved: list[Event]
    unproved: list[Event]
    unfired: list[Event]
    states_before: list[Event]
    states_after: list[Event]
    """Image states reported before and after the last fault, not counting the extra update at the end."""
    final_states: list[Event]
    """Those of the final look; what the device said before it proves nothing about the end."""
    final_dfu_mode: list[Event]
    uploads_after: list[Event]
    marks_after: list[Event]
    power_cycles: list[Event]
    rig_errors: list[Event]
    ends: list[Event]
    timeouts: list[Event]
    silent: list[Event]
    observed: list[Event]
    last_state: list[Event]
    """The very last image state, the extra update included."""
    again: list[Event]
    user_data: list[Event]
    in_flash: list[Event]
    """What the probe found in the place that runs, at the very end."""
    started: list[Event]
    """Applications that said on the console that they start, in the update."""
    dead: list[Event]
    """The last power cycle of all, after which a board with power did not start."""
    errors: list[Event]
    unheard: list[Event]
    """The console's last word that the application serves, where nothing was heard on the air since."""
    stranded: list[Event]
    """Sightings in DFU mode after the last fault, before anybody had asked for it."""
    before_update: int
    """Sequence number at which the update begins, after preparation."""

    @classmethod
    def of(cls, events: Sequence[Event]) -> _Seen:
        def kind(*kinds: str) -> list[Event]:
            return [event for event in events if event.kind in kinds]

        delivered = kind("fault.delivered")
        since = delivered[-1].seq if delivered else -1
        until = next((event.seq for event in events if event.kind == "again.start"), len(events))
        begin = next((e.seq for e in events if e.kind == "phase.end" and e.data["phase"] == Phase.BOOT), 0)
        looked = next((event.seq for event in events if event.kind == "observe.start"), len(events))
        states = [event for event in kind("dut.state") if begin < event.seq < until]
        phases = [event for event in kind("phase.start") if since < event.seq < until]
        return cls(
            requested=kind("fault.requested"),
            delivered=delivered,
            proved=kind("fault.proved"),
            unproved=kind("fault.unproved"),
            unfired=kind("fault.not_fired"),
            states_before=[event for event in states if event.seq <= since],
            states_after=[event for event in states if event.seq > since],
            final_states=[event for event in states if event.seq > max(since, looked)],
            final_dfu_mode=[event for event in kind("dut.dfu_mode") if looked < event.seq < until],
            uploads_after=[event for event in phases if event.data["phase"] == Phase.UPLOAD],
            marks_after=[event for event in phases if event.data["phase"] == Phase.MARK],
            power_cycles=kind("rig.power_cycle"),
            rig_errors=kind("rig.error"),
            ends=kind("trial.end"),
            timeouts=kind("trial.timeout"),
            silent=kind("dut.silent"),
            observed=kind("observe.start"),
            last_state=kind("dut.state")[-1:],
            again=kind("again.end"),
            user_data=[event for event in kind("probe.read") if event.data["what"] == "user_data"],
            in_flash=[event for event in kind("probe.read") if event.data["what"] == "image"],
            started=[event for event in kind("dut.started") if begin < event.seq < until],
            dead=kind("dut.did_not_start"),
            errors=kind("dut.error"),
            unheard=_unheard(events),
            stranded=_unasked([event for event in kind("dut.dfu_mode", "dut.enter_dfu") if event.seq > since]),
            before_update=begin,
        )

    def is_proved(self, trial: Trial) -> bool:
        """Whether everything that the programme was to do to the device is proved."""
        return trial.fault is not None and len(self.proved) == trial.strokes and not self.unproved

    def ran_new(self, trial: Trial) -> list[Event]:
        """What shows that the new image ran, be it for one boot: what the device said of itself, or its console at start-up."""
        states = [event for event in (*self.states_before, *self.states_after) if _runs(event, trial.new)]
        if trial.old.version == trial.new.version:
            return states
        return states + [event for event in self.started if event.data["version"] == trial.new.version]

    def checks(self, trial: Trial) -> dict[str, bool | None]:
        """The judge's questions, each yes, no, or not asked."""
        last = self.final_states[-1] if self.final_states else None
        return {
            "alive": bool(self.final_states) if self.observed else None,
            "exact_image": (_runs(last, trial.old) or _runs(last, trial.new)) and not self.contradiction(trial) if last else None,
            "user_data": bool(self.user_data[-1].data["matches"]) if self.user_data else None,
            "no_probe": not self.silent if self.observed else None,
            "no_power_cycle": not self.power_cycles if self.observed else None,
            "updatable": bool(self.again[-1].data["reached"]) if self.again else None,
        }


    def contradiction(self, trial: Trial) -> list[Event]:
        """The last word of the device and the probe's look into its flash, where they disagree."""
        if not self.in_flash or not self.last_state:
            return []
        version = self.in_flash[-1].data["version"]
        images = [image for image in (trial.old, trial.new, trial.again) if image is not None]
        said = next((image.version for image in images if _runs(self.last_state[-1], image)), None)
        return [] if said == version else [self.last_state[-1], self.in_flash[-1]]


def _told_apart(trial: Trial, events: Sequence[Event]) -> Sequence[Event]:
    """The events, where old and new have one version and the device tells no hash, with the hash that the probe found in its flash."""
    found = next((event for event in reversed(events) if event.kind == "probe.read" and event.data["what"] == "image"), None)
    if trial.old.version != trial.new.version or found is None:
        return events
    known = {"running_hash": found.data["image_hash"]}
    return [
        replace(event, data={**event.data, **known}) if event.kind == "dut.state" and event.data["running_hash"] is None else event
        for event in events
    ]


def _runs(event: Event, image: ImageFile) -> bool:
    """Whether the device said that it runs `image`: by hash where the protocol tells it, else by version."""
    running_hash = event.data["running_hash"]
    if running_hash is None:
        return bool(event.data["running_version"] == image.version)
    return bool(running_hash == image.image_hash)


def _unheard(events: Sequence[Event]) -> list[Event]:
    """Two witnesses who contradict each other are no positive evidence against the device."""
    on_air = max((event.seq for event in events if event.kind in ("radio.found", "radio.connected")), default=-1)
    broken = max((event.seq for event in events if event.kind in ("fault.delivered", "rig.power_cycle")), default=-1)
    ready = [event for event in events if event.kind == "dut.ready" and event.seq > max(on_air, broken)]
    looked_for = any(event.kind == "dut.error" and event.data.get("type") == "NotFound" for event in events if ready and event.seq > ready[-1].seq)
    return ready[-1:] if looked_for else []


def _unasked(sightings: Sequence[Event]) -> list[Event]:
    """The sightings in DFU mode before the first request to enter it."""
    asked = next((event.seq for event in sightings if event.kind == "dut.enter_dfu"), None)
    return [event for event in sightings if event.kind == "dut.dfu_mode" and (asked is None or event.seq < asked)]


def _took_power(trial: Trial) -> bool:
    """Whether the device had to start anew: one that only lost its link may wait in DFU mode for the host to come back."""
    return any(fault.kind in (FaultKind.POWER_CUT, FaultKind.BROWN_OUT) for fault in trial.faults)


def _disturbance(trial: Trial) -> str:
    """What the trial did to the device, in words."""
    return "the power cut" if {fault.kind for fault in trial.faults} == {FaultKind.POWER_CUT} else "the fault"


def _judgement(trial: Trial, verdict: Verdict, outcome: Outcome, reason: str, because: Iterable[Event]) -> Judgement:
    return Judgement(
        trial=trial.id, verdict=verdict, outcome=outcome, reason=reason, because=tuple(sorted({event.seq for event in because}))
    )


def _undecidable(trial: Trial, seen: _Seen) -> Judgement | None:
    """ERROR and INCONCLUSIVE come before any word about the device."""
    if seen.rig_errors:
        reasons = dict.fromkeys(f"{event.data['instrument']}: {event.data['reason']}" for event in seen.rig_errors)
        return _judgement(trial, Verdict.ERROR, Outcome.UNKNOWN, "; ".join(reasons), seen.rig_errors)
    if seen.timeouts:
        reason = f"the trial exceeded its limit of {trial.limits.trial_s:g} s"
        return _judgement(trial, Verdict.INCONCLUSIVE, Outcome.UNKNOWN, reason, seen.timeouts)
    if not seen.ends or not seen.observed:
        return _judgement(trial, Verdict.INCONCLUSIVE, Outcome.UNKNOWN, "the trial was interrupted; the journal has no end", [])
    if seen.unheard:
        reason = "the console says that the application serves, but the radio never heard it: the device's radio, or the rig's"
        return _judgement(trial, Verdict.INCONCLUSIVE, Outcome.UNKNOWN, reason, seen.unheard)
    if trial.fault is None:
        return None
    if not seen.requested:
        return _judgement(trial, Verdict.INCONCLUSIVE, Outcome.UNKNOWN, "the trigger never fired, so no fault was delivered", seen.ends)
    if not seen.is_proved(trial):
        witness = [name for event in seen.unproved for name, value in event.data["evidence"].items() if value is False]
        if seen.unfired:
            number = seen.unfired[0].data.get("n", 1)
            reason = f"the trigger of what was to be done as number {number} never fired"
            return _judgement(trial, Verdict.INCONCLUSIVE, Outcome.UNKNOWN, reason, seen.unfired)
        reason = f"{_disturbance(trial)} is not proved ({', '.join(sorted(set(witness))) or 'no evidence'})"
        hints = dict.fromkeys(str(event.data["hint"]) for event in seen.unproved if "hint" in event.data)
        reason = "; ".join([reason, *hints])
        return _judgement(trial, Verdict.INCONCLUSIVE, Outcome.UNKNOWN, reason, seen.unproved or seen.requested)
    return None


def _decide(trial: Trial, seen: _Seen) -> Judgement:
    outcome, reason, because = _outcome(trial, seen)
    proof = [*seen.delivered[-1:], *because]
    if outcome in _FAILURES:
        return _judgement(trial, Verdict.FAIL, outcome, reason, proof)
    checks = seen.checks(trial)
    if checks["user_data"] is None:
        return _judgement(trial, Verdict.INCONCLUSIVE, outcome, "the user data were not read back", proof)
    if not checks["user_data"]:
        return _judgement(trial, Verdict.FAIL, outcome, f"{reason}, but the user data are gone", [*proof, *seen.user_data])
    if trial.again is not None and not checks["updatable"]:
        reason = f"{reason}, but a further update to {trial.again.version} did not go through"
        return _judgement(trial, Verdict.FAIL, outcome, reason, [*proof, *seen.again])
    return _judgement(trial, Verdict.PASS, outcome, reason, proof)


_FAILURES = frozenset(
    {
        Outcome.BRICKED,
        Outcome.NEEDS_POWER_CYCLE,
        Outcome.WRONG_IMAGE,
        Outcome.NOT_REVERTED,
        Outcome.STUCK_ON_OLD,
        Outcome.STUCK_IN_DFU,
        Outcome.UNKNOWN,
    }
)


def _outcome(trial: Trial, seen: _Seen) -> tuple[Outcome, str, list[Event]]:
    """What the device did, in one word and one sentence, and the events that show it."""
    if seen.dead:
        return Outcome.BRICKED, "the device served, and did not start again at the next power-on", seen.dead
    if seen.stranded and _took_power(trial) and not (trial.in_place and seen.final_states):
        text = f"after {_disturbance(trial)} the device was in DFU mode instead of running an application"
        return Outcome.STUCK_IN_DFU, text, [seen.stranded[0]]
    if not seen.final_states:
        if seen.final_dfu_mode and trial.in_place and trial.expect is Expectation.REFUSED and not seen.ran_new(trial):
            text = f"{trial.new.version} was refused; the device waits in DFU mode, as after any update in place that fails"
            return Outcome.REFUSED, text, [*seen.errors[-1:], *seen.final_dfu_mode[-1:]]
        if seen.final_dfu_mode:
            return Outcome.STUCK_IN_DFU, "at the end the device was in DFU mode and ran no application", seen.final_dfu_mode
        text = "the device no longer serves, not even after a power cycle" if seen.silent else "the device did not report its image any more"
        return Outcome.BRICKED, text, [*seen.silent, *seen.errors[-1:]]
    last = seen.final_states[-1]
    version = str(last.data["running_version"])
    if not (_runs(last, trial.old) or _runs(last, trial.new)):
        return Outcome.WRONG_IMAGE, f"an image runs that is neither old nor new: {version}, hash {last.data['running_hash']}", [last]
    if differing := seen.contradiction(trial):
        text = f"the device says that it runs {differing[0].data['running_version']}, but its flash does not hold that image"
        return Outcome.WRONG_IMAGE, text, differing
    if seen.power_cycles:
        text = f"the device came back only after its power was cycled by hand; it runs {version}"
        return Outcome.NEEDS_POWER_CYCLE, text, [*seen.power_cycles, last]
    if trial.expect is Expectation.ROLLED_BACK:
        return _rollback_outcome(trial, seen, last)
    if trial.expect is Expectation.REFUSED:
        return _refusal_outcome(trial, seen, last)
    if _runs(last, trial.old):
        return Outcome.STUCK_ON_OLD, f"the device still runs {version} after {len(seen.marks_after) + 1} attempts", [last]
    if not last.data["confirmed"]:
        return Outcome.STUCK_ON_OLD, f"{version} runs but could not be confirmed", [last]
    return _updated_outcome(trial, seen, last)


def _rollback_outcome(trial: Trial, seen: _Seen, last: Event) -> tuple[Outcome, str, list[Event]]:
    """The new image is never confirmed, so the old one must be back at the end."""
    ran_new = seen.ran_new(trial)
    if _runs(last, trial.new):
        return Outcome.NOT_REVERTED, f"the unconfirmed {trial.new.version} stayed after a reset", [last]
    if ran_new:
        return Outcome.ROLLED_BACK, f"{trial.new.version} ran unconfirmed and {trial.old.version} came back", [ran_new[-1], last]
    return Outcome.STUCK_ON_OLD, f"{trial.new.version} never ran", [last]


def _refusal_outcome(trial: Trial, seen: _Seen, last: Event) -> tuple[Outcome, str, list[Event]]:
    """The new image must never have run, not even for one boot."""
    ran_new = seen.ran_new(trial)
    if ran_new:
        return Outcome.WRONG_IMAGE, f"{trial.new.version} had to be refused, but it ran", [ran_new[0], last]
    return Outcome.REFUSED, f"{trial.new.version} was refused; {trial.old.version} runs", [*seen.errors[-1:], last]


def _updated_outcome(trial: Trial, seen: _Seen, last: Event) -> tuple[Outcome, str, list[Event]]:
    new = trial.new.version
    if not seen.delivered:
        return Outcome.UPDATED, f"{new} runs and is confirmed", [last]
    before = seen.states_before[-1] if seen.states_before else None
    if before is not None and _runs(before, trial.new) and before.data["confirmed"]:
        return Outcome.UPDATED, f"{new} was running and confirmed when the power was cut, and still is", [before, last]
    first = seen.states_after[0]
    if seen.uploads_after or seen.marks_after:
        had = "was back on" if any(_runs(e, trial.new) for e in seen.states_before) else "kept"
        text = f"after {_disturbance(trial)} the device {had} {trial.old.version}; a further attempt brought it to {new}"
        return Outcome.RECOVERED_ON_RETRY, text, [first, last]
    if _runs(first, trial.new):
        return Outcome.RESUMED, f"after {_disturbance(trial)} the device went on by itself to {new}", [first, last]
    return Outcome.RESUMED, f"after {_disturbance(trial)} the pending update went on with the next reset to {new}", [first, last]


def _inspected(trial: Trial, seen: _Seen) -> Judgement:
    """A unit that was only looked at: nothing can have gone wrong but what the findings say."""
    return _judgement(trial, Verdict.PASS, Outcome.INSPECTED, "the unit was looked at and left as it was", seen.observed)


# ---------------------------------------------------------------------------------------------------------------- findings
def _with_findings(judgement: Judgement, trial: Trial, events: Sequence[Event]) -> Judgement:
    """What the trial shows of the requirements that it was to prove; a violated one fails it, whatever became of the update."""
    if trial.product is None or not trial.proves or judgement.verdict is Verdict.ERROR:
        return judgement
    case = Case(trial=trial, product=trial.product, events=events, judgement=judgement)
    findings = []
    for name in trial.proves:
        shown = REQUIREMENTS[name].assess(case)
        findings.append(Finding(requirement=name, met=shown.met, reason=shown.reason, because=shown.because))
    judgement = replace(judgement, findings=tuple(findings))
    if judgement.verdict is not Verdict.PASS:
        return judgement
    violated = next((finding for finding in findings if finding.met is False), None)
    if violated is not None:
        return replace(judgement, verdict=Verdict.FAIL, reason=f"{violated.requirement}: {violated.reason}", because=violated.because)
    if all(finding.met is None for finding in findings):
        return replace(judgement, verdict=Verdict.INCONCLUSIVE, reason=f"{findings[0].requirement}: {findings[0].reason}")
    return judgement


# --------------------------------------------------------------------------------------------------------------- durations
def _phase_durations(events: Sequence[Event]) -> dict[str, float]:
    """Seconds of the first completed run of each phase."""
    started: dict[str, int] = {}
    durations: dict[str, float] = {}
    for event in events:
        if event.kind == "phase.start":
            started[str(event.data["phase"])] = event.t_ns
        elif event.kind == "phase.end" and event.data["ok"]:
            phase = str(event.data["phase"])
            durations.setdefault(phase, (event.t_ns - started[phase]) / 1e9)
    return durations


def _downtime_s(events: Sequence[Event]) -> float | None:
    """How long the service was away in all: from each reset or cut to the next sign of service (advertisement or ready line).

    Counted from the end of preparation to the start of the final observation; None when the device never came back.
    """
    away_since: int | None = None
    total_ns = 0
    live = False
    for event in events:
        if event.kind == "phase.end" and event.data["phase"] == Phase.BOOT:
            live = True
        if not live:
            continue
        if event.kind == "observe.start":
            break
        goes = event.kind == "fault.delivered" or (
            event.kind == "phase.end" and event.data["phase"] == Phase.RESET and event.data["ok"]
        )
        if goes and away_since is None:
            away_since = int(event.data.get("vdd_fell_t_ns", event.t_ns))
        elif event.kind in ("radio.found", "dut.ready") and away_since is not None:
            total_ns += event.t_ns - away_since
            away_since = None
    return None if away_since is not None or not live else total_ns / 1e9
