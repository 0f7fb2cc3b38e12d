"""The practice suite on virtual boards: a good device proves, a bad one is found out, and a declared weakness is never silent."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from rig.cli import main
from rig.config import Configuration, load
from rig.model import Judgement, Outcome, Trial, Verdict
from rig.practices import REQUIREMENTS, Practice, PracticeScore, Shown, Standing, score
from rig.product import Product
from rig.run.prepare import create_campaign
from rig.run.selfcheck import Caught, matrix, plant
from rig.store import Session
from tests_hil.campaigns import ROOT, SCENARIOS, run_trial

PRODUCTS = ROOT / "products"
SUITE = SCENARIOS / "practices"
Ran = list[tuple[Trial, Judgement]]


def suite_files(*names: str) -> list[Path]:
    return [next(SUITE.rglob(f"{name}.yaml")) for name in names]


def configured(product: str, *names: str, product_file: Path | None = None) -> Configuration:
    folder = PRODUCTS / product
    return load(folder / "boards.yaml", suite_files(*names), product=product_file or folder / "product.yaml")


def run(configuration: Configuration, folder: Path, trials: int | None = None) -> Ran:
    """Plan and run in this process; returns each trial with its judgement."""
    campaign = create_campaign(configuration, folder, seed=None, trials=trials, clock="virtual", argv=["test"], configs={})
    with Session(campaign) as session:
        return [(trial, run_trial(session, trial)) for trial in campaign.plan.trials]


def product_of(ran: Ran) -> Product:
    product = ran[0][0].product
    assert product is not None
    return product


def scored(ran: Ran) -> dict[str, PracticeScore]:
    shown = [Shown(scenario=trial.scenario, trial=trial.id, finding=finding) for trial, judgement in ran for finding in judgement.findings]
    return {one.practice.slug: one for one in score(product_of(ran), shown)}


def standings(ran: Ran) -> dict[str, Standing]:
    return {one.requirement.id: one.standing for practice in scored(ran).values() for one in practice.requirements}


@dataclass(frozen=True)
class Done:
    """What a command left: its exit code and its words."""

    returncode: int
    stdout: str
    stderr: str


Command = Callable[..., Done]


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """The command line in this process: importing everything anew costs more than the trials do."""

    def call(*arguments: object, folder: Path) -> Done:
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "argv", ["rig", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        out, err = capfd.readouterr()
        assert "internal error" not in err
        return Done(code, out, err)

    return call


# ------------------------------------------------------------------------------------------------------------- good boards
@pytest.mark.parametrize(
    ("product", "names"),
    [
        ("sample-smp", ("smp-undisturbed", "smp-access", "smp-unsigned", "smp-tampered", "smp-no-image", "smp-unit")),
        ("sample-dfu", ("dfu-undisturbed", "dfu-access", "dfu-hardware", "dfu-tampered", "dfu-unit")),
    ],
)
def test_a_good_device_proves_whatever_it_is_asked_to(tmp_path: Path, product: str, names: Sequence[str]) -> None:
    configuration = configured(product, *names)

    ran = run(configuration, tmp_path / "campaign", trials=1)

    assert [judgement.reason for _, judgement in ran if judgement.verdict is not Verdict.PASS] == []
    asked = {name for scenario in configuration.scenarios for name in scenario.proves}
    assert {name: standing for name, standing in standings(ran).items() if name in asked and standing is not Standing.PROVEN} == {}
    assert all(finding.because for _, judgement in ran for finding in judgement.findings if finding.met is not None)


def test_what_nobody_tested_is_not_proven(tmp_path: Path) -> None:
    found = scored(run(configured("sample-smp", "smp-undisturbed"), tmp_path / "campaign", trials=1))

    assert found["signing"].standing is Standing.PARTLY
    assert found["versions"].standing is Standing.NOT_COVERED
    assert found["keys"].standing is Standing.PARTLY
    assert next(one for one in found["keys"].requirements if one.requirement.id == "keys.element").standing is Standing.INSPECTION_NEEDED


def test_looking_at_a_unit_changes_nothing_in_it(tmp_path: Path) -> None:
    configuration = configured("sample-smp", "smp-unit")
    campaign = create_campaign(configuration, tmp_path / "campaign", seed=None, trials=None, clock="virtual", argv=["test"], configs={})
    (trial,) = campaign.plan.trials
    with Session(campaign) as session:
        judgement = run_trial(session, trial)

    kinds = {event.kind for event in campaign.journal(trial.id).events}
    assert (judgement.verdict, judgement.outcome, trial.board) == (Verdict.PASS, Outcome.INSPECTED, "unit")
    assert kinds.isdisjoint({"probe.program", "probe.read", "upload.chunk", "supply.off"})
    assert "keys.protection" in kinds


# -------------------------------------------------------------------------------------------------------- declared weaknesses
def test_a_declared_weakness_is_failed_or_an_accepted_risk_and_never_silent(tmp_path: Path) -> None:
    accepted = PRODUCTS / "sample-dfu-single-bank" / "product.yaml"
    text = accepted.read_text(encoding="utf-8")
    frank = tmp_path / "product.yaml"
    frank.write_text(text[: text.index("accepted_risks:")], encoding="utf-8")
    found = {}
    for name, file in (("accepted", accepted), ("frank", frank)):
        found[name] = scored(run(configured("sample-dfu-single-bank", "dfu-hardware", product_file=file), tmp_path / name))

    for slug in ("encryption", "channel", "recovery"):
        assert (found["accepted"][slug].standing, found["frank"][slug].standing) == (Standing.ACCEPTED_RISK, Standing.FAILED), slug
    assert "whoever is in radio range may update it" in found["accepted"]["channel"].reason
    assert "open to everybody" in found["frank"]["channel"].reason
    assert found["frank"]["versions"].standing is Standing.PARTLY, "what the trial proved stands beside it"


# -------------------------------------------------------------------------------------------------------- known-bad boards
@dataclass(frozen=True)
class Bad:
    """A defect on a board of a product, the scenario that shows it, and what it violates."""

    product: str
    defect: str
    scenario: str
    requirement: str

    @property
    def practice(self) -> Practice:
        return REQUIREMENTS[self.requirement].practice


BAD = [
    Bad("sample-smp", "M06", "smp-unsigned", "signing.unsigned"),
    Bad("sample-smp", "M25", "smp-lower-version", "versions.lower"),
    Bad("sample-smp", "M17", "smp-access", "channel.stranger"),
    Bad("sample-smp", "M15", "smp-undisturbed", "encryption.flash"),
    Bad("sample-smp", "M59", "smp-undisturbed", "logging.result"),
    Bad("sample-smp", "M78", "smp-unit", "keys.readback"),
    Bad("sample-dfu", "M75", "dfu-undisturbed", "awareness.name"),
    Bad("sample-dfu", "M76", "dfu-undisturbed", "crypto.time"),
]


@pytest.mark.parametrize("bad", BAD, ids=[bad.defect for bad in BAD])
def test_a_bad_device_fails_the_requirement_that_it_violates(tmp_path: Path, bad: Bad) -> None:
    configuration, defects = plant(configured(bad.product, bad.scenario), short=False, only=(bad.defect,))

    ran = run(configuration, tmp_path / "campaign")

    assert standings(ran)[bad.requirement] is Standing.FAILED
    (row,) = matrix(product_of(ran), [trial for trial, _ in ran], {trial.id: judgement for trial, judgement in ran}, defects)
    assert (row.caught, row.blamed) == (Caught.RIGHT, (bad.practice,))
    violations = [finding for _, judgement in ran for finding in judgement.findings if finding.met is False]
    assert bad.requirement in {finding.requirement for finding in violations}
    assert all(finding.because for finding in violations), "the evidence is named"


# ----------------------------------------------------------------------------------------------------------- command line
def test_practices_lists_requirements_clauses_and_what_proves_them(rig: Command) -> None:
    everything = rig("practices", folder=ROOT)
    one = rig("practices", "keys", "--product", PRODUCTS / "sample-smp" / "product.yaml", folder=ROOT)
    by_number = rig("practices", "11", folder=ROOT)
    wrong = rig("practices", "luck", folder=ROOT)

    assert everything.returncode == one.returncode == by_number.returncode == 0
    assert [line.split()[0] for line in everything.stdout.splitlines() if line[:2].strip().isdigit()] == [str(number) for number in range(1, 12)]
    assert "ETSI EN 303 645 5.3-2" in everything.stdout
    assert "proved by smp-unit" in one.stdout and "dfu-unit" not in one.stdout
    assert "inspection: " in one.stdout
    assert "dfu-unit" in by_number.stdout
    assert wrong.returncode == 3
    assert "11 keys" in wrong.stderr


def proving(listing: str, requirement: str) -> str:
    """The line behind that of the requirement: what proves it, or why nothing does."""
    lines = listing.splitlines()
    return next(lines[at + 1].strip() for at, line in enumerate(lines) if line.split()[:1] == [requirement])


def test_practices_names_each_file_once_and_only_what_the_product_would_run(tmp_path: Path, rig: Command) -> None:
    """A file that spoils images in two ways makes two scenarios; where there is no way back, one that expects it is left out."""
    text = (PRODUCTS / "sample-smp" / "product.yaml").read_text(encoding="utf-8")
    overwriting = tmp_path / "product.yaml"
    overwriting.write_text(text.replace("protocol: smp\n", "protocol: smp\nrolls_back: false\n"), encoding="utf-8")

    every = rig("practices", folder=ROOT).stdout
    swaps = rig("practices", "--product", PRODUCTS / "sample-smp" / "product.yaml", folder=ROOT).stdout
    overwrites = rig("practices", "--product", overwriting, folder=ROOT).stdout

    assert proving(every, "signing.malformed") == "proved by dfu-malformed-image, smp-malformed-image"
    assert proving(swaps, "signing.malformed") == "proved by smp-malformed-image"
    assert "smp-roll-back" in proving(swaps, "logging.result")
    assert "smp-undisturbed" in proving(overwrites, "logging.result") and "smp-roll-back" not in proving(overwrites, "logging.result")
    assert proving(overwrites, "recovery.roll-back").startswith("weak: ")


def test_run_binds_the_suite_to_a_product_and_says_what_it_left_out(tmp_path: Path, rig: Command) -> None:
    folder, (unsigned, other) = PRODUCTS / "sample-smp", suite_files("smp-unsigned", "dfu-unsigned")
    done = rig("run", unsigned, other, "--product", folder / "product.yaml", "--boards", folder / "boards.yaml", "--out", "c", folder=tmp_path)

    assert done.returncode == 0, done.stderr
    assert "left out, since they have nothing to say about the product: dfu-unsigned" in done.stdout
    judgement = json.loads((tmp_path / "c/trials/T-0001/judgement.json").read_text())
    found = {finding["requirement"]: finding["met"] for finding in judgement["findings"]}
    assert found == {"signing.unsigned": True, "recovery.refusal": True, "recovery.user-data": True, "logging.reason": True}
    texts = json.loads((tmp_path / "c/provenance.json").read_text())
    assert "product: sample-smp" in json.dumps(texts)


def test_run_refuses_proofs_without_a_product_and_a_bench_that_does_not_fit(tmp_path: Path, rig: Command) -> None:
    folder, (unsigned,) = PRODUCTS / "sample-smp", suite_files("smp-unsigned")
    without = rig("run", unsigned, "--boards", folder / "boards.yaml", "--out", "c", folder=tmp_path)
    unpaired = rig("run", unsigned, "--product", folder / "product.yaml", "--boards", ROOT / "boards.yaml", "--out", "c", folder=tmp_path)

    assert (without.returncode, unpaired.returncode) == (3, 3)
    assert "smp-unsigned.yaml:" in without.stderr and "--product" in without.stderr
    assert "does not pair" in unpaired.stderr
    assert not (tmp_path / "c").exists()


def test_selfcheck_refuses_what_it_cannot_plant(tmp_path: Path, rig: Command) -> None:
    done = rig("selfcheck", "--only", "M25", folder=tmp_path)

    assert done.returncode == 3
    assert "no product" in done.stderr
