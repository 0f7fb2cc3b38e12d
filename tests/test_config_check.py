"""Boards, scenarios and image files together: do they fit?"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rig import config
from rig.errors import ConfigError, Problem
from rig.images.sample_app import build_signed
from rig.model import ImageFile
from rig.scenario import ImageBuild
from tests.config_files import (
    BOARDS,
    REPOSITORY,
    SCENARIO,
    boards,
    boards_problems,
    edited,
    only,
    place,
    scenario,
    scenario_problems,
    write,
)


def checked_problems(folder: Path, *, boards_text: str = BOARDS, scenario_text: str = SCENARIO) -> tuple[Problem, ...]:
    with pytest.raises(ConfigError) as caught:
        config.check(boards(folder, boards_text), (scenario(folder, scenario_text),))
    return caught.value.problems


def test_good_files_fit_together(tmp_path: Path) -> None:
    config.check(boards(tmp_path), (scenario(tmp_path),))


def test_unknown_board_name(tmp_path: Path) -> None:
    text = edited(SCENARIO, "boards: all", "boards: [dk1, dk22]")

    problem = only(checked_problems(tmp_path, scenario_text=text))

    assert (problem.line, problem.column) == place(text, "dk22")
    assert problem.key == "boards[1]"
    assert "'dk2'" in problem.hint
    assert problem.excerpt.endswith("^")


def test_no_board_for_the_scenario(tmp_path: Path) -> None:
    text = edited(SCENARIO, "boards: all", "boards: {soc: [nrf52833]}")

    problem = only(checked_problems(tmp_path, scenario_text=text))

    assert problem.key == "boards"
    assert "nrf52833" in problem.reason


def test_image_to_build_must_fit_the_smallest_slot(tmp_path: Path) -> None:
    # 55 pages less trailer and offset page are 217088 bytes: 208 KiB fit with header and signature, 212 KiB do not.
    fits = edited(SCENARIO, "version: 1.1.0, size: 64 KiB", "version: 1.1.0, size: 208 KiB")
    config.check(boards(tmp_path), (scenario(tmp_path, fits),))
    text = edited(SCENARIO, "version: 1.1.0, size: 64 KiB", "version: 1.1.0, size: 212 KiB")

    problem = only(checked_problems(tmp_path, scenario_text=text))

    assert (problem.line, problem.column) == place(text, "212 KiB")
    assert problem.key == "images.new.build.size"
    assert "'dk2'" in problem.reason
    assert "217088" in problem.reason


def test_trigger_on_flash_operations_needs_a_counter(tmp_path: Path) -> None:
    text = edited(edited(SCENARIO, "boards: all", "boards: [dk1]"), "{phase: install}", "{flash_operation: 3}")

    problem = only(checked_problems(tmp_path, scenario_text=text))

    assert problem.key == "faults[1].power_cut.trigger.flash_operation"
    assert (problem.line, problem.column) == place(text, "3}")
    config.check(boards(tmp_path, edited(BOARDS, "defaults:\n", "defaults:\n  counter: {driver: virtual}\n")), (scenario(tmp_path, text),))


def test_scenario_must_have_an_image_for_every_board(tmp_path: Path) -> None:
    text = edited(SCENARIO, "{build: {version: 1.1.0, size: 64 KiB}}", "{nrf52840: {build: {version: 1.1.0, size: 64 KiB}}}")

    problem = only(checked_problems(tmp_path, scenario_text=text))

    assert problem.key == "images.new"
    assert "nrf52832" in problem.reason
    config.check(boards(tmp_path), (scenario(tmp_path, edited(text, "boards: all", "boards: {soc: [nrf52840]}")),))


def signed(folder: Path, soc: str) -> ImageFile:
    memory = next(board.memory for board in boards(folder).boards if board.soc == soc)
    return build_signed(ImageBuild(version="1.1.0", size=8192), soc=soc, memory=memory, folder=folder)


def with_file(name: str) -> str:
    return edited(SCENARIO, "{build: {version: 1.1.0, size: 64 KiB}}", f"{{file: {name}}}")


@pytest.mark.parametrize(
    ("soc", "board", "reason"),
    [
        ("nrf52840", "dk2", "initial stack pointer 0x20040000 lies beyond the 64 KiB RAM of nrf52832"),
        ("nrf52832", "dk1", "its descriptor says nrf52832, not nrf52840"),
    ],
)
def test_image_for_another_soc(tmp_path: Path, soc: str, board: str, reason: str) -> None:
    name = Path(signed(tmp_path, soc).path).name
    text = edited(with_file(name), "boards: all", f"boards: [{board}]")

    problem = only(checked_problems(tmp_path, scenario_text=text))

    assert (problem.line, problem.column) == place(text, name)
    assert problem.key == "images.new.file"
    assert "image is for another SoC" in problem.reason
    assert reason in problem.reason


def test_image_files_per_soc_fit(tmp_path: Path) -> None:
    names = {soc: Path(signed(tmp_path, soc).path).name for soc in ("nrf52840", "nrf52832")}
    text = edited(SCENARIO, "{build: {version: 1.1.0, size: 64 KiB}}", "{" + ", ".join(f"{soc}: {{file: {name}}}" for soc, name in names.items()) + "}")

    config.check(boards(tmp_path), (scenario(tmp_path, text),))


def test_old_and_new_file_with_the_same_image(tmp_path: Path) -> None:
    record = signed(tmp_path, "nrf52840")
    copy = write(tmp_path, "copy.bin", Path(record.path).read_bytes())
    text = edited(with_file(copy.name), "{build: {version: 1.0.0, size: 64 KiB}}", f"{{file: {Path(record.path).name}}}")

    problem = only(scenario_problems(tmp_path, text))

    assert problem.key == "images.new.file"
    assert "same image as images.old" in problem.reason


SPOILED = [
    (lambda data: b"\0" + data[1:], "bad magic 0x96f3b800"),
    (lambda data: data[:20], "truncated: 20 bytes"),
    (lambda data: data[:5000], "truncated: header and payload take 8704 bytes, the file has 5000"),
    (lambda data: data[:-10], "truncated: the TLV area"),
    (lambda data: data[:6000] + bytes([data[6000] ^ 1]) + data[6001:], "hash wrong"),
    (lambda data: data[:8704] + b"\0\0" + data[8706:], "broken TLV area at offset 8704"),
    (lambda data: b":020000040000FA\n" * 4, "Intel HEX"),
    (lambda data: b"", "truncated: 0 bytes"),
]


@pytest.mark.parametrize(("spoil", "reason"), SPOILED, ids=[row[1] for row in SPOILED])
def test_spoiled_image_file(tmp_path: Path, spoil, reason: str) -> None:
    good = Path(signed(tmp_path, "nrf52840").path).read_bytes()
    write(tmp_path, "bad.bin", spoil(good))
    text = with_file("bad.bin")

    problem = only(scenario_problems(tmp_path, text))

    assert (problem.line, problem.column) == place(text, "bad.bin")
    assert problem.key == "images.new.file"
    assert problem.reason.startswith(f"bad.bin: {reason}") or reason in problem.reason


def test_mistakes_in_the_model_of_a_virtual_board_come_with_their_place(tmp_path: Path) -> None:
    text = edited((REPOSITORY / "boards.yaml").read_text(), "mode: swap-offset", "mode: swap-sideways")

    problems = boards_problems(tmp_path, text)

    assert {(problem.line, problem.key) for problem in problems} == {(place(text, "bootloader:")[0], "defaults.model.bootloader")}


@pytest.mark.parametrize(
    ("section", "options", "words"),
    [
        ("application", "{buf_sise: 100}", "buf_sise"),
        ("soc", "{radio_sink: false}", "radio_sink"),
        ("power", "{capacitance_f: -1}", "capacitance_f"),
    ],
)
def test_options_of_the_virtual_board_that_do_not_exist(tmp_path: Path, section: str, options: str, words: str) -> None:
    text = (REPOSITORY / "boards.yaml").read_text()
    text = text.replace('    application: {class: "rig.virtual.smp_application:SmpApplication"}\n', "", 1)
    text = edited(text, '  model:\n    bootloader: {class: "rig.virtual.mcuboot', f'  model:\n    {section}: {options}\n    bootloader: {{class: "rig.virtual.mcuboot')
    problems = boards_problems(tmp_path, text)
    assert problems
    assert all(words in problem.reason for problem in problems)


def test_a_supply_for_recovery_only_cannot_be_asked_for_a_cut(tmp_path: Path) -> None:
    plug = edited(BOARDS, "supply: {driver: ppk2, voltage_mv: 3000}", "supply: {driver: http-plug, kind: tasmota}")
    found = re.sub(r"supply: \{port: [^}]*\}", "supply: {host: 127.0.0.1}", plug)
    number = iter(range(2, 9))
    found = re.sub(r"127\.0\.0\.1", lambda _: f"127.0.0.{next(number)}", found)
    problems = checked_problems(tmp_path, boards_text=found)
    assert {problem.key for problem in problems} == {"faults[1].power_cut"}
    assert "recovery only" in problems[0].reason


RTT = BOARDS.replace("console: {driver: uart, baudrate: 115200}", "console: {driver: rtt}").replace("    console: {port: /dev/console1}\n", "").replace("    console: {port: /dev/console2}\n", "")


def test_rtt_needs_a_probe_that_reads_it(tmp_path: Path) -> None:
    problems = boards_problems(tmp_path, RTT)
    assert {problem.key for problem in problems} == {"boards[0].console.driver", "boards[1].console.driver"}
    assert "cannot read RTT" in problems[0].reason


def test_a_board_whose_console_is_rtt_cannot_be_asked_for_a_cut(tmp_path: Path) -> None:
    number = iter((683000001, 683000002))
    text = re.sub(r"    soc: (\w+)\n", lambda m: f"    soc: {m[1]}\n    probe: {{serial_number: {next(number)}}}\n", RTT)
    problems = checked_problems(tmp_path, boards_text=text.replace("probe: {driver: virtual}", "probe: {driver: nrfjprog}"))
    assert {problem.key for problem in problems} == {"faults[1].power_cut"}
    assert "RTT" in problems[0].reason
