"""The border where files become records: what is right arrives whole, and every mistake is reported at its place with a way out."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from rig import config
from rig.formats.soc import SOCS
from rig.model import InstrumentSpec, Limits, MemoryMap, Phase, Protocol, Region, Request, TriggerKind
from rig.scenario import Choice, Fixed, ImageBuild, Uniform
from tests.config_files import (
    BOARDS,
    REPOSITORY,
    SCENARIO,
    Mistake,
    boards,
    boards_problems,
    edited,
    only,
    scenario,
    scenario_problems,
    write,
)


def test_shipped_files_have_no_problems(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)

    loaded = config.load("boards.yaml", ["tests_hil/scenarios"])

    assert [(board.name, board.soc) for board in loaded.boards.boards] == [
        ("dk1", "nrf52840"), ("dk2", "nrf52840"), ("dk3", "nrf52832"), ("dk4", "nrf52832"),
        ("dk5", "nrf52840"), ("dk6", "nrf52832"),
    ]
    names = [scenario.name for scenario in loaded.scenarios]
    assert {"smp-demo", "smp-swap-offset-200", "smp-rollback", "smp-staged-install"} <= set(names)
    assert names == [Path(scenario.file).stem for scenario in loaded.scenarios]


def test_demo_cuts_in_every_phase_of_an_update(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)

    (demo,) = config.load_scenarios(["smp-demo"])

    assert demo.trials >= 100
    assert {fault.stratum for fault in demo.faults} == {
        "control", "upload", "mark", "reset", "install", "boot_new", "confirm",
    }


def test_boards_file_becomes_boards(tmp_path: Path) -> None:
    loaded = boards(tmp_path)

    first, second = loaded.boards
    assert loaded.bench == InstrumentSpec(driver="lab", options={})
    assert first.protocol is Protocol.SMP
    assert first.ble_address == "C0:00:00:00:00:01"
    assert first.supply == InstrumentSpec(
        driver="ppk2", options={"port": "/dev/supply1", "voltage_mv": 3000, "max_voltage_mv": 3600}
    )
    assert first.console == InstrumentSpec(driver="uart", options={"port": "/dev/console1", "baudrate": 115200})
    assert first.radio.driver == "bleak"
    assert first.radio.options == {"adapter": "hci0", "interval_ms": 15.0, "supervision_s": 4.0, "pair": False}
    assert first.counter is None
    assert first.memory == MemoryMap(
        primary=Region(start=0xC000, size=0x76000),
        secondary=Region(start=0x82000, size=0x76000),
        user_data=Region(start=0xF8000, size=0x8000),
        upload_offset=4096,
    )
    assert second.memory.secondary == Region(start=0x43000, size=0x37000)


@pytest.mark.parametrize("soc", SOCS)
@pytest.mark.parametrize("preset", ["swap-offset", "swap-move", "swap-scratch", "overwrite-only"])
def test_preset_regions_do_not_overlap_and_lie_in_flash(tmp_path: Path, soc: str, preset: str) -> None:
    text = edited(edited(BOARDS, "swap-offset", preset), "nrf52840", soc)

    memory = boards(tmp_path, text).boards[0].memory

    regions = [memory.primary, memory.secondary, memory.user_data] + ([memory.scratch] if memory.scratch else [])
    regions.sort(key=lambda region: region.start)
    assert all(one.end <= two.start for one, two in pairwise(regions))
    assert regions[-1].end <= SOCS[soc].flash_size
    assert (memory.upload_offset == 4096) == (preset == "swap-offset")
    assert (memory.scratch is not None) == (preset == "swap-scratch")


def test_a_boards_own_driver_takes_no_options_from_another_drivers_defaults(tmp_path: Path) -> None:
    text = edited(BOARDS, "supply: {driver: ppk2, voltage_mv: 3000}", "supply: {driver: relay, channel: 3}")
    text = text.replace("supply: {port: ", "supply: {driver: ppk2, port: ")

    assert [board.supply.driver for board in boards(tmp_path, text).boards] == ["ppk2", "ppk2"]


def test_explicit_memory_replaces_the_preset_of_the_defaults(tmp_path: Path) -> None:
    regions = "{primary: {start: 0x8000, size: 0x10000}, secondary: {start: 0x18000, size: 0x10000}, user_data: {start: 0x30000, size: 0x1000}}"
    text = edited(BOARDS, "    soc: nrf52832\n", f"    soc: nrf52832\n    memory: {regions}\n")

    memory = boards(tmp_path, text).boards[1].memory

    assert memory.primary == Region(start=0x8000, size=0x10000)
    assert memory.upload_offset == 0


def test_scenario_file_becomes_a_scenario(tmp_path: Path) -> None:
    text = edited(SCENARIO, "  - none\n", "  - none: {share: 2}\n  - power_cut: {trigger: {chunk: {uniform: [1, all]}}, off_ms: {choice: [1, 35]}}\n")

    loaded = scenario(tmp_path, text)

    control, upload, install = loaded.faults
    assert (control.programme, control.share, control.stratum) == ((), 2, "control")
    (cut,) = upload.programme
    assert cut.trigger.kind is TriggerKind.CHUNK
    assert cut.trigger.phase is Phase.UPLOAD
    assert cut.trigger.count == Uniform(low=1, high="all")
    assert cut.trigger.offset_s == Fixed(value=0.0)
    assert cut.off_s == Choice(values=(0.001, 0.035))
    assert install.programme[0].trigger.offset_s == Uniform(low=0.0, high=5.0)
    assert install.stratum == "install"
    assert loaded.images.new.source("nrf52832") == ImageBuild(version="1.1.0", size=65536)
    assert (loaded.request, loaded.confirm, loaded.staged, loaded.again) == (Request.TEST, True, None, 0.0)
    assert loaded.limits == Limits()


@pytest.mark.parametrize(
    ("trigger", "kind", "phase", "stratum"),
    [
        ("{time: start}", TriggerKind.TIME, None, "time"),
        ("{phase: reset}", TriggerKind.PHASE, Phase.RESET, "reset"),
        ("{byte: 4096}", TriggerKind.BYTE, Phase.UPLOAD, "upload"),
        ("{console: 'Swap type: .*', count: 2}", TriggerKind.CONSOLE, None, "console"),
        ("{flash_operation: {uniform: [1, 300]}, phase: install}", TriggerKind.FLASH_OPERATION, Phase.INSTALL, "install"),
    ],
)
def test_every_kind_of_trigger(tmp_path: Path, trigger: str, kind: TriggerKind, phase: Phase | None, stratum: str) -> None:
    loaded = scenario(tmp_path, edited(SCENARIO, "{phase: install}", trigger))

    fault = loaded.faults[1]
    assert (fault.programme[0].trigger.kind, fault.programme[0].trigger.phase, fault.stratum) == (kind, phase, stratum)


def test_again_is_done_in_all_trials_unless_said_otherwise(tmp_path: Path) -> None:
    again = "  again: {build: {version: 1.2.0, size: 4 KiB}}\nupdate: {request: test,"

    assert scenario(tmp_path, edited(SCENARIO, "update: {request: test,", again)).again == 1.0
    assert scenario(tmp_path, edited(SCENARIO, "update: {request: test,", f"{again} again: 0.25,")).again == 0.25


def test_a_secure_dfu_bootloader_never_rolls_back(tmp_path: Path) -> None:
    text = edited(SCENARIO, "protocol: smp", "protocol: secure_dfu")
    assert "expect" in [problem.key for problem in scenario_problems(tmp_path, edited(text, "seed: 1", "seed: 1\nexpect: rolled_back"))]


def test_a_secure_dfu_board_needs_its_address(tmp_path: Path) -> None:
    text = edited(edited(BOARDS, "protocol: smp", "protocol: secure_dfu"), "preset: swap-offset", "preset: secure-dfu")
    text = edited(text, '{name: unit-2, address: "C0:00:00:00:00:02"}', "{name: unit-2}")
    assert [problem.key for problem in boards_problems(tmp_path, text)] == ["boards[1].ble.address"]


def test_a_folder_and_a_file_in_it_count_once(tmp_path: Path) -> None:
    path = write(tmp_path, "cuts.yaml", SCENARIO)

    assert len(config.load_scenarios([tmp_path, path, str(path)])) == 1


BAD_BOARDS = [
    Mistake("driver: lab", "driver: labb", "labb", "bench.driver", "'labb' is unknown", "'lab'"),
    Mistake("bench: {driver: lab}", "bench: {}", "bench", "bench.driver", "missing"),
    Mistake("bench: {driver: lab}\n", "", "defaults", "bench", "missing"),
    Mistake("soc: nrf52832", "soc: nrf52382", "nrf52382", "boards[1].soc", "nrf52832, nrf52833, nrf52840", "'nrf52832'"),
    Mistake("    soc: nrf52832\n", "", "name: dk2", "boards[1].soc", "missing"),
    Mistake("baudrate: 115200", "baudrat: 115200", "baudrat", "defaults.console.baudrat", "unknown key", "'baudrate'"),
    Mistake("voltage_mv: 3000", "voltage_mv: 5001", "5001", "defaults.supply.voltage_mv", "above the maximum of 5000", "millivolts"),
    Mistake("voltage_mv: 3000", "voltage_mv: 799", "799", "defaults.supply.voltage_mv", "below the minimum of 800"),
    Mistake("voltage_mv: 3000", 'voltage_mv: "3000"', '"3000"', "defaults.supply.voltage_mv", "whole number, not text"),
    Mistake("voltage_mv: 3000", "voltage_mv: 3000.5", "3000.5", "defaults.supply.voltage_mv", "whole number"),
    Mistake("voltage_mv: 3000", "voltage_mv: 3700, max_voltage_mv: 5000", "3700", "defaults.supply.voltage_mv", "outside what an nrf52832 stands"),
    Mistake("voltage_mv: 3000", "voltage_mv: 3700", "3700", "defaults.supply.voltage_mv", "above max_voltage_mv, 3600"),
    Mistake("adapter: hci0", "adapter: virtaul", "virtaul", "defaults.radio.adapter", "not an adapter"),
    Mistake("adapter: hci0", "interval_ms: 8", "8}", "defaults.radio.interval_ms", "not a multiple of 1.25"),
    Mistake("adapter: hci0", "interval_ms: 4000, supervision_s: 8", "8}\n", "defaults.radio.supervision_s", "not longer than two intervals"),
    Mistake("driver: ppk2", "driver: ppk", "ppk,", "defaults.supply.driver", "known: ppk2", "'ppk2'"),
    Mistake("preset: swap-offset", "preset: swap_ofset", "swap_ofset", "defaults.memory.preset", "is unknown", "'swap-offset'"),
    Mistake("protocol: smp", "protocol: secure_dfu", "swap-offset", "defaults.memory.preset", "no memory map of a secure_dfu board", "goes with"),
    Mistake("name: dk2", "name: DK1", "DK1", "boards[1].name", "taken already by boards[0].name in line 10"),
    Mistake("name: dk2", "name: dk 2", "dk 2", "boards[1].name", "does not have the form", "letters"),
    Mistake("name: dk2", "name: 2", "2\n    soc: nrf52832", "boards[1].name", "must be text, not 2"),
    Mistake('"C0:00:00:00:00:02"', '"c0:00:00:00:00:01"', '"c0:', "boards[1].ble.address", "taken already"),
    Mistake("    soc: nrf52832\n", "    soc: nrf52832\n    logic_inputs: {D0: P0.13}\n", "P0.13", "boards[1].logic_inputs.D0", "D0 is VDD"),
    Mistake("    soc: nrf52832\n", "    soc: nrf52832\n    logic_inputs: {D3: P0.32}\n", "P0.32", "boards[1].logic_inputs.D3", "no pin"),
    Mistake('"C0:00:00:00:00:02"', '"C0:00:00:00:02"', '"C0:00:00:00:02"', "boards[1].ble.address", "not a Bluetooth address"),
    Mistake('{name: unit-2, address: "C0:00:00:00:00:02"}', "{name: unit-2, adress: x}", "adress", "boards[1].ble.adress", "unknown key", "'address'"),
    Mistake("name: unit-2", f"name: {'x' * 30}", "x" * 30, "boards[1].ble.name", "29 bytes"),
    Mistake("port: /dev/supply2", "port: /dev/supply1", "/dev/supply1}\n    console: {port: /dev/console2", "boards[1].supply.port", "taken already"),
    Mistake("port: /dev/console2", "port: /dev/../dev/supply1", "/dev/../", "boards[1].console.port", "taken already by boards[0].supply.port"),
    Mistake("console: {port: /dev/console2}", "console: {}", "console: {}", "boards[1].console.port", "missing"),
    Mistake("    console: {port: /dev/console2}\n", "    console: 7\n", "7\n", "boards[1].console", "must be a mapping"),
    Mistake("    console: {port: /dev/console2}\n", "    console: {port: /dev/console2}\n    model: {x: 1}\n", "model", "boards[1].model", "bench is 'lab'"),
    Mistake("    console: {port: /dev/console2}\n", "    console: {port: /dev/console2}\n    signals: {reset_reason: abc}\n", "abc", "boards[1].signals.reset_reason", "exactly one group"),
    Mistake("    console: {port: /dev/console2}\n", "    console: {port: /dev/console2}\n    sacrificial: yes\n", "yes", "boards[1].sacrificial", "true or false"),
    Mistake("    console: {port: /dev/console2}\n", "    console: {port: /dev/console2}\n  - dk3\n", "dk3", "boards[2]", "must be a mapping"),
]  # fmt: skip


@pytest.mark.parametrize("mistake", BAD_BOARDS, ids=str)
def test_mistake_in_the_boards_file(tmp_path: Path, mistake: Mistake) -> None:
    text = edited(BOARDS, mistake.old, mistake.new)

    problem = only(boards_problems(tmp_path, text))

    mistake.check(problem, text)
    source, caret = problem.excerpt.splitlines()
    assert text.splitlines()[problem.line - 1].strip() in source
    assert caret.index("^") - len("    ") == source.index("| ") + 2 + problem.column - 1


REGIONS = "{primary: {start: 0xC000, size: 0x2000}, secondary: {start: 0x20000, size: 0x1000}, user_data: {start: 0x30000, size: 0x1000}}"
BAD_REGIONS = [
    Mistake("size: 0x2000", "size: 0x2001", "0x2001", "boards[1].memory.primary.size", "not a multiple of 4096"),
    Mistake("size: 0x2000", "size: 0", "0}, sec", "boards[1].memory.primary.size", "not above 0"),
    Mistake("start: 0xC000", "start: 0x7F000", "{start: 0x7F000", "boards[1].memory.primary", "beyond the 512 KiB flash"),
    Mistake("start: 0x20000", "start: 0xD000", "{start: 0xD000", "boards[1].memory.secondary", "overlaps primary"),
    Mistake("start: 0x30000", "start: 0x20000", "{start: 0x20000, size: 0x1000}}", "boards[1].memory.user_data", "overlaps secondary"),
    Mistake("user_data:", "userdata:", "userdata", "boards[1].memory.userdata", "unknown key", "'user_data'"),
]


@pytest.mark.parametrize("mistake", BAD_REGIONS, ids=str)
def test_mistake_in_a_memory_map(tmp_path: Path, mistake: Mistake) -> None:
    good = edited(BOARDS, "    soc: nrf52832\n", f"    soc: nrf52832\n    memory: {REGIONS}\n")
    text = edited(good, mistake.old, mistake.new)

    problem = only(boards_problems(tmp_path, text))

    mistake.check(problem, text)


def test_two_boards_with_one_name_on_the_air_need_addresses(tmp_path: Path) -> None:
    text = BOARDS.replace(', address: "C0:00:00:00:00:01"', "").replace(', address: "C0:00:00:00:00:02"', "").replace("unit-2", "unit-1")

    problem = only(boards_problems(tmp_path, text))

    assert problem.key == "boards[1].ble.name"


PROBE = "{driver: nrfjprog, serial_number: 683000001}"


@pytest.mark.parametrize(
    ("first", "second", "key"),
    [
        (f"probe: {PROBE}", f"probe: {PROBE}", "boards[1].probe.serial_number"),
        (f"probe: {PROBE}", 'probe: {driver: pyocd, unique_id: "000683000001"}', "boards[1].probe.unique_id"),
        ("supply: {driver: scpi, resource: A, channel: 1}", "supply: {driver: scpi, resource: A, channel: 2}", None),
        ("supply: {driver: scpi, resource: A, channel: 2}", "supply: {driver: scpi, resource: A, channel: 2}", "boards[1].supply.resource"),
        ("supply: {driver: uhubctl, location: 1-1, port: 2}", "supply: {driver: uhubctl, location: 1-1, port: 3}", None),
        ("supply: {driver: uhubctl, location: 1-1, port: 2}", "supply: {driver: uhubctl, location: 1-1, port: 2}", "boards[1].supply.location"),
        (
            "supply: {driver: http-plug, kind: tasmota, host: plug}",
            "supply: {driver: http-plug, kind: tasmota, host: plug, channel: 0}",
            "boards[1].supply.host",
        ),
        ('supply: {driver: joulescope, serial_number: "1"}', 'supply: {driver: joulescope, serial_number: "1"}', "boards[1].supply.serial_number"),
    ],
)
def test_two_boards_do_not_share_an_instrument_unless_it_has_an_output_for_each(
    tmp_path: Path, first: str, second: str, key: str | None
) -> None:
    text = edited(BOARDS, "{driver: ppk2, voltage_mv: 3000}", "{driver: ppk2}")
    for number, line in ((1, first), (2, second)):
        port = f"    supply: {{port: /dev/supply{number}}}\n"
        text = edited(text, port, f"    {line}\n" + (port if "probe" in line else ""))

    if key is None:
        config.load_boards(write(tmp_path, "boards.yaml", text))
        return
    problem = only(boards_problems(tmp_path, text))
    assert problem.key == key
    assert "is taken already by boards[0]" in problem.reason


def test_a_board_does_not_have_the_interferers_port(tmp_path: Path) -> None:
    around = "{driver: lab, enclosure: box, interferer: {driver: radio-test, port: /dev/console2}}"
    problem = only(boards_problems(tmp_path, edited(BOARDS, "bench: {driver: lab}", f"bench: {around}")))
    assert problem.key == "boards[1].console.port"
    assert "taken already by bench.interferer.port in line 1" in problem.reason


def test_a_port_in_the_defaults_is_shared_by_all_boards(tmp_path: Path) -> None:
    text = edited(BOARDS, "driver: ppk2,", "driver: ppk2, port: /dev/one,").replace("    supply: {port: /dev/supply1}\n", "").replace("    supply: {port: /dev/supply2}\n", "")

    problem = only(boards_problems(tmp_path, text))

    assert problem.key == "defaults.supply.port"
    assert "several boards" in problem.reason


BAD_SCENARIOS = [
    Mistake("{phase: install}", "{phase: instal}", "instal}", "faults[1].power_cut.trigger.phase", "'instal' is unknown", "'install'"),
    Mistake("{phase: install}", "{phase: flash}", "flash}", "faults[1].power_cut.trigger.phase", "tests the rig"),
    Mistake("{phase: install}", "{}", "{}", "faults[1].power_cut.trigger", "needs an event"),
    Mistake("{phase: install}", "{chunk: 1, byte: 2}", "2}", "faults[1].power_cut.trigger.byte", "chunk is one already"),
    Mistake("{phase: install}", "{chunk: 1, phase: install}", "install}", "faults[1].power_cut.trigger.phase", "in phase upload only"),
    Mistake("{phase: install}", "{chunk: 0}", "0}", "faults[1].power_cut.trigger.chunk", "not a count"),
    Mistake("{phase: install}", "{chunk: {uniform: [all, 3]}}", "[all", "faults[1].power_cut.trigger.chunk.uniform", "lower end comes first"),
    Mistake("{phase: install}", "{chunk: {unifrom: [1, all]}}", "unifrom", "faults[1].power_cut.trigger.chunk.unifrom", "unknown key", "'uniform'"),
    Mistake("{phase: install}", "{chunk: {uniform: [1]}}", "[1]", "faults[1].power_cut.trigger.chunk.uniform", "entry 2 of the list is missing"),
    Mistake("{phase: install}", "{console: '('}", "'('", "faults[1].power_cut.trigger.console", "not a regular expression"),
    Mistake("{phase: install}", "{flash_operation: all}", "all}", "faults[1].power_cut.trigger.flash_operation", "nobody knows", "give a number"),
    Mistake("{uniform: [0, 5000]}", "{uniform: [9, 5]}", "[9, 5]", "faults[1].power_cut.offset_ms.uniform", "lower end comes first"),
    Mistake("{uniform: [0, 5000]}", "{choice: []}", "[]", "faults[1].power_cut.offset_ms.choice", "must not be empty"),
    Mistake("{uniform: [0, 5000]}", "{uniform: [0, .inf]}", ".inf", "faults[1].power_cut.offset_ms.uniform[1]", "finite"),
    Mistake("{uniform: [0, 5000]}", "-1", "-1", "faults[1].power_cut.offset_ms", "below the minimum of 0", "milliseconds"),
    Mistake("off_ms: 500", "off_ms: 500, repeat: 3", "3}", "faults[1].power_cut.repeat", "belong together"),
    Mistake(", off_ms: 500", "", "power_cut", "faults[1].power_cut.off_ms", "missing", "milliseconds"),
    Mistake("power_cut:", "powercut:", "powercut", "faults[1].powercut", "unknown key", "'power_cut'"),
    Mistake("  - none\n", "  - nothing\n", "nothing", "faults[0]", "is unknown"),
    Mistake("trials: 20", "trials: 1", "1\nseed", "trials", "too few to meet each of the 2 faults"),
    Mistake("trials: 20", "trials: 0", "0\nseed", "trials", "below the minimum of 1"),
    Mistake("trials: 20\n", "", "scenario:", "trials", "missing"),
    Mistake("seed: 1", "seed: -1", "-1", "seed", "below the minimum"),
    Mistake("seed: 1", f"seed: {'9' * 5000}", "9999", "seed", "not a number that can be used"),
    Mistake("scenario: cuts", "scenario: My Cuts", "My Cuts", "scenario", "does not have the form"),
    Mistake("protocol: smp", "protocol: spm", "spm", "protocol", "is unknown", "'smp'"),
    Mistake("boards: all", "boards: [d k]", "d k", "boards[0]", "does not have the form"),
    Mistake("boards: all", "boards: dk1", "dk1", "boards", "is unknown", "a list of names"),
    Mistake("boards: all", "boards: {socs: [nrf52840]}", "socs", "boards.socs", "unknown key", "'soc'"),
    Mistake("size: 64 KiB}}\n  new", "size: 64 KB}}\n  new", "64 KB", "images.old.build.size", "not a size"),
    Mistake("size: 64 KiB}}\n  new", "size: 2 MiB}}\n  new", "2 MiB", "images.old.build.size", "1 KiB to 1024 KiB"),
    Mistake("version: 1.0.0", "version: 1.0", "1.0,", "images.old.build.version", "major.minor.revision"),
    Mistake("version: 1.0.0", "version: 1.0.70000", "1.0.70000", "images.old.build.version", "the revision at 65535"),
    Mistake("version: 1.0.0", "verson: 1.0.0", "verson", "images.old.build.verson", "unknown key", "'version'"),
    Mistake("version: 1.1.0", "version: 1.0.0", "{build: {version: 1.0.0, size: 64 KiB}}\nupdate", "images.new", "same image as images.old"),
    Mistake("{build: {version: 1.1.0, size: 64 KiB}}", "{file: none.bin}", "none.bin", "images.new.file", "no such file", "relative to the scenario file"),
    Mistake("{build: {version: 1.1.0, size: 64 KiB}}", "{nrf52480: {file: none.bin}}", "nrf52480", "images.new.nrf52480", "unknown key", "'nrf52840'"),
    Mistake("update:", "  key: cuts.yaml\nupdate:", "cuts.yaml", "images.key", "not a private key in PEM form"),
    Mistake("confirm: true", "confirm: true, again: 0.5", "0.5", "update.again", "no images.again"),
    Mistake("confirm: true", "confirm: true, staged: 1.5", "1.5", "update.staged", "above the maximum of 1"),
    Mistake("confirm: true", "confirm: false", "false", "update.confirm", "nobody confirms the new image", "rolled_back"),
    Mistake("seed: 1", "seed: 1\nexpect: rolled_back", "true", "update.confirm", "not rolled back", "confirm: false"),
    Mistake("seed: 1", "seed: 1\nexpect: rolledback", "rolledback", "expect", "is unknown", "'rolled_back'"),
    Mistake("seed: 1", "seed: 1\nlimits: {boots: 3}", "boots", "limits.boots", "unknown key", "'boot_s'"),
    Mistake("seed: 1", "seed: 1\nlimits: {boot_s: 0, settle_s: 1}", "0, settle_s", "limits.boot_s", "not above 0", "sign of life"),
    Mistake("seed: 1", "seed: 1\nlimits: {trial_s: 4}", "{uniform", "faults[1].power_cut.offset_ms", "waits up to 5 s"),
    Mistake("seed: 1", "seed: 1\naccept: {failures: 0}", "failures", "accept.failures", "unknown key", "'failures_at_most'"),
]  # fmt: skip


@pytest.mark.parametrize("mistake", BAD_SCENARIOS, ids=str)
def test_mistake_in_a_scenario(tmp_path: Path, mistake: Mistake) -> None:
    text = edited(SCENARIO, mistake.old, mistake.new)

    problem = only(scenario_problems(tmp_path, text))

    mistake.check(problem, text)
