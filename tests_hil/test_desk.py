"""`rig update` and `rig package`, as an engineer at the desk uses them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rig import config
from rig.images.provide import provide
from tests_hil.campaigns import boards_file, scenario_file
from tests_hil.test_command_line import rig


def images(folder: Path, protocol: str) -> tuple[Path, Path, Path]:
    """A boards file, and an old and a new image for its nRF52840."""
    boards = boards_file(folder, only="nrf52840", protocol=protocol)
    scenario = scenario_file(folder, protocol=protocol, update={} if protocol == "secure_dfu" else {"confirm": True})
    loaded = config.load(boards, [scenario])
    made = provide(loaded.scenarios[0].images, loaded.boards.boards[0], folder)
    return boards, Path(made.old.path), Path(made.new.path)


@pytest.mark.parametrize("protocol", ["smp", "secure_dfu"])
def test_one_plain_update(tmp_path: Path, protocol: str) -> None:
    boards, old, new = images(tmp_path, protocol)
    done = rig("update", new, "--board", "dk1", "--boards", boards, "--flash-first", old, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "dk1 runs 1.1.0" in done.stdout
    assert "kB/s" in done.stdout
    assert "upload" in done.stderr, "progress, line by line, without a terminal"


@pytest.mark.parametrize("clock", ["virtual", "wall"])
def test_an_update_over_the_serial_port(tmp_path: Path, clock: str) -> None:
    """A blank board with a serial bootloader waits in DFU mode; on the wall clock the port is a pty that pyserial opens."""
    _, _, new = images(tmp_path, "secure_dfu")
    boards = boards_file(tmp_path, only="nrf52840", protocol="secure_dfu", bootloader={"transport": "serial"})
    done = rig("update", new, "--board", "dk1", "--boards", boards, "--serial", "virtual:dk1/serial", "--clock", clock, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "dk1 runs 1.1.0" in done.stdout


def test_a_refused_update_says_why(tmp_path: Path) -> None:
    boards, old, new = images(tmp_path, "secure_dfu")
    done = rig("update", old, "--board", "dk1", "--boards", boards, "--flash-first", new, folder=tmp_path)
    assert done.returncode == 1
    assert "refused" in done.stderr


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("--board", "dk9"), "no board 'dk9'"),
        (("--serial", "virtual:dk1/serial", "--board", "dk1"), "only secure_dfu"),
    ],
)
def test_bad_requests_end_with_3(tmp_path: Path, change: tuple[str, ...], words: str) -> None:
    boards, _, new = images(tmp_path, "smp")
    done = rig("update", new, "--boards", boards, *change, folder=tmp_path)
    assert done.returncode == 3
    assert words in done.stderr


def test_an_image_of_the_other_protocol_is_refused_before_anything_is_touched(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    _, _, image = images(tmp_path / "other", "smp")
    boards, _, _ = images(tmp_path, "secure_dfu")
    done = rig("update", image, "--board", "dk1", "--boards", boards, folder=tmp_path)
    assert done.returncode == 3
    assert "not a zip file" in done.stderr


def test_packages_are_built_shown_and_verified(tmp_path: Path) -> None:
    (tmp_path / "app.bin").write_bytes(bytes(range(256)) * 64)
    build = ("package", "build", "app.zip", "--application", "app.bin", "--application-version", "1.4.0", "--sd-req", "0x0100")
    assert rig(*build, folder=tmp_path).returncode == 3, "it must be said how to sign"
    done = rig(*build, "--test-key", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    shown = rig("package", "show", "app.zip", "--soc", "nrf52840", "--installed", "500000", folder=tmp_path).stdout
    for words in ("10400", "0x0100", "16384 bytes", "dual on nrf52840"):
        assert words in shown
    (tmp_path / "cut.zip").write_bytes((tmp_path / "app.zip").read_bytes()[:900])
    done = rig("package", "show", "cut.zip", folder=tmp_path)
    assert done.returncode == 3
    assert "cut.zip" in done.stderr


def test_the_schemas_are_json(tmp_path: Path) -> None:
    for kind in ("boards", "scenario"):
        assert json.loads(rig("schema", kind, folder=tmp_path).stdout)["type"] == "object"
