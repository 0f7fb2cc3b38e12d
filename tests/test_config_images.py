"""The images of a scenario file: what is asked for arrives, and what contradicts itself is reported at its place."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from rig import config
from rig.formats import test_key
from rig.formats.spoil_kinds import KINDS, Format
from rig.formats.test_key import SignatureAlgorithm
from rig.images.sample_app import build_signed
from rig.scenario import ImageBuild, ImageNeed, ImagePath
from tests.config_files import BOARDS, SCENARIO, Mistake, boards, edited, only, scenario, scenario_problems, write

NEW = "{build: {version: 1.1.0, size: 64 KiB}}"
SPOILED = edited(SCENARIO, NEW, NEW[:-1] + ", spoil: flip-body}") + "expect: refused\n"
DFU = SCENARIO.replace("protocol: smp", "protocol: secure_dfu").replace("update: {request: test, confirm: true}\n", "")


def test_what_a_scenario_says_about_its_images_arrives(tmp_path: Path) -> None:
    text = edited(SPOILED, "1.1.0, size: 64 KiB}", '1.1.0, size: 64 KiB, security_counter: 7, needs: {image: 1, version: "1.2.0"}}')
    images = scenario(tmp_path, edited(text, "update:", "  encrypted: true\nupdate:")).images

    new = images.new.every
    assert isinstance(new, ImageBuild)
    assert (new.spoil, new.security_counter, new.needs) == ("flip-body", 7, ImageNeed(image=1, version="1.2.0"))
    assert (images.encrypted, images.encryption_key) == (True, None)
    dfu = scenario(tmp_path, edited(DFU, "1.1.0, size: 64 KiB}", "1.1.0, size: 64 KiB, hardware: 7, softdevice: [257]}")).images.new.every
    assert isinstance(dfu, ImageBuild)
    assert (dfu.hardware, dfu.softdevice) == (7, (257,))


def test_a_key_for_encryption_means_encrypted_images(tmp_path: Path) -> None:
    key = test_key.private_key()
    write(tmp_path, "bootloader.pem", key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    images = scenario(tmp_path, edited(SCENARIO, "update:", "  encryption_key: bootloader.pem\nupdate:")).images

    assert (images.encrypted, images.encryption_key) == (True, str(tmp_path / "bootloader.pem"))
    wrong = test_key.private_key(SignatureAlgorithm.ED25519)
    write(tmp_path, "bootloader.pem", wrong.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    problem = only(scenario_problems(tmp_path, edited(SCENARIO, "update:", "  encryption_key: bootloader.pem\nupdate:")))
    assert (problem.key, "P-256" in problem.reason) == ("images.encryption_key", True)


@pytest.mark.parametrize("protocol_text", [SPOILED, SPOILED.replace("smp", "secure_dfu").replace("update: {request: test, confirm: true}\n", "")])
def test_every_kind_of_the_protocol_is_known_with_its_expectation(tmp_path: Path, protocol_text: str) -> None:
    form = Format.SECURE_DFU if "secure_dfu" in protocol_text else Format.MCUBOOT
    for name, kind in KINDS[form].items():
        text = protocol_text.replace("flip-body", name)
        wanted, other = ("refused", "updated") if kind.expectation.must_not_run else ("updated", "refused")

        assert scenario(tmp_path, text.replace("expect: refused", f"expect: {wanted}")).images.new.every is not None
        problem = only(scenario_problems(tmp_path, text.replace("expect: refused", f"expect: {other}")))
        assert (problem.key, problem.hint) == ("images.new.spoil", f"expect: {wanted}")
        assert problem.reason == f"{kind.expected}, but the scenario expects {other}"


MISTAKES = [
    Mistake("spoil: flip-body", "spoil: flip-bdy", "flip-bdy", "images.new.spoil", "no kind 'flip-bdy'; did you mean 'flip-body'?"),
    Mistake("spoil: flip-body", "spoil: debug-flag", "debug-flag", "images.new.spoil", "for this MCUboot image there are unsigned, hash-only"),
    Mistake("spoil: flip-body", "spoil: 3", "3}", "images.new.spoil", "not a kind, nor a list of kinds"),
    Mistake("spoil: flip-body", "spoil: [flip-body, flip-bdy]", "[flip-body", "images.new.spoil", "did you mean 'flip-body'?"),
    Mistake("spoil: flip-body", "spoil: []", "[]", "images.new.spoil", "not a kind, nor a list of kinds"),
    Mistake("spoil: flip-body", "spoyl: flip-body", "spoyl", "images.new.spoyl", "unknown key", "'spoil'"),
    Mistake("expect: refused\n", "", "flip-body", "images.new.spoil", "a good device refuses it at the next boot", "expect: refused"),
    Mistake("1.0.0, size: 64 KiB}", "1.0.0, size: 64 KiB}, spoil: flip-body", "flip-body}\n  new", "images.old.spoil", "only images.new"),
    Mistake("1.0.0, size: 64 KiB", "1.0.0, size: 64 KiB, hardware: 3", "3}", "images.old.build.hardware", "belongs to secure_dfu"),
    Mistake("1.0.0, size: 64 KiB", "1.0.0, size: 64 KiB, security_counter: -1", "-1", "images.old.build.security_counter", "below the minimum"),
    Mistake("1.0.0, size: 64 KiB", "1.0.0, size: 64 KiB, needs: {image: 1}", "needs", "images.old.build.needs.version", "is missing"),
    Mistake("update:", "  encryption_key: cuts.yaml\nupdate:", "cuts.yaml", "images.encryption_key", "not a private key in PEM form"),
]  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES, ids=str)
def test_mistake_about_the_images(tmp_path: Path, mistake: Mistake) -> None:
    text = edited(SPOILED, mistake.old, mistake.new)

    problem = only(scenario_problems(tmp_path, text))

    mistake.check(problem, text)


@pytest.mark.parametrize(("line", "key"), [("  encrypted: true\n", "images.encrypted"), ("", "images.old.build.security_counter")])
def test_what_secure_dfu_has_not_is_refused(tmp_path: Path, line: str, key: str) -> None:
    text = DFU.replace("faults:", f"{line}faults:") if line else DFU.replace("1.0.0, size: 64 KiB", "1.0.0, size: 64 KiB, security_counter: 1")

    assert only(scenario_problems(tmp_path, text)).key == key


def test_a_spoiled_file_may_be_the_old_one_and_is_checked_with_the_boards(tmp_path: Path) -> None:
    board = boards(tmp_path, edited(BOARDS, "- name: dk2", "- name: dk2x")).boards[0]
    good = Path(build_signed(ImageBuild(version="1.0.0", size=4096), soc=board.soc, memory=board.memory, folder=tmp_path).path)
    text = edited(SPOILED, "{build: {version: 1.0.0, size: 64 KiB}}", f"{{file: {good.name}}}").replace("boards: all", "boards: [dk1]")
    text = edited(text, "{build: {version: 1.1.0, size: 64 KiB}, spoil: flip-body}", f"{{file: {good.name}, spoil: flip-body}}")
    found = scenario(tmp_path, text)

    assert found.images.new.every == ImagePath(path=str(good), spoil="flip-body")
    config.check(boards(tmp_path), (found,))
    problem = only(scenario_problems(tmp_path, edited(text, ", spoil: flip-body", "").replace("expect: refused\n", "")))
    assert "same image as images.old" in problem.reason
