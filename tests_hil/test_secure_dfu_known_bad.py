"""Secure DFU boards with a planted defect: each must be caught with the right outcome, and the good board must pass the same."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from rig.formats import sample_app
from rig.formats.test_key import SignatureAlgorithm, private_key
from rig.images import dfu
from rig.images.sample_package import HW_VERSION, SOFTDEVICE_FWIDS
from rig.model import Outcome, Verdict
from tests_hil.campaigns import boards_file, run_campaign, scenario_file

SMALL, LARGE = "8 KiB", "40 KiB"
REFUSED = {"expect": "refused", "faults": ["none"], "trials": 1}


def cuts(phase: str, longest_ms: int, trials: int) -> dict[str, Any]:
    cut = {"power_cut": {"trigger": {"phase": phase}, "offset_ms": {"uniform": [0, longest_ms]}, "off_ms": 400}}
    return {"faults": [cut], "trials": trials}


def build(version: str, size: str = SMALL) -> dict[str, Any]:
    return {"build": {"version": version, "size": size}}


def package(folder: Path, *, hw_version: int = HW_VERSION, signed: bool = True) -> dict[str, str]:
    """A package as nobody should accept it, made with our own tool."""
    application = sample_app.build(soc="nrf52840", version="1.1.0", address=0x27000, size=8192)
    part = dfu.Part(data=application, version=dfu.parse_version("1.1.0"), sd_req=(SOFTDEVICE_FWIDS["nrf52840"],))
    key = private_key(SignatureAlgorithm.ECDSA_P256) if signed else None
    dfu.save(dfu.build(hw_version=hw_version, application=part, key=key), folder / "new.zip")
    return {"file": "new.zip"}


def judge_device(folder: Path, defect: str | None, **scenario: Any) -> Counter[tuple[Verdict, Outcome]]:
    boards = boards_file(folder, only="nrf52840", protocol="secure_dfu", bootloader={"defects": [defect] if defect else []})
    changes = {"protocol": "secure_dfu", "update": {}, "images": {"old": build("1.0.0"), "new": build("1.1.0")}} | scenario
    return Counter((j.verdict, j.outcome) for j in run_campaign(folder, scenario_file(folder, **changes), boards))


OVERLAP = {"images": {"old": build("1.0.0", SMALL), "new": build("1.1.0", LARGE)}}
DOWNGRADE = {"images": {"old": build("1.1.0"), "new": build("1.0.0")}, **REFUSED}

CASES = [
    pytest.param("settings-without-backup", cuts("reset", 200, 12), Outcome.STUCK_IN_DFU, id="settings-without-backup"),
    pytest.param("bank0-erased-before-validation", cuts("upload", 900, 4) | OVERLAP, Outcome.STUCK_IN_DFU, id="bank0-erased"),
    pytest.param("success-not-stored", {"trials": 1}, Outcome.STUCK_ON_OLD, id="success-not-stored"),
    pytest.param("activation-progress-not-stored", cuts("install", 1800, 10) | OVERLAP, Outcome.STUCK_IN_DFU, id="activation"),
    pytest.param("lower-version-accepted", DOWNGRADE, Outcome.WRONG_IMAGE, id="lower-version"),
]


@pytest.mark.parametrize(("defect", "scenario", "outcome"), CASES)
def test_the_defect_is_caught_and_the_good_device_passes(tmp_path: Path, defect: str, scenario: dict[str, Any], outcome: Outcome) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "good").mkdir()
    bad, good = judge_device(tmp_path / "bad", defect, **scenario), judge_device(tmp_path / "good", None, **scenario)
    assert bad[Verdict.FAIL, outcome] > 0, bad
    assert {verdict for verdict, _ in bad} <= {Verdict.PASS, Verdict.FAIL}
    assert {found for verdict, found in bad if verdict is Verdict.FAIL} == {outcome}
    assert {verdict for verdict, _ in good} == {Verdict.PASS}, good


@pytest.mark.parametrize(
    ("defect", "spoiled"),
    [("wrong-hardware-version-accepted", {"hw_version": 51}), ("unsigned-accepted", {"signed": False})],
    ids=["hardware version", "unsigned"],
)
def test_a_package_that_must_be_refused(tmp_path: Path, defect: str, spoiled: dict[str, Any]) -> None:
    outcomes = []
    for name, planted in (("bad", defect), ("good", None)):
        folder = tmp_path / name
        folder.mkdir()
        images = {"old": build("1.0.0"), "new": package(folder, **spoiled)}
        outcomes.append(judge_device(folder, planted, images=images, **REFUSED))
    assert outcomes[0] == {(Verdict.FAIL, Outcome.WRONG_IMAGE): 1}
    assert outcomes[1] == {(Verdict.PASS, Outcome.REFUSED): 1}


def test_a_declared_single_bank_may_lose_its_application_until_the_next_update(tmp_path: Path) -> None:
    """The same cut is a failure on a board that does not declare it."""
    verdicts = {}
    for declared in (True, False):
        folder = tmp_path / str(declared)
        folder.mkdir()
        boards = boards_file(folder, only="nrf52840", protocol="secure_dfu", bootloader={"single_bank": True})
        text = boards.read_text()
        boards.write_text(text.replace('"soc": "nrf52840"', f'"in_place": {str(declared).lower()}, "soc": "nrf52840"'))
        changes = {"protocol": "secure_dfu", "update": {}, "images": {"old": build("1.0.0"), "new": build("1.1.0", LARGE)}}
        changes |= {"faults": [{"power_cut": {"trigger": {"chunk": 4}, "off_ms": 400}}], "trials": 1}
        (judgement,) = run_campaign(folder, scenario_file(folder, **changes), boards)
        verdicts[declared] = (judgement.verdict, judgement.outcome)
    assert verdicts[True] == (Verdict.PASS, Outcome.RECOVERED_ON_RETRY)
    assert verdicts[False] == (Verdict.FAIL, Outcome.STUCK_IN_DFU)


def test_both_protocols_share_a_boards_file_and_a_campaign(tmp_path: Path) -> None:
    """The shipped boards file has boards of both kinds; each scenario takes its own."""
    from tests_hil.campaigns import ROOT, SCENARIOS

    for name in ("smp-demo", "dfu-power-cuts"):
        folder = tmp_path / name
        folder.mkdir()
        judgements = run_campaign(folder, SCENARIOS / f"{name}.yaml", ROOT / "boards.yaml", trials=8)
        assert {j.verdict for j in judgements} == {Verdict.PASS}


def test_the_same_protocol_over_a_serial_port(tmp_path: Path) -> None:
    """The radio is out of the way; the cuts, the phases and the words are the same."""
    boards = boards_file(
        tmp_path, only="nrf52840", protocol="secure_dfu", bootloader={"transport": "serial", "enter_by_pin_reset": True}
    )
    boards.write_text(boards.read_text().replace('"soc": "nrf52840"', '"dfu_port": "virtual:dk1/serial", "soc": "nrf52840"'))
    changes = {"protocol": "secure_dfu", "update": {}, "images": {"old": build("1.0.0"), "new": build("1.1.0", "24 KiB")}}
    faults = ["none", *cuts("upload", 2000, 1)["faults"], *cuts("install", 1200, 1)["faults"]]
    judgements = run_campaign(tmp_path, scenario_file(tmp_path, **changes, faults=faults, trials=9), boards)
    assert {judgement.verdict for judgement in judgements} == {Verdict.PASS}, [j.reason for j in judgements]
    assert {judgement.fault_phase for judgement in judgements} >= {None, "upload", "install"}
