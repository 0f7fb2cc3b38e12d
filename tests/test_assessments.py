"""What one trial shows of each requirement: met, violated, or nothing at all.  Each row is a small journal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from rig.errors import ATT_GROUP, PAIRING_GROUP
from rig.model import Expectation, Judgement, Outcome, Phase, Trial, Verdict
from rig.practices import REQUIREMENTS, Assessment, Case, Practice
from rig.product import Budgets, LockedRegion, Product, UpdateSignals
from tests.test_judge import NEW, OLD, TRIAL, Story

LAMP = Product(
    name="lamp",
    protocol="smp",
    budgets=Budgets(update_s=10, downtime_s=5, boot_s=1.5, verification_s=0.06, erases_per_page=4),
    signals=UpdateSignals(announced="^01", progress="^03", verification_start="verifying", verification_end="verified"),
    crypto="cc310",
    locked=(LockedRegion(name="MCUboot", start=0x1000, size=0x2000),),
)
LOCK = replace(LAMP, name="lock", protocol="secure_dfu")
MET, VIOLATED, SILENT = True, False, None


@dataclass(frozen=True, kw_only=True)
class Row:
    """A requirement, what a trial saw, and what that shows."""

    requirement: str
    met: bool | None
    words: str
    story: Story = field(default_factory=Story)
    verdict: Verdict = Verdict.PASS
    outcome: Outcome = Outcome.UPDATED
    checks: Mapping[str, bool | None] = field(default_factory=dict)
    phases: Mapping[str, float] = field(default_factory=dict)
    trial: Trial = TRIAL
    product: Product = LAMP

    def __str__(self) -> str:
        return f"{self.requirement} {({MET: 'met', VIOLATED: 'violated', SILENT: 'silent'})[self.met]}: {self.words[:40]}"

    def assessed(self) -> Assessment:
        judgement = Judgement(
            trial="T-0001", verdict=self.verdict, outcome=self.outcome, reason="said the judge", because=(1,), checks=self.checks, phases=self.phases
        )
        return REQUIREMENTS[self.requirement].assess(Case(trial=self.trial, product=self.product, events=self.story.events, judgement=judgement))


def told() -> Story:
    return Story()


def log(before: list[str] | None, after: list[str] | None, later: list[str] | None = None, *, with_later: bool = False) -> Story:
    story = told().say("log.read", stage="before", entries=before).say("log.read", stage="after", entries=after)
    return story.say("log.read", stage="after power off", entries=later) if with_later or later is not None else story


def lines(*texts: str) -> Story:
    """Console lines, one a second."""
    story = told()
    for text in texts:
        story.say("console.line", text=text)
    return story


def resets(*reasons: int) -> Story:
    """Boots with what RESETREAS said at each."""
    story = told()
    for reason in reasons:
        story.say("dut.reset_reason", value=reason)
    return story


def beats(*links: tuple[float, float] | None) -> Story:
    """Links with the seconds of their first and last heartbeat, None for a link without any."""
    story = told()
    for link in links:
        times = {"first_t_ns": int(link[0] * 1e9), "last_t_ns": int(link[1] * 1e9)} if link else {}
        story.say("service.beats", count=2 if link else 0, **times)
    return story


def refused_by(group: int, code: int, **more: Any) -> Story:
    return told().say("dut.error", text="Refused: no", group=group, code=code, name="NO", **more)


def stranger(*admitted: bool) -> Story:
    return told().say("channel.stranger", attempts=[{"what": f"do {n}", "admitted": yes, "answer": ""} for n, yes in enumerate(admitted)])


def protection(readback: bool, *locked: tuple[int, int]) -> Story:
    return told().say("keys.protection", readback=readback, locked=[list(region) for region in locked])


def uploads(*ok: bool, error: str | None = None) -> Story:
    """A transfer that is interrupted, and those that follow; `error` is what ended the last."""
    story = told().say("fault.delivered", n=1, at_phase="upload")
    for one in ok:
        story.phase(Phase.UPLOAD, ok=one)
    return story.say("dut.error", text="no", type=error) if error else story


def link_lost_after(events: int) -> Story:
    """A resumed transfer that failed, and so many events between its end and the loss of a link."""
    story = uploads(False)
    for _ in range(events):
        story.say("console.line", text="reset")
    return story.say("dut.error", text="no", type="LinkLost")


def undisturbed_link(reason: int, *, inside: bool = True) -> Story:
    story = told().say("phase.start", phase="upload", attempt=1).say("upload.chunk", offset=100, total=200)
    if not inside:
        story.say("phase.end", phase="upload", attempt=1, ok=True)
    return story.say("radio.lost", reason=reason)


def names(application: str, bootloader: str) -> Story:
    return told().say("radio.found", name=application).say("dut.enter_dfu").say("radio.found", name=bootloader)


FAILED = {"verdict": Verdict.FAIL, "outcome": Outcome.STUCK_ON_OLD}
RAN = {"verdict": Verdict.FAIL, "outcome": Outcome.WRONG_IMAGE}
REFUSED = {"outcome": Outcome.REFUSED}
BRICKED = {"verdict": Verdict.FAIL, "outcome": Outcome.BRICKED}
LOST = {"verdict": Verdict.INCONCLUSIVE, "outcome": Outcome.UNKNOWN}
NO_BUDGETS = replace(LAMP, budgets=Budgets())

HOW_THE_UPDATE_ENDED = [
    Row(requirement="signing.genuine", met=MET, words="said the judge"),
    Row(requirement="signing.genuine", met=MET, words="said the judge", outcome=Outcome.RECOVERED_ON_RETRY),
    Row(requirement="signing.genuine", met=VIOLATED, words="said the judge", story=told().phase(Phase.MARK), **FAILED),
    Row(requirement="signing.genuine", met=VIOLATED, words="said the judge", story=refused_by(1, 5, request="init execute"), product=LOCK, **FAILED),
    Row(requirement="signing.genuine", met=SILENT, words="got as far", story=refused_by(1, 5, request="data execute"), product=LOCK, **FAILED),
    Row(requirement="signing.genuine", met=SILENT, words="got as far", story=told().phase(Phase.UPLOAD, ok=False), **FAILED),
    Row(requirement="signing.genuine", met=SILENT, words="failed only after", story=told().phase(Phase.MARK).say("dut.started", version="1.1.0"), **FAILED),
    Row(requirement="signing.genuine", met=SILENT, words="got as far", story=told().phase(Phase.MARK), **LOST),
    Row(requirement="recovery.kept", met=MET, words="said the judge"),
    Row(requirement="recovery.kept", met=VIOLATED, words="said the judge", story=told().say("dut.started", version="1.1.0"), **FAILED),
    Row(requirement="recovery.kept", met=VIOLATED, words="said the judge", story=told().state(NEW).state(OLD), **FAILED),
    Row(requirement="recovery.kept", met=SILENT, words="never ran", story=told().state(OLD), **FAILED),
    Row(requirement="signing.unsigned", met=MET, words="said the judge", **REFUSED),
    Row(requirement="signing.unsigned", met=VIOLATED, words="said the judge", **RAN),
    Row(requirement="signing.unsigned", met=SILENT, words="ended otherwise", **BRICKED),
    Row(requirement="signing.unsigned", met=SILENT, words="ended otherwise", **LOST),
    Row(requirement="recovery.refusal", met=MET, words="said the judge", **REFUSED),
    Row(requirement="recovery.refusal", met=VIOLATED, words="said the judge", **BRICKED),
    Row(requirement="recovery.refusal", met=SILENT, words="was not refused", **RAN),
    Row(requirement="recovery.refusal", met=SILENT, words="was not refused", checks={"user_data": False}, **FAILED),
    Row(requirement="recovery.power-cut", met=MET, words="said the judge", outcome=Outcome.RESUMED),
    Row(requirement="recovery.power-cut", met=VIOLATED, words="said the judge", **BRICKED),
    Row(requirement="recovery.power-cut", met=SILENT, words="user data", checks={"user_data": False}, **BRICKED),
    Row(requirement="recovery.power-cut", met=SILENT, words="said the judge", **LOST),
    Row(requirement="recovery.resume", met=MET, words="was installed", story=uploads(True), outcome=Outcome.RECOVERED_ON_RETRY),
    Row(requirement="recovery.resume", met=MET, words="was installed", story=uploads(True).say("again.start").phase(Phase.UPLOAD), outcome=Outcome.RESUMED),
    Row(requirement="recovery.resume", met=VIOLATED, words="could not be installed", story=uploads(True, True), outcome=Outcome.RECOVERED_ON_RETRY),
    Row(requirement="recovery.resume", met=VIOLATED, words="could not be installed", story=uploads(True), **FAILED),
    Row(requirement="recovery.resume", met=VIOLATED, words="could not be installed", story=uploads(False, error="Refused"), outcome=Outcome.RECOVERED_ON_RETRY),
    Row(requirement="recovery.resume", met=SILENT, words="interrupted once more", story=uploads(False, error="LinkLost"), outcome=Outcome.RECOVERED_ON_RETRY),
    Row(requirement="recovery.resume", met=SILENT, words="interrupted once more", story=link_lost_after(2), outcome=Outcome.RECOVERED_ON_RETRY),
    Row(requirement="recovery.resume", met=VIOLATED, words="could not be installed", story=link_lost_after(3), outcome=Outcome.RECOVERED_ON_RETRY),
    Row(requirement="recovery.resume", met=SILENT, words="went on after", story=told().phase(Phase.UPLOAD)),
    Row(requirement="recovery.resume", met=SILENT, words="went on after", story=uploads(True), **LOST),
    Row(requirement="recovery.resume", met=SILENT, words="went on after", story=uploads().say("again.start").phase(Phase.UPLOAD)),
    Row(requirement="recovery.user-data", met=MET, words="unchanged", story=told().say("probe.read", what="user_data", matches=True)),
    Row(requirement="recovery.user-data", met=VIOLATED, words="changed", story=told().say("probe.read", what="user_data", matches=False)),
    Row(requirement="recovery.user-data", met=SILENT, words="not read back", story=told().say("probe.read", what="image", version="1.1.0")),
    Row(requirement="recovery.watchdog", met=MET, words="none of 2 boots", story=resets(0x0, 0x4)),
    Row(requirement="recovery.watchdog", met=VIOLATED, words="watchdog reset", story=resets(0x4, 0x6)),
    Row(requirement="recovery.watchdog", met=SILENT, words="no boot gave its reason", story=lines("advertising")),
]  # fmt: skip

CHANNEL = [
    Row(requirement="channel.owner", met=MET, words="said the judge"),
    Row(requirement="channel.owner", met=VIOLATED, words="turned away", story=refused_by(ATT_GROUP, 0x05), **FAILED),
    Row(requirement="channel.owner", met=VIOLATED, words="turned away", story=refused_by(PAIRING_GROUP, 0x05), **FAILED),
    Row(requirement="channel.owner", met=SILENT, words="another reason", story=refused_by(ATT_GROUP, 0x0D), **FAILED),
    Row(requirement="channel.owner", met=SILENT, words="another reason", story=refused_by(1, 0x05), **FAILED),
    Row(requirement="channel.stranger", met=MET, words="2 attempts", story=stranger(False, False)),
    Row(requirement="channel.stranger", met=VIOLATED, words="may do 1", story=stranger(False, True)),
    Row(requirement="channel.stranger", met=SILENT, words="no stranger", story=stranger()),
    Row(requirement="channel.stranger", met=SILENT, words="no stranger"),
    Row(requirement="channel.subscribed", met=MET, words="0x03", story=told().say("channel.unsubscribed", answer=3)),
    Row(requirement="channel.subscribed", met=VIOLATED, words="took a request", story=told().say("channel.unsubscribed", answer=None)),
    Row(requirement="channel.subscribed", met=SILENT, words="nothing was written"),
    Row(requirement="channel.malformed", met=MET, words="after 7", story=told().say("channel.malformed", sent=7, last="x", alive=True, resets=0)),
    Row(requirement="channel.malformed", met=VIOLATED, words="reset after: zero", story=told().say("channel.malformed", sent=2, last="zero", alive=True, resets=1)),
    Row(requirement="channel.malformed", met=VIOLATED, words="stopped serving after", story=told().say("channel.malformed", sent=2, last="zero", alive=False, resets=0)),
    Row(requirement="channel.malformed", met=SILENT, words="nothing malformed"),
    Row(requirement="channel.malformed", met=SILENT, words="nothing malformed", story=told().say("channel.malformed", sent=0, last="", alive=True, resets=0)),
    Row(requirement="channel.idle", met=MET, words="after 121 s", story=told().say("channel.idle", returned_s=121.0, limit_s=180.0)),
    Row(requirement="channel.idle", met=VIOLATED, words="for 180 s", story=told().say("channel.idle", returned_s=None, limit_s=180.0)),
    Row(requirement="channel.idle", met=SILENT, words="not left alone"),
]  # fmt: skip

def searched(*regions: tuple[int, int], compared: int = 9, keys_known: int = 2) -> Story:
    """Regions of flash with the pieces and the keys that were found in each."""
    story = told()
    for plain, keys in regions:
        story.say("encryption.flash", start=0, size=8, compared=compared, plain=plain, keys_known=keys_known, keys=keys)
    return story


def printed(octets: int, *, hits: int = 0, keys_known: int = 2) -> Story:
    return told().say("encryption.console", octets=octets, keys_known=keys_known, hits=hits)


ENCRYPTION = [
    Row(requirement="encryption.air", met=MET, words="none of 9 pieces", story=told().say("encryption.air", octets=999, compared=9, plain=0)),
    Row(requirement="encryption.air", met=VIOLATED, words="4 of 9", story=told().say("encryption.air", octets=999, compared=9, plain=4)),
    Row(requirement="encryption.air", met=SILENT, words="was captured", story=told().say("encryption.air", octets=0, compared=9, plain=0)),
    Row(requirement="encryption.air", met=SILENT, words="was captured"),
    Row(requirement="encryption.flash", met=MET, words="none of 9", story=searched((0, 0), (0, 0))),
    Row(requirement="encryption.flash", met=VIOLATED, words="2 pieces", story=searched((2, 0), (0, 0))),
    Row(requirement="encryption.flash", met=VIOLATED, words="2 pieces", story=searched((2, 0), keys_known=0)),
    Row(requirement="encryption.flash", met=VIOLATED, words="the key of the image", story=searched((0, 0), (0, 1))),
    Row(requirement="encryption.flash", met=SILENT, words="not searched"),
    Row(requirement="encryption.flash", met=SILENT, words="nothing to search it for", story=searched((0, 0), compared=0)),
    Row(requirement="encryption.flash", met=SILENT, words="nothing to search it for", story=searched((0, 0), keys_known=0)),
    Row(requirement="encryption.logs", met=MET, words="no key among 500", story=printed(500)),
    Row(requirement="encryption.logs", met=VIOLATED, words="printed the key", story=printed(500, hits=1)),
    Row(requirement="encryption.logs", met=SILENT, words="printed nothing"),
    Row(requirement="encryption.logs", met=SILENT, words="printed nothing", story=printed(0)),
    Row(requirement="encryption.logs", met=SILENT, words="no key to search for", story=printed(500, keys_known=0)),
]  # fmt: skip

FLASH = [
    Row(requirement="signing.at-start", met=MET, words="was not started", story=told().say("image.tampered", address=1, served=False, started=0)),
    Row(requirement="signing.at-start", met=VIOLATED, words="was started", story=told().say("image.tampered", address=1, served=True, started=0)),
    Row(requirement="signing.at-start", met=VIOLATED, words="was started", story=told().say("image.tampered", address=1, served=False, started=1)),
    Row(requirement="signing.at-start", met=SILENT, words="no bit"),
    Row(requirement="signing.stored", met=MET, words="refused: INVALID", story=told().say("image.planted", accepted=False, answer="INVALID")),
    Row(requirement="signing.stored", met=VIOLATED, words="forged init packet", story=told().say("image.planted", accepted=True, answer="")),
    Row(requirement="signing.stored", met=SILENT, words="no init packet"),
    Row(requirement="recovery.no-image", met=MET, words="it waits in DFU mode", story=told().say("image.absent", signs=["it waits in DFU mode"])),
    Row(requirement="recovery.no-image", met=VIOLATED, words="silent", story=told().say("image.absent", signs=[])),
    Row(requirement="recovery.no-image", met=SILENT, words="not erased"),
    Row(requirement="recovery.wear", met=MET, words="3.0 pages", story=told().say("flash.erases", erases=9, pages=3)),
    Row(requirement="recovery.wear", met=VIOLATED, words="5.0 pages", story=told().say("flash.erases", erases=15, pages=3)),
    Row(requirement="recovery.wear", met=SILENT, words="was counted", story=told().say("flash.erases", erases=15, pages=3), **FAILED),
    Row(requirement="recovery.wear", met=SILENT, words="was counted"),
    Row(requirement="keys.readback", met=MET, words="is on", story=protection(True)),
    Row(requirement="keys.readback", met=VIOLATED, words="is off", story=protection(False)),
    Row(requirement="keys.readback", met=SILENT, words="not read"),
    Row(requirement="keys.locked", met=MET, words="1 regions", story=protection(False, (0, 0x4000))),
    Row(requirement="keys.locked", met=VIOLATED, words="MCUboot", story=protection(True)),
    Row(requirement="keys.locked", met=VIOLATED, words="MCUboot", story=protection(True, (0, 0x2000))),
    Row(requirement="keys.locked", met=SILENT, words="not read"),
    Row(requirement="keys.element", met=SILENT, words="nothing that a trial could show"),
]  # fmt: skip

ROLLED_BACK = {"outcome": Outcome.ROLLED_BACK, "trial": replace(TRIAL, confirm=False, expect=Expectation.ROLLED_BACK)}
WITH_RECEIPTS = replace(TRIAL, receipts_every=4)
LOGGING = [
    Row(requirement="logging.result", met=MET, words="2 installed 1.1.0", story=log(["1 requested 1.1.0"], ["1 requested 1.1.0", "2 installed 1.1.0"])),
    Row(requirement="logging.result", met=MET, words="3 reverted", story=log([], ["3 reverted 1.1.0"]), **ROLLED_BACK),
    Row(requirement="logging.result", met=VIOLATED, words="ended as UPDATED", story=log(["2 installed 1.0.0"], ["2 installed 1.0.0"])),
    Row(requirement="logging.result", met=VIOLATED, words="ended as ROLLED_BACK", story=log([], ["3 installed 1.1.0"]), **ROLLED_BACK),
    Row(requirement="logging.result", met=VIOLATED, words="could not be read", story=log([], None)),
    Row(requirement="logging.result", met=SILENT, words="another question", story=log([], []), **FAILED),
    Row(requirement="logging.result", met=SILENT, words="was not read"),
    Row(requirement="logging.kept", met=MET, words="1 log entries", story=log([], ["1 installed 1.1.0"], ["1 installed 1.1.0"])),
    Row(requirement="logging.kept", met=VIOLATED, words="the first: 1 installed", story=log([], ["1 installed 1.1.0"], [])),
    Row(requirement="logging.kept", met=SILENT, words="could be lost", story=log([], [], [])),
    Row(requirement="logging.kept", met=SILENT, words="before and after", story=log([], ["1 installed 1.1.0"], None, with_later=True)),
    Row(requirement="logging.reason", met=MET, words="the device said: NO", story=refused_by(1, 10), **REFUSED),
    Row(requirement="logging.reason", met=MET, words="2 failed 1.1.0", story=log(["1 requested 1.1.0"], ["1 requested 1.1.0", "2 failed 1.1.0"]), **REFUSED),
    Row(requirement="logging.reason", met=VIOLATED, words="without a word", story=log([], ["1 requested 1.1.0"]), **REFUSED),
    Row(requirement="logging.reason", met=VIOLATED, words="without a word", story=log(["1 failed 1.0.9"], ["1 failed 1.0.9"]), **REFUSED),
    Row(requirement="logging.reason", met=VIOLATED, words="without a word", story=log([], []).say("dut.error", text="no", group=ATT_GROUP, code=5, name="NO"), **REFUSED),
    Row(requirement="logging.reason", met=VIOLATED, words="without a word", story=log([], []).say("dut.error", text="no", group=PAIRING_GROUP, code=5, name="NO"), **REFUSED),
    Row(requirement="logging.reason", met=VIOLATED, words="without a word", story=log([], None), **REFUSED),
    Row(requirement="logging.reason", met=VIOLATED, words="without a word", **REFUSED),
    Row(requirement="logging.reason", met=SILENT, words="nothing was refused", story=log([], ["1 failed 1.1.0"])),
    Row(requirement="logging.reason", met=SILENT, words="nothing was refused", story=refused_by(1, 10), **FAILED),
    Row(requirement="logging.code", met=MET, words="NO", story=refused_by(11, 5), **REFUSED),
    Row(requirement="logging.code", met=VIOLATED, words="not why", story=refused_by(1, 10), **REFUSED),
    Row(requirement="logging.code", met=SILENT, words="nothing was refused", story=refused_by(ATT_GROUP, 5), **REFUSED),
    Row(requirement="logging.receipts", met=MET, words="after every 4 packets", story=told().say("upload.chunk", offset=1, total=1), trial=WITH_RECEIPTS),
    Row(requirement="logging.receipts", met=VIOLATED, words="checksum", story=told().say("dut.error", text="no", request="data CRC"), trial=WITH_RECEIPTS, **FAILED),
    Row(requirement="logging.receipts", met=VIOLATED, words="checksum", story=told().say("dut.error", text="no", request="packet receipt"), trial=WITH_RECEIPTS, **FAILED),
    Row(requirement="logging.receipts", met=SILENT, words="no transfer", trial=TRIAL),
    Row(requirement="logging.receipts", met=SILENT, words="no transfer", trial=WITH_RECEIPTS, **FAILED),
]  # fmt: skip

DURATIONS = [
    Row(requirement="timely.update", met=MET, words="9.0 s", phases={"flash": 30.0, "upload": 7.0, "install": 2.0}),
    Row(requirement="timely.update", met=VIOLATED, words="11.0 s", phases={"upload": 7.0, "install": 4.0}),
    Row(requirement="timely.update", met=SILENT, words="did not go through", phases={"upload": 7.0}, **FAILED),
    Row(requirement="timely.update", met=SILENT, words="no update was completed"),
    Row(requirement="timely.link", met=MET, words="no link timed out", story=undisturbed_link(0x13)),
    Row(requirement="timely.link", met=MET, words="no link timed out", story=undisturbed_link(0x08, inside=False)),
    Row(requirement="timely.link", met=VIOLATED, words="timed out in the middle", story=undisturbed_link(0x08), **FAILED),
    Row(requirement="timely.link", met=SILENT, words="nothing was sent", **FAILED),
    Row(requirement="downtime.service", met=MET, words="4.0 s", story=beats((0, 10), None, (14, 20))),
    Row(requirement="downtime.service", met=VIOLATED, words="6.0 s", story=beats((0, 10), (16, 20), (21, 22))),
    Row(requirement="downtime.service", met=SILENT, words="no heartbeat", story=beats((0, 10), None)),
    Row(requirement="downtime.service", met=SILENT, words="no heartbeat", story=beats((0, 10), (30, 31)), **FAILED),
    Row(requirement="downtime.boot", met=MET, words="1.50 s", story=told().say("boot.measured", boot_s=1.5)),
    Row(requirement="downtime.boot", met=VIOLATED, words="1.51 s", story=told().say("boot.measured", boot_s=1.51)),
    Row(requirement="downtime.boot", met=SILENT, words="no boot", story=told().say("boot.measured", boot_s=None)),
    Row(requirement="crypto.time", met=MET, words="50 ms", story=told().say("dut.verified", seconds=0.05)),
    Row(requirement="crypto.time", met=VIOLATED, words="200 ms", story=told().say("dut.verified", seconds=0.05).say("dut.verified", seconds=0.2)),
    Row(requirement="crypto.time", met=VIOLATED, words="1000 ms", story=lines("verifying", "verified")),
    Row(requirement="crypto.time", met=SILENT, words="was timed", story=lines("verifying", "swapping", "verified")),
    Row(requirement="crypto.time", met=SILENT, words="was timed"),
    *(
        Row(requirement=name, met=SILENT, words="no ", product=NO_BUDGETS, story=story, phases={"upload": 99.0})
        for name, story in (
            ("timely.update", told()), ("downtime.service", beats((0, 1), (90, 91))), ("downtime.boot", told().say("boot.measured", boot_s=90)),
            ("crypto.time", told().say("dut.verified", seconds=90)), ("recovery.wear", told().say("flash.erases", erases=900, pages=1)),
        )
    ),
]  # fmt: skip

AWARENESS = [
    Row(requirement="awareness.status", met=MET, words="2 status", story=told().say("update.status", value="0100").say("update.status", value="0364")),
    Row(requirement="awareness.status", met=VIOLATED, words="^03", story=told().say("update.status", value="0100")),
    Row(requirement="awareness.status", met=VIOLATED, words="^01, ^03"),
    Row(requirement="awareness.status", met=SILENT, words="did not go through", **FAILED),
    Row(requirement="awareness.name", met=MET, words="'lamp' as application, 'DfuTarg' in DFU mode", story=names("lamp", "DfuTarg")),
    Row(requirement="awareness.name", met=VIOLATED, words="the same name", story=names("lamp", "lamp")),
    Row(requirement="awareness.name", met=SILENT, words="never met", story=told().say("radio.found", name="lamp")),
    Row(requirement="awareness.name", met=SILENT, words="before and in", story=told().say("radio.found", name="lamp").say("dut.enter_dfu")),
]  # fmt: skip

ROWS = [*HOW_THE_UPDATE_ENDED, *CHANNEL, *ENCRYPTION, *FLASH, *LOGGING, *DURATIONS, *AWARENESS]


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_what_a_trial_shows(row: Row) -> None:
    shown = row.assessed()

    assert shown.met is row.met
    assert row.words in shown.reason
    assert all(0 <= seq < max(len(row.story.events), 2) for seq in shown.because)


@pytest.mark.parametrize("row", [row for row in ROWS if row.met is not SILENT and row.story.events], ids=str)
def test_what_is_met_or_violated_comes_with_the_events_that_show_it(row: Row) -> None:
    assert row.assessed().because


def test_every_assessment_is_tested_both_ways() -> None:
    """Requirements that share an assessment share its rows."""
    seen: dict[Any, set[bool | None]] = {}
    for row in ROWS:
        seen.setdefault(REQUIREMENTS[row.requirement].assess, set()).add(row.met)
    inspected = [one.assess for one in REQUIREMENTS.values() if one.practice is Practice.KEYS and one.id == "keys.element"]

    lacking = [name for name, one in REQUIREMENTS.items() if seen.get(one.assess) != {MET, VIOLATED, SILENT} and one.assess not in inspected]

    assert lacking == []
