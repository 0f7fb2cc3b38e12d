"""The self-check's own rules: which boards it breaks, which scenarios they run, and when a defect counts as caught."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from rig import config
from rig.config import Configuration
from rig.model import Finding, InstrumentSpec, Judgement, Outcome, Trial, Verdict
from rig.practices import Practice
from rig.run.selfcheck import Caught, KnownBad, Row, known_bad, matrix, plant, repeated, with_defect
from tests.config_files import SCENARIO, edited, write
from tests.test_judge import TRIAL
from tests.test_practices import PROMISING

BOARDS = """\
bench: {driver: virtual}
defaults:
  protocol: smp
  soc: nrf52840
  memory: {preset: swap-offset}
  probe: {driver: virtual}
  supply: {driver: ppk2}
  console: {driver: uart}
  radio: {driver: bleak, adapter: virtual, pair: true, passkey: 123456}
  model:
    bootloader: {class: "rig.virtual.mcuboot:Mcuboot", downgrade_prevention: true, encryption: required}
    application: {class: "rig.virtual.smp_application:SmpApplication", security: authenticated, passkey: 123456}
boards:
  - {name: first, ble: {name: one}, supply: {port: "virtual:first/ppk2"}, console: {port: "virtual:first/console"}}
  - {name: second, ble: {name: two}, supply: {port: "virtual:second/ppk2"}, console: {port: "virtual:second/console"}}
  - name: unit
    ble: {name: three}
    supply: {port: "virtual:unit/ppk2"}
    console: {port: "virtual:unit/console"}
    production: true
    model: {soc: {approtect: true}}
"""
PRODUCT = """\
product: lamp
protocol: smp
encryption: {policy: required, key: test}
channel: {security: authenticated}
versions: {equal: accepted}
signals: {no_image: Unable to find bootable image}
protection: {readback: true}
accepted_risks: {versions: Rebuilds are ours.}
"""
PLAIN = edited(SCENARIO, "trials: 20", "trials: 3").replace("faults:\n  - none\n  - power_cut: {trigger: {phase: install}, offset_ms: {uniform: [0, 5000]}, off_ms: 500}\n", "")


def scenario(name: str, proves: str, more: str = "") -> str:
    return edited(PLAIN, "scenario: cuts", f"scenario: {name}") + f"proves: [{proves}]\n{more}"


def loaded(folder: Path, texts: Mapping[str, str]) -> Configuration:
    files = [write(folder, f"{name}.yaml", text) for name, text in texts.items()]
    return config.load(write(folder, "boards.yaml", BOARDS), files, product=write(folder, "product.yaml", PRODUCT))


@pytest.fixture
def configuration(tmp_path: Path) -> Configuration:
    texts = {
        "plain": scenario("plain", "signing.genuine"),
        "lower": scenario("lower", "versions.lower"),
        "stranger": scenario("stranger", "channel.stranger"),
        "unit": scenario("unit", "keys.readback", "inspect: true\n"),
    }
    return loaded(tmp_path, texts)


# --------------------------------------------------------------------------------------------------------------- planting
def test_a_board_with_a_defect_has_its_own_name_and_wires(configuration: Configuration) -> None:
    good = configuration.boards.boards[0]

    bad = with_defect(good, "M25")

    assert bad.name == "first-M25"
    assert (bad.supply.options["port"], bad.console.options["port"]) == ("virtual:first-M25/ppk2", "virtual:first-M25/console")
    assert bad.model["defects"] == ["M25"]
    assert {key: value for key, value in bad.model.items() if key != "defects"} == good.model
    assert replace(bad, name=good.name, supply=good.supply, console=good.console, model=good.model) == good


def test_only_a_bench_that_can_plant_defects_has_any(configuration: Configuration) -> None:
    board = configuration.boards.boards[0]
    ids = {defect.id: defect for defect in known_bad(configuration.boards.bench, board)}

    assert ids["M25"].practices == (Practice.VERSIONS,)
    assert ids["M25"].title
    assert known_bad(InstrumentSpec(driver="lab"), board) == ()


def test_a_board_gets_only_defects_that_it_can_have(configuration: Configuration) -> None:
    bench = configuration.boards.bench
    first, _, unit = configuration.boards.boards

    ids = {defect.id for defect in known_bad(bench, first)}

    assert {"M01", "M12", "M25", "M43"} <= ids
    assert "M02" not in ids, "only Secure DFU"
    assert "M39b" not in ids, "only a bootloader that overwrites"
    assert "M78" not in ids, "an open debug port shows only in a production unit"
    assert {defect.id for defect in known_bad(bench, unit)} == {"M78"}


def test_each_defect_is_planted_once_and_runs_every_scenario_with_all_its_trials(configuration: Configuration) -> None:
    planted, defects = plant(configuration, short=False)

    names = [board.name for board in planted.boards.boards]
    assert len(set(names)) == len(names) == len({defect.id for defect in defects.values()})
    assert set(names) == set(defects)
    assert {name.partition("-")[0] for name in names} == {"first", "unit"}, "each on the first board that can have it"
    of_updates = tuple(name for name in names if name.startswith("first-"))
    for one in planted.scenarios:
        expected = ("unit-M78",) if one.name == "unit" else of_updates
        assert one.boards.names == expected
        assert one.trials == 3 * len(expected)


def test_the_short_form_leaves_what_concerns_a_defect_and_the_plain_update(configuration: Configuration) -> None:
    planted, _ = plant(configuration, short=True, only=("M25", "M17", "M78"))

    assert {one.name: one.boards.names for one in planted.scenarios} == {
        "plain": ("first-M17", "first-M25"), "lower": ("first-M25",), "stranger": ("first-M17",), "unit": ("unit-M78",)
    }  # fmt: skip


def test_what_most_scenarios_prove_along_the_way_says_not_what_they_are_about(tmp_path: Path) -> None:
    """M47 erases the user's data, which all of them look at."""
    about = {"plain": "signing.genuine", "lower": "versions.lower", "stranger": "channel.stranger", "stays": "recovery.stored"}
    texts = {name: scenario(name, f"{requirement}, recovery.user-data") for name, requirement in about.items()}

    planted, _ = plant(loaded(tmp_path, texts), short=True, only=("M47",))

    assert [one.name for one in planted.scenarios] == ["plain", "stays"]
    assert all("recovery.user-data" in one.proves for one in planted.scenarios), "it is still asked"


def test_a_file_that_spoils_in_many_ways_counts_once(tmp_path: Path) -> None:
    """Its many scenarios do not make what it is about something that is asked everywhere."""
    about = {"plain": "signing.genuine", "lower": "versions.lower", "stranger": "channel.stranger"}
    texts = {name: scenario(name, requirement) for name, requirement in about.items()}
    spoilt = scenario("unsigned", "signing.unsigned", "expect: refused\n")
    new = "{build: {version: 1.1.0, size: 64 KiB}"
    texts["unsigned"] = edited(spoilt, new, f"{new}, spoil: [unsigned, hash-only]")

    planted, _ = plant(loaded(tmp_path, texts), short=True, only=("M06",))

    assert [one.name for one in planted.scenarios] == ["plain", "unsigned-unsigned", "unsigned-hash-only"]


def test_a_suite_of_one_file_is_about_what_that_proves(tmp_path: Path) -> None:
    planted, _ = plant(loaded(tmp_path, {"plain": scenario("plain", "signing.genuine")}), short=True, only=("M25",))

    assert [one.name for one in planted.scenarios] == ["plain"]


def test_only_the_defects_that_were_asked_for_are_planted(configuration: Configuration) -> None:
    planted, defects = plant(configuration, short=False, only=("M25",))

    assert [board.name for board in planted.boards.boards] == ["first-M25"]
    assert [defect.id for defect in defects.values()] == ["M25"]
    assert [one.name for one in planted.scenarios] == ["plain", "lower", "stranger"]
    assert plant(configuration, short=False, only=("M02",))[0].scenarios == ()


def test_defects_that_are_done_are_not_planted_once_more(configuration: Configuration) -> None:
    """Whoever checks a second product of the same protocol passes what the first has planted."""
    _, every = plant(configuration, short=False)
    _, first = plant(configuration, short=False, only=("M25", "M17"))
    done = {defect.id for defect in first.values()}

    rest, others = plant(configuration, short=False, done=done)

    assert {defect.id for defect in others.values()} == {defect.id for defect in every.values()} - done
    assert {board.name for board in rest.boards.boards} == set(others)
    assert plant(configuration, short=False, only=("M25",), done=done)[0].scenarios == ()


def test_good_boards_run_the_suite_as_often_as_asked(configuration: Configuration) -> None:
    many = repeated(configuration, 5)

    assert {one.name: one.trials for one in many.scenarios} == {"plain": 30, "lower": 30, "stranger": 30, "unit": 15}


# ----------------------------------------------------------------------------------------------------------------- matrix
DOWNGRADE = KnownBad(id="M25", title="installs lower versions", practices=(Practice.VERSIONS,))
Told = tuple[str, Verdict, dict[str, bool | None]]
"""Scenario, verdict, and what a trial shows of each requirement."""
MET: Told = ("plain", Verdict.PASS, {"signing.genuine": True})
LOWER_RAN: Told = ("lower", Verdict.FAIL, {"versions.lower": False})
UNSIGNED_RAN: Told = ("unsigned", Verdict.FAIL, {"signing.unsigned": False})
TIMED_OUT: Told = ("lower", Verdict.INCONCLUSIVE, {"versions.lower": None})
BROKEN: Told = ("lower", Verdict.ERROR, {})
UNEXPLAINED: Told = ("lower", Verdict.FAIL, {"versions.lower": None})


def row(told: Sequence[Told], defect: KnownBad | None = DOWNGRADE) -> Row:
    trials: list[Trial] = []
    judgements: dict[str, Judgement] = {}
    for number, (name, verdict, shown) in enumerate(told):
        trial = replace(TRIAL, id=f"T-{number}", scenario=name, board="b")
        trials.append(trial)
        found = tuple(Finding(requirement=requirement, met=met, reason="seen") for requirement, met in shown.items())
        judgements[trial.id] = Judgement(trial=trial.id, verdict=verdict, outcome=Outcome.UNKNOWN, reason="", findings=found)
    (one,) = matrix(PROMISING, trials, judgements, {"b": defect} if defect else {})
    return one


@pytest.mark.parametrize(
    ("told", "caught", "blamed"),
    [
        ([MET, LOWER_RAN], Caught.RIGHT, (Practice.VERSIONS,)),
        ([MET, LOWER_RAN, TIMED_OUT], Caught.RIGHT, (Practice.VERSIONS,)),
        ([MET, UNSIGNED_RAN], Caught.WRONG, (Practice.SIGNING,)),
        ([LOWER_RAN, UNSIGNED_RAN], Caught.WRONG, (Practice.SIGNING, Practice.VERSIONS)),
        ([MET, UNEXPLAINED], Caught.WRONG, ()),
        ([MET], Caught.NOT, ()),
        ([MET, TIMED_OUT], Caught.UNDECIDED, ()),
        ([MET, BROKEN], Caught.UNDECIDED, ()),
    ],
    ids=["right", "right in spite of a time-out", "wrong", "also wrong", "nobody blamed", "not caught", "timed out", "rig broken"],
)
def test_when_a_defect_is_caught(told: list[Told], caught: Caught, blamed: tuple[Practice, ...]) -> None:
    one = row(told)

    assert (one.caught, one.blamed) == (caught, blamed)
    assert one.is_as_it_should_be is (caught is Caught.RIGHT)


def test_any_of_the_practices_that_a_defect_violates_may_be_blamed() -> None:
    slow = KnownBad(id="M69", title="is slow", practices=(Practice.TIMELY, Practice.DOWNTIME))
    late: Told = ("plain", Verdict.FAIL, {"timely.update": False})
    away: Told = ("plain", Verdict.FAIL, {"downtime.service": False})

    assert {row(told, slow).caught for told in ([late], [away], [late, away])} == {Caught.RIGHT}


def test_a_failure_that_follows_from_another_blames_only_the_cause() -> None:
    locked_out = KnownBad(id="M19", title="refuses to pair", practices=(Practice.CHANNEL,))

    one = row([("plain", Verdict.FAIL, {"channel.owner": False, "recovery.power-cut": False, "awareness.status": False})], locked_out)

    assert (one.caught, one.blamed) == (Caught.RIGHT, (Practice.CHANNEL,))


@pytest.mark.parametrize(("told", "good"), [([MET, MET], True), ([MET, LOWER_RAN], False), ([MET, TIMED_OUT], False), ([MET, BROKEN], False)])
def test_a_good_board_passes_only_without_failures_and_losses(told: list[Told], good: bool) -> None:
    one = row(told, None)

    assert one.caught is None
    assert one.is_as_it_should_be is good


def test_the_matrix_counts_by_board_and_names_each_scenario_once() -> None:
    one = row([LOWER_RAN, LOWER_RAN, UNSIGNED_RAN, TIMED_OUT, MET])

    assert (one.trials, one.failed, one.lost) == (5, 3, 1)
    assert one.scenarios == ("lower", "unsigned")


def test_a_planted_defect_without_trials_is_a_row_that_is_not_caught() -> None:
    (one,) = matrix(PROMISING, [], {}, {"b": DOWNGRADE})

    assert (one.board, one.defect, one.trials, one.scenarios, one.blamed) == ("b", DOWNGRADE, 0, (), ())
    assert one.caught is Caught.NOT
    assert not one.is_as_it_should_be


def test_trials_that_were_never_judged_are_not_counted() -> None:
    trials = [replace(TRIAL, id="T-0", board="b"), replace(TRIAL, id="T-1", board="b"), replace(TRIAL, id="T-2", board="c")]
    judged = {"T-0": Judgement(trial="T-0", verdict=Verdict.PASS, outcome=Outcome.UPDATED, reason="")}

    (one,) = matrix(PROMISING, trials, judged, {})

    assert (one.board, one.trials) == ("b", 1)
