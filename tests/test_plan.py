"""Planning: exact proportions, recorded randomness, nothing that cannot fire."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

from rig.model import (
    Board,
    Expectation,
    ImageFile,
    ImageSet,
    InstrumentSpec,
    Limits,
    MemoryMap,
    Phase,
    Protocol,
    Region,
    Request,
    Trial,
    TriggerKind,
)
from rig.plan import plan
from rig.scenario import (
    Acceptance,
    BoardSelection,
    Choice,
    FaultShare,
    FaultTemplate,
    Fixed,
    ImageBuild,
    ImageChoice,
    Images,
    Scenario,
    TriggerTemplate,
    Uniform,
)

SPEC = InstrumentSpec(driver="x")
MEMORY = MemoryMap(
    primary=Region(start=0xC000, size=0x76000), secondary=Region(start=0x82000, size=0x76000), user_data=Region(start=0xF8000, size=0x8000)
)


def board(name: str, soc: str = "nrf52840", protocol: Protocol = Protocol.SMP) -> Board:
    return Board(
        name=name, soc=soc, protocol=protocol, ble_name=name, memory=MEMORY, probe=SPEC, supply=SPEC, console=SPEC, radio=SPEC
    )


def image(version: str) -> ImageFile:
    return ImageFile(path=f"{version}.bin", sha256=version, size=65536, version=version, image_hash=version)


def dealt_trials(*arguments: Any, **options: Any) -> tuple[Trial, ...]:
    return plan(*arguments, **options).trials


def cut(phase: Phase | None, kind: TriggerKind = TriggerKind.PHASE, share: int = 1, count: Fixed | Uniform | None = None) -> FaultShare:
    trigger = TriggerTemplate(kind=kind, phase=phase, count=count or Fixed(value=1), offset_s=Uniform(low=0.0, high=2.0))
    return FaultShare(programme=(FaultTemplate(trigger=trigger, off_s=Choice(values=(0.3, 0.5))),), share=share)


BUILD = ImageChoice(every=ImageBuild(version="1.0.0", size=65536))
SCENARIO = Scenario(
    name="s", description="", protocol=Protocol.SMP, boards=BoardSelection(), images=Images(old=BUILD, new=BUILD), request=Request.TEST,
    confirm=True, staged=0.0, again=0.25, trials=40, seed=5, limits=Limits(), expect=Expectation.UPDATED, accept=Acceptance(), file="s.yaml",
    faults=(
        FaultShare(),
        cut(Phase.INSTALL, share=2),
        cut(Phase.UPLOAD, TriggerKind.CHUNK, count=Uniform(low=1, high="all")),
    ),
)  # fmt: skip
BOARDS = [board("dk1"), board("dk2"), board("dk3", "nrf52832"), board("dfu", protocol=Protocol.SECURE_DFU)]
IMAGES = {("s", b.name): ImageSet(old=image("1.0.0"), new=image("1.1.0"), again=image("1.2.0")) for b in BOARDS}


def test_faults_are_dealt_in_exact_proportion() -> None:
    trials = dealt_trials([SCENARIO], BOARDS, IMAGES)
    assert Counter(trial.stratum for trial in trials) == {"control": 10, "install": 20, "upload": 10}


def test_every_board_of_the_protocol_takes_its_turn_and_gets_every_fault() -> None:
    trials = dealt_trials([SCENARIO], BOARDS, IMAGES, trials=120)
    assert Counter(trial.board for trial in trials) == {"dk1": 40, "dk2": 40, "dk3": 40}
    for name in ("dk1", "dk2", "dk3"):
        assert {trial.stratum for trial in trials if trial.board == name} == {"control", "install", "upload"}


def test_the_same_seed_gives_the_same_plan_and_another_seed_another() -> None:
    assert dealt_trials([SCENARIO], BOARDS, IMAGES) == dealt_trials([SCENARIO], BOARDS, IMAGES)
    assert dealt_trials([SCENARIO], BOARDS, IMAGES, seed=6) != dealt_trials([SCENARIO], BOARDS, IMAGES)


def test_draws_stay_in_their_range() -> None:
    chunks = set()
    for trial in dealt_trials([SCENARIO], BOARDS, IMAGES, trials=400):
        if trial.fault:
            assert 0.0 <= trial.fault.trigger.offset_s <= 2.0
            assert trial.fault.off_s in (0.3, 0.5)
            if trial.stratum == "upload":
                chunks.add(trial.fault.trigger.count)
    assert chunks <= set(range(1, 65536 // 2475 + 1))
    assert len(chunks) > 15


def test_only_trials_that_need_no_upload_are_staged() -> None:
    trials = dealt_trials([replace(SCENARIO, staged=1.0)], BOARDS, IMAGES)
    assert all(trial.staged == (trial.stratum != "upload") for trial in trials)


def test_the_share_of_further_updates_is_exact() -> None:
    assert sum(trial.again is not None for trial in dealt_trials([SCENARIO], BOARDS, IMAGES)) == 10


def test_ids_and_seeds_are_unique() -> None:
    trials = dealt_trials([SCENARIO, replace(SCENARIO, name="t")], BOARDS, IMAGES | {("t", name): images for (_, name), images in IMAGES.items()})
    assert len({trial.id for trial in trials}) == len({trial.seed for trial in trials}) == 80
