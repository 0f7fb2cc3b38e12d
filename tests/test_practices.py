"""The catalogue of requirements, when each applies, and how what trials show adds up to the standing of a practice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rig import config
from rig.model import Expectation, Finding
from rig.practices import (
    REQUIREMENTS,
    STANDARDS,
    Applies,
    Practice,
    PracticeScore,
    RequirementScore,
    Shown,
    Standing,
    blamed,
    score,
)
from rig.product import Budgets, ChannelSecurity, Encryption, LockedRegion, Policy, Product, UpdateSignals
from rig.run.examinations import EXAMINATIONS
from rig.scenario import Scenario
from tests.config_files import REPOSITORY, SHIPPED

PROMISING = Product(
    name="lamp",
    protocol="smp",
    encryption=Encryption.REQUIRED,
    channel=ChannelSecurity.AUTHENTICATED,
    equal_versions=Policy.REFUSED,
    security_counter=True,
    dependencies=True,
    budgets=Budgets(update_s=1, downtime_s=1, boot_s=1, verification_s=1, erases_per_page=1),
    signals=UpdateSignals(service="s", status="t", announced="^01", control="c", log="l", heartbeat="h"),
    asks_consent=True,
    defers_when_busy=True,
    crypto="cc310",
    readback_locked=True,
    locked=(LockedRegion(name="MCUboot", start=0, size=4096),),
)
"""Promises all that an SMP product can."""
PROMISING_DFU = replace(PROMISING, protocol="secure_dfu", encryption=Encryption.NOT_NEEDED, security_counter=False, dependencies=False, rolls_back=False)
"""Promises all that a product with the nRF5 SDK's bootloader can; that one installs for good."""
DOCUMENT = (REPOSITORY / "docs" / "practices.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def suite() -> tuple[Scenario, ...]:
    return config.load_scenarios([SHIPPED / "practices"])


# ------------------------------------------------------------------------------------------------------------ catalogue
def test_requirements_are_named_after_their_practice_and_stand_in_its_order() -> None:
    assert all(name == one.id and name.partition(".")[0] == one.practice.slug for name, one in REQUIREMENTS.items())
    practices = [one.practice for one in REQUIREMENTS.values()]
    assert practices == sorted(practices)
    assert set(practices) == set(Practice)
    assert len({one.text for one in REQUIREMENTS.values()}) == len(REQUIREMENTS)


def test_every_examination_that_a_requirement_wants_exists_and_every_one_is_wanted() -> None:
    assert {name for one in REQUIREMENTS.values() for name in one.examinations} == set(EXAMINATIONS)


def test_whatever_a_requirement_stands_behind_exists_and_never_leads_back() -> None:
    def behind(name: str, path: tuple[str, ...] = ()) -> None:
        assert name in REQUIREMENTS, path
        assert name not in path, path
        for earlier in REQUIREMENTS[name].after:
            behind(earlier, (*path, name))

    for name in REQUIREMENTS:
        behind(name)


def test_every_practice_says_which_clauses_it_touches() -> None:
    assert list(STANDARDS) == list(Practice)
    assert all(standard.etsi for standard in STANDARDS.values())


def test_every_requirement_is_documented_with_its_meaning() -> None:
    rows = [line for line in DOCUMENT.splitlines() if line.startswith("| `")]
    documented = [row.split("`")[1] for row in rows if row.split("`")[1] in REQUIREMENTS]

    assert documented == list(REQUIREMENTS)
    assert all(any(row.startswith(f"| `{name}` | {one.text}") for row in rows) for name, one in REQUIREMENTS.items())


def test_the_documentation_names_every_examination_and_every_clause() -> None:
    assert [name for name in EXAMINATIONS if f"`{name}`" not in DOCUMENT] == []
    text = " ".join(DOCUMENT.split())
    for standard in STANDARDS.values():
        assert [clauses for clauses in (standard.etsi, standard.nistir, standard.nist, standard.cra, standard.rfc) if clauses not in text] == []


def test_the_documentation_names_for_each_requirement_scenarios_that_prove_it(suite: tuple[Scenario, ...]) -> None:
    """`smp-unit` is one scenario; `unit` stands for that of either protocol."""
    files = {name: [Path(one.file).stem for one in suite if name in one.proves] for name in REQUIREMENTS}
    for row in (line for line in DOCUMENT.splitlines() if line.startswith("| `") and line.split("`")[1] in REQUIREMENTS):
        requirement, tested_by = row.split("`")[1], row.split(" | ")[2]
        if "every scenario" in tested_by or tested_by == "nothing":
            continue
        named = [word.strip("` ") for word in tested_by.partition("; examination")[0].replace(", most refusals", "").split(",")]
        for name in named:
            wanted = [name] if name.startswith(("smp-", "dfu-")) else [f"smp-{name}", f"dfu-{name}"]
            assert set(wanted) <= set(files[requirement]), (requirement, name)


# ---------------------------------------------------------------------------------------------------------------- suite
def test_every_requirement_that_can_be_proved_is_proved_by_a_scenario_of_each_protocol_it_applies_to(suite: tuple[Scenario, ...]) -> None:
    for product in (PROMISING, PROMISING_DFU):
        applying = {name for name, one in REQUIREMENTS.items() if one.applies(product).applies is Applies.YES}
        proved = {name for scenario in suite if scenario.protocol == product.protocol for name in scenario.proves}
        assert applying - proved == set(), product.protocol


def test_no_scenario_of_the_suite_proves_what_can_never_apply_to_its_protocol(suite: tuple[Scenario, ...]) -> None:
    for scenario in suite:
        product = PROMISING if scenario.protocol == "smp" else PROMISING_DFU
        assert [name for name in scenario.proves if REQUIREMENTS[name].applies(product).applies is Applies.NO] == [], scenario.name


def test_what_must_be_refused_is_proved_by_scenarios_that_expect_it(suite: tuple[Scenario, ...]) -> None:
    """A requirement that a refusal meets could otherwise never be met."""
    refusals = REQUIREMENTS["signing.unsigned"].assess
    for scenario in suite:
        if any(REQUIREMENTS[name].assess is refusals for name in scenario.proves):
            assert scenario.expect is Expectation.REFUSED, scenario.name


def test_every_refusal_must_be_told_but_for_those_that_come_before_the_image(suite: tuple[Scenario, ...]) -> None:
    """Busy, low on battery, not agreed to: the device says no to the request, whatever the image is."""
    untold = {Path(one.file).stem for one in suite if one.expect is Expectation.REFUSED and "logging.reason" not in one.proves}

    assert untold == {f"{protocol}-{state}" for protocol in ("smp", "dfu") for state in ("busy", "battery-low", "no-consent")}


# -------------------------------------------------------------------------------------------------------- applicability
def test_all_that_a_product_promises_applies() -> None:
    other = {name: one.applies(PROMISING).applies for name, one in REQUIREMENTS.items() if one.applies(PROMISING).applies is not Applies.YES}

    assert other.pop("keys.element") is Applies.INSPECTION
    assert set(other.values()) == {Applies.NO}
    assert set(other) == {
        "signing.debug", "signing.stored", "channel.subscribed", "channel.idle", "versions.hardware", "versions.softdevice",
        "versions.replay", "recovery.unverified", "logging.code", "logging.receipts", "awareness.name",
    }  # fmt: skip


def test_over_secure_dfu_nothing_of_mcuboots_applies() -> None:
    other = {name for name, one in REQUIREMENTS.items() if one.applies(PROMISING_DFU).applies is Applies.NO}

    assert {"versions.dependency", "versions.counter", "versions.revert", "encryption.air"} <= other
    assert not any(name.startswith(("signing.", "channel.", "logging.")) for name in other)


CHANGES: list[tuple[str, dict[str, Any], Applies, str]] = [
    ("encryption.air", {"encryption": Encryption.NOT_NEEDED, "encryption_reason": "it is public"}, Applies.NO, "it is public"),
    ("encryption.air", {"encryption": Encryption.NONE}, Applies.WEAK, "in clear"),
    ("channel.stranger", {"channel": ChannelSecurity.OPEN}, Applies.WEAK, "open to everybody"),
    ("channel.owner", {"channel": ChannelSecurity.ENCRYPTED}, Applies.YES, ""),
    ("versions.lower", {"lower_versions": Policy.ACCEPTED}, Applies.WEAK, "lower versions"),
    ("versions.equal", {"equal_versions": Policy.ACCEPTED}, Applies.WEAK, "same version"),
    ("versions.counter", {"security_counter": False}, Applies.NOT_PROMISED, "no security counter"),
    ("versions.revert", {"rolls_back": False}, Applies.WEAK, "no way back"),
    ("versions.dependency", {"dependencies": False}, Applies.NO, "depends on no other"),
    ("recovery.roll-back", {"rolls_back": False}, Applies.WEAK, "no way back"),
    ("recovery.crash", {"rolls_back": False}, Applies.WEAK, "no way back"),
    ("recovery.no-image", {"updatable_when_empty": False}, Applies.WEAK, "cannot be updated any more"),
    ("recovery.wear", {"budgets": Budgets()}, Applies.NOT_PROMISED, "erased pages"),
    ("timely.update", {"budgets": Budgets()}, Applies.NOT_PROMISED, "update time"),
    ("downtime.service", {"budgets": Budgets()}, Applies.NOT_PROMISED, "downtime"),
    ("downtime.boot", {"budgets": Budgets()}, Applies.NOT_PROMISED, "boot time"),
    ("crypto.time", {"budgets": Budgets()}, Applies.NOT_PROMISED, "verification time"),
    ("crypto.time", {"crypto": None}, Applies.NO, "in software"),
    ("logging.result", {"signals": UpdateSignals()}, Applies.NOT_PROMISED, "no update log"),
    ("awareness.status", {"signals": UpdateSignals()}, Applies.NOT_PROMISED, "no status"),
    ("awareness.consent", {"asks_consent": False}, Applies.NOT_PROMISED, "never asks"),
    ("downtime.busy", {"defers_when_busy": False}, Applies.NOT_PROMISED, "no rule"),
    ("keys.readback", {"readback_locked": False}, Applies.WEAK, "open debug port"),
    ("keys.locked", {"locked": ()}, Applies.NOT_PROMISED, "no flash"),
    ("signing.debug", {"protocol": "secure_dfu", "debug_packets": Policy.ACCEPTED}, Applies.WEAK, "debug packets"),
]


@pytest.mark.parametrize(("name", "change", "applies", "words"), CHANGES, ids=[f"{row[0]} {row[2]}" for row in CHANGES])
def test_what_a_product_leaves_out_or_admits(name: str, change: dict[str, Any], applies: Applies, words: str) -> None:
    found = REQUIREMENTS[name].applies(replace(PROMISING, **change))

    assert found.applies is applies
    assert words in found.reason


# ---------------------------------------------------------------------------------------------------------------- score
def shown(requirement: str, met: bool | None, *, trial: str = "T-1", reason: str = "seen") -> Shown:
    return Shown(scenario="s", trial=trial, finding=Finding(requirement=requirement, met=met, reason=reason))


def practice(scores: tuple[PracticeScore, ...], slug: str) -> PracticeScore:
    return next(one for one in scores if one.practice.slug == slug)


def requirement(scores: tuple[PracticeScore, ...], name: str) -> RequirementScore:
    return next(one for scored in scores for one in scored.requirements if one.requirement.id == name)


def all_met(product: Product, but: Callable[[str], bool] = lambda _: False) -> list[Shown]:
    return [shown(name, True) for name, one in REQUIREMENTS.items() if one.applies(product).applies is Applies.YES and not but(name)]


def test_without_trials_nothing_is_proven() -> None:
    scores = score(PROMISING, [])

    assert [one.practice for one in scores] == list(Practice)
    assert {one.standing for one in scores} == {Standing.NOT_COVERED}
    assert requirement(scores, "signing.genuine").reason == "no trial was to prove it"


def test_a_practice_is_proven_when_all_that_applies_is() -> None:
    scores = score(PROMISING, all_met(PROMISING))

    assert {one.practice.slug: one.standing for one in scores if one.standing is not Standing.PROVEN} == {"keys": Standing.PARTLY}
    assert requirement(scores, "keys.element").standing is Standing.INSPECTION_NEEDED
    assert requirement(scores, "signing.debug").standing is Standing.NOT_APPLICABLE
    assert practice(scores, "encryption").reason == "6 of 6 requirements proven by 6 findings"


def test_one_requirement_that_nobody_tested_makes_it_partly() -> None:
    scores = score(PROMISING, all_met(PROMISING, but=lambda name: name == "signing.intact"))

    assert practice(scores, "signing").standing is Standing.PARTLY
    assert requirement(scores, "signing.intact").standing is Standing.NOT_COVERED


def test_trials_that_tell_nothing_prove_nothing() -> None:
    scores = score(PROMISING, [shown("signing.intact", None, reason="it ended otherwise")] * 3)

    found = requirement(scores, "signing.intact")
    assert (found.standing, found.reason, found.undecided) == (Standing.NOT_COVERED, "it ended otherwise", 3)


def test_one_violation_among_many_trials_fails_the_practice() -> None:
    evidence = [*all_met(PROMISING), *[shown("signing.intact", True, trial=f"T-{n}") for n in range(50)], shown("signing.intact", False, trial="T-99", reason="it ran")]

    scores = score(PROMISING, evidence)

    assert practice(scores, "signing").standing is Standing.FAILED
    assert practice(scores, "signing").reason == "it ran"
    found = requirement(scores, "signing.intact")
    assert (found.met, found.failed, len(found.proved_by)) == (51, (("s", "T-99"),), 51)
    assert blamed(scores) == (Practice.SIGNING,)


def test_a_declared_weakness_fails_unless_its_risk_is_accepted() -> None:
    weak = replace(PROMISING, channel=ChannelSecurity.OPEN)
    accepted = replace(weak, accepted_risks={"channel": "It hangs under the ceiling."})

    failed = practice(score(weak, all_met(weak)), "channel")
    risk = practice(score(accepted, all_met(accepted)), "channel")

    assert (failed.standing, failed.reason) == (Standing.FAILED, "the update service is open to everybody in radio range")
    assert risk.standing is Standing.ACCEPTED_RISK
    assert "accepted: It hangs under the ceiling." in risk.reason
    assert blamed(score(weak, all_met(weak))) == (), "no trial has shown it"


def test_an_accepted_risk_hides_no_failure() -> None:
    accepted = replace(PROMISING, equal_versions=Policy.ACCEPTED, accepted_risks={"versions": "Ours."})

    scores = score(accepted, [*all_met(accepted), shown("versions.lower", False, reason="1.0.0 ran")])

    assert practice(scores, "versions").standing is Standing.FAILED
    assert practice(scores, "versions").reason == "1.0.0 ran"


def test_an_accepted_risk_covers_the_declared_weakness_and_nothing_else() -> None:
    accepted = replace(PROMISING, readback_locked=False, locked=(), accepted_risks={"keys": "It is a development kit."})

    scores = score(accepted, [])

    assert requirement(scores, "keys.readback").standing is Standing.ACCEPTED_RISK
    assert requirement(scores, "keys.locked").standing is Standing.NOT_COVERED
    assert requirement(scores, "keys.element").standing is Standing.INSPECTION_NEEDED


def test_what_does_not_apply_counts_neither_way() -> None:
    bare = replace(PROMISING, encryption=Encryption.NOT_NEEDED, encryption_reason="it is public", crypto=None)

    scores = score(bare, all_met(bare))

    assert practice(scores, "encryption").standing is Standing.NOT_APPLICABLE
    assert practice(scores, "encryption").reason.endswith("it is public")
    assert practice(scores, "crypto").standing is Standing.NOT_APPLICABLE


def test_a_promise_that_is_missing_is_not_covered_whatever_trials_show() -> None:
    silent = replace(PROMISING, budgets=Budgets())

    scores = score(silent, [*all_met(silent), shown("timely.update", True)])

    assert requirement(scores, "timely.update").standing is Standing.NOT_COVERED
    assert practice(scores, "timely").standing is Standing.PARTLY


def test_a_failure_with_an_earlier_cause_blames_nobody_else() -> None:
    """Nobody can update the device: whatever needs an update fails for that reason alone."""
    evidence = [shown("channel.owner", False), shown("recovery.power-cut", False), shown("signing.genuine", False), shown("keys.readback", True)]

    scores = score(PROMISING, evidence)

    assert blamed(scores) == (Practice.CHANNEL,)
    found = requirement(scores, "recovery.power-cut")
    assert found.standing is Standing.NOT_COVERED
    assert found.reason == "cannot be told while channel.owner and signing.genuine fail"
    alone = score(PROMISING, [shown("channel.owner", False), shown("signing.genuine", False)])
    assert requirement(alone, "signing.genuine").reason == "cannot be told while channel.owner fails"


def test_a_cause_further_back_counts_too() -> None:
    """No image got as far as the check of its signature, which says nothing; what stands behind that check knows why."""
    evidence = [shown("channel.owner", False), shown("signing.genuine", None), shown("recovery.stored", False)]

    assert REQUIREMENTS["recovery.stored"].after == ("signing.genuine",)
    assert blamed(score(PROMISING, evidence)) == (Practice.CHANNEL,)


def test_a_cause_that_is_met_or_unknown_explains_nothing() -> None:
    for cause in (True, None):
        scores = score(PROMISING, [shown("channel.owner", cause), shown("recovery.power-cut", False)])
        assert blamed(scores) == (Practice.RECOVERY,)
