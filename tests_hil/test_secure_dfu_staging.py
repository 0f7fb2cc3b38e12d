"""Secure DFU trials that begin with the installation: the flash that the probe leaves is the one that a transfer over the air leaves."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from rig.coverage import coverage
from rig.errors import ConfigError
from rig.formats.dfu_settings import BankCode, DfuSettings
from rig.model import Board, Event, Judgement, Trial, Verdict
from rig.run.rounds import Rounds
from rig.run.single import run_one
from rig.store import Campaign, Session
from rig.virtual.world import CURRENT_WORLD
from tests_hil.campaigns import boards_file, plan_campaign, run_campaign, scenario_file
from tests_hil.test_command_line import rig

SETTINGS, BACKUP = 0xFF000, 0xFE000
BANK0, BANK1 = 0x27000, 0x2B000
"""Bank 1 begins behind the 16 KiB of the old application."""
SINGLE_BANK = {"bootloader": {"single_bank": True}}
CUT = {"power_cut": {"trigger": {"phase": "install"}, "offset_ms": 300, "off_ms": 300}}


def scenario(folder: Path, **changes: Any) -> Path:
    document = {"protocol": "secure_dfu", "update": {"staged": 0.5}, "trials": 2, **changes}
    return scenario_file(folder, **document)


def boards(folder: Path, *, in_place: bool = False, **model: Any) -> Path:
    path = boards_file(folder, only="nrf52840", protocol="secure_dfu", **model)
    document = json.loads(path.read_text())
    document["defaults"]["in_place"] = in_place
    path.write_text(json.dumps(document))
    return path


class Bench:
    """Runs trials of a campaign and keeps the flash as it is when the installation begins, and every event."""

    def __init__(self, folder: Path, scenario_path: Path, boards_path: Path) -> None:
        self.campaign = plan_campaign(folder, scenario_path, boards_path)
        self.flash: dict[bool, bytes] = {}
        self.events: list[Event] = []

    def run(self, trial: Trial) -> Judgement:
        (board,) = self.campaign.plan.boards
        with Session(self.campaign) as session:

            def begin(now: Any) -> Any:
                attempt = session.begin(trial.id, now)
                attempt.journal.listen(lambda event: self._hear(event, trial, board))
                return attempt

            return run_one(
                trial, board, self.campaign.plan.bench, clock="virtual", begin=begin, image_path=self.campaign.image
            )

    def _hear(self, event: Event, trial: Trial, board: Board) -> None:
        self.events.append(event)
        if event.kind == "phase.start" and event.data["phase"] == "install" and trial.staged not in self.flash:
            soc = CURRENT_WORLD.get().board(board.name, user="test").soc
            self.flash[trial.staged] = soc.flash.read(0, soc.facts.part.flash_size)


def stood(bench: Bench) -> tuple[bytes, bytes]:
    """The flash at the beginning of the installation after a transfer, and as it was placed; the marker in the user data is the trial's."""
    for trial in bench.campaign.plan.trials:
        assert bench.run(trial).verdict is Verdict.PASS
    (board,) = bench.campaign.plan.boards
    data = board.memory.user_data
    sent, placed = (bytearray(bench.flash[staged]) for staged in (False, True))
    sent[data.start : data.end] = placed[data.start : data.end]
    return bytes(sent), bytes(placed)


def differing(one: bytes, other: bytes) -> list[str]:
    """The addresses at which two flashes differ, those that adjoin as one range."""
    places = [at for at, (left, right) in enumerate(zip(one, other, strict=True)) if left != right]
    groups = itertools.groupby(enumerate(places), key=lambda item: item[1] - item[0])
    ranges = [[at for _, at in group] for _, group in groups]
    return [f"0x{group[0]:x}-0x{group[-1]:x}" for group in ranges]


@pytest.mark.parametrize("size", ["16 KiB", "20 KiB", "10000 B"])
def test_what_is_placed_behind_the_application_is_what_a_transfer_leaves(tmp_path: Path, size: str) -> None:
    images = {"old": {"build": {"version": "1.0.0", "size": "16 KiB"}}, "new": {"build": {"version": "1.1.0", "size": size}}}
    sent, placed = stood(Bench(tmp_path, scenario(tmp_path, images=images), boards(tmp_path)))
    assert differing(sent, placed) == []
    settings = DfuSettings(placed[SETTINGS : SETTINGS + 896])
    assert (settings.bank1.code, settings.bank0.code, settings.update_start) == (BankCode.APPLICATION, BankCode.INVALID, BANK1)


@pytest.mark.parametrize("new", ["12 KiB", "20 KiB"])
def test_what_is_placed_over_the_application_is_what_a_transfer_leaves(tmp_path: Path, new: str) -> None:
    """What the new image does not reach of the old one is still there."""
    images = {"old": {"build": {"version": "1.0.0", "size": "16 KiB"}}, "new": {"build": {"version": "1.1.0", "size": new}}}
    sent, placed = stood(Bench(tmp_path, scenario(tmp_path, images=images), boards(tmp_path, in_place=True, **SINGLE_BANK)))
    assert differing(sent, placed) == []
    settings = DfuSettings(placed[SETTINGS : SETTINGS + 896])
    assert (settings.bank0.size, settings.update_start) == (0, BANK0)


def test_an_image_that_does_not_fit_behind_the_application_is_placed_over_it(tmp_path: Path) -> None:
    images = {name: {"build": {"version": version, "size": "430 KiB"}} for name, version in (("old", "1.0.0"), ("new", "1.1.0"))}
    sent, placed = stood(Bench(tmp_path, scenario(tmp_path, images=images), boards(tmp_path)))
    assert differing(sent, placed) == []
    assert DfuSettings(placed[BACKUP : BACKUP + 896]).update_start == BANK0


def test_the_record_says_what_was_staged_and_nothing_is_uploaded(tmp_path: Path) -> None:
    bench = Bench(tmp_path, scenario(tmp_path, update={"staged": 1.0}, faults=[CUT], trials=1), boards(tmp_path))
    (trial,) = bench.campaign.plan.trials
    judgement = bench.run(trial)
    assert (judgement.verdict, judgement.fault_proved, judgement.fault_phase) == (Verdict.PASS, True, "install")
    programmed = [(event.data["old"], event.data["staged"]) for event in bench.events if event.kind == "probe.program"]
    assert programmed == [("1.0.0", None), ("1.0.0", "1.1.0")]
    update = itertools.takewhile(lambda event: event.kind != "observe.start", bench.events)
    phases = [event.data["phase"] for event in update if event.kind == "phase.start"]
    assert phases[:5] == ["flash", "boot", "flash", "reset", "install"]
    assert "upload" not in phases


def test_a_cut_before_the_installation_is_never_staged(tmp_path: Path) -> None:
    cuts = [{"power_cut": {"trigger": {"phase": phase}, "off_ms": 300}} for phase in ("connect", "upload", "mark", "reset", "install")]
    bench = Bench(tmp_path, scenario(tmp_path, update={"staged": 1.0}, faults=cuts, trials=10), boards(tmp_path))
    staged = {trial.fault.trigger.phase.value for trial in bench.campaign.plan.trials if trial.staged and trial.fault and trial.fault.trigger.phase}
    assert staged == {"install"}


@pytest.mark.parametrize("spoil", [None, "hash-flipped"])
def test_a_package_to_be_refused_is_not_staged(tmp_path: Path, spoil: str | None) -> None:
    new: dict[str, Any] = {"build": {"version": "1.1.0", "size": "16 KiB"}}
    if spoil is not None:
        new["spoil"] = spoil
    images = {"old": {"build": {"version": "1.0.0", "size": "16 KiB"}}, "new": new}
    path = scenario(tmp_path, images=images, expect="refused", update={"staged": 1.0})
    with pytest.raises(ConfigError, match=r"update\.staged: nothing can be staged: a bootloader that refuses"):
        plan_campaign(tmp_path, path, boards(tmp_path))


def test_a_product_that_hands_its_bond_over_is_not_staged(tmp_path: Path) -> None:
    path = scenario(tmp_path, update={"staged": 1.0})
    product = Path("products/sample-dfu")
    done = rig(
        "check", path, "--boards", product / "boards.yaml", "--product", product / "product.yaml", folder=Path.cwd()
    )
    assert done.returncode != 0
    assert "nothing can be staged: the application hands its bond over" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("options", "known"),
    [({}, {"erase": 8, "write": 1, "status": 4}), ({"in_place": True, **SINGLE_BANK}, {"erase": 2, "status": 2})],
    ids=["two banks", "one bank"],
)
def test_every_operation_of_an_installation_is_struck(tmp_path: Path, options: dict[str, Any], known: dict[str, int]) -> None:
    """One way and the other make the same operations: what is known of one counts for both."""
    aim = {"plan": "every", "phases": ["install"]}
    path = scenario(tmp_path, update={}, faults=[{"power_cut": {"aim": aim, "off_ms": 300}}], trials=50)
    judgements = run_campaign(tmp_path, path, boards(tmp_path, **options))
    assert {judgement.verdict for judgement in judgements} == {Verdict.PASS}
    campaign = Campaign.open(tmp_path / "campaign")
    progress = Rounds(campaign).progress(0)
    cells = [cell for cell in coverage(progress.known, progress.shots).cells() if cell.phase == "install"]
    assert {cell.kind: cell.known for cell in cells} == known
    assert [cell.never for cell in cells] == [()] * len(known)
    installed = [operation for operation in progress.known if operation.site.phase == "install"]
    assert all(operation.starts[staged] for operation in installed for staged in (False, True))
    cuts = [trial for trial in campaign.plan.trials if trial.fault is not None]
    assert len(cuts) < 40, "it ends when everything has been struck"
    assert any(trial.staged for trial in cuts)
