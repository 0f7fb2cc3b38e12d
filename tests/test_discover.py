"""`rig discover` on stand-ins for a computer: what is found, to whom it belongs, and the boards file that comes of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rig.cli import lab, rig
from rig.config import load_boards
from rig.doctor import Discovery, Nearby, SerialPort, discover, first_boards_file
from rig.model import InstrumentSpec, Protocol
from rig.run.nearby import hear
from tests.test_doctor import Computer, computer, kit

__all__ = ["computer"]

NEAR = Nearby(address="C0:00:00:00:00:01", name="sensor", rssi_dbm=-48, protocol=Protocol.SMP)
FAR = Nearby(address="C0:00:00:00:00:02", name="", rssi_dbm=-70, protocol=Protocol.SECURE_DFU)


def plug_in(computer: Computer) -> None:
    """Two kits on J-Links, of which the second shows two ports, a PPK2, and a cable that belongs to neither."""
    for number, place in (("000683456789", "1-1"), ("001050012345", "1-2")):
        computer.file(f"/sys/bus/usb/devices/{place}/idVendor", "1366\n")
        computer.file(f"/sys/bus/usb/devices/{place}/serial", number + "\n")
    computer.ports(
        SerialPort(device="/dev/ttyACM0", vid=0x1366, pid=0x1015, serial_number="000683456789", interface=0),
        SerialPort(device="/dev/ttyACM1", vid=0x1366, pid=0x1061, serial_number="001050012345", interface=0),
        SerialPort(device="/dev/ttyACM2", vid=0x1366, pid=0x1061, serial_number="001050012345", interface=2),
        kit("/dev/ttyACM3", 1),
        kit("/dev/ttyACM4", 3),
        SerialPort(device="/dev/ttyUSB0", vid=0x0403, pid=0x6001, serial_number="A50285BI"),
    )
    by_id = computer.folder / "root/dev/serial/by-id"
    by_id.mkdir(parents=True)
    (by_id / "usb-SEGGER_J-Link_000683456789-if00").symlink_to("../../ttyACM0")
    (computer.folder / "root/sys/class/bluetooth/hci0").mkdir(parents=True)


def test_ports_go_to_the_probe_with_their_serial_number(computer: Computer) -> None:
    plug_in(computer)
    found = discover(computer.machine, [FAR, NEAR])
    assert [(probe.serial_number, probe.ports) for probe in found.probes] == [
        ("1050012345", ("/dev/ttyACM1", "/dev/ttyACM2")),
        ("683456789", ("/dev/serial/by-id/usb-SEGGER_J-Link_000683456789-if00",)),
    ]
    assert [(kit.serial_number, kit.port) for kit in found.kits] == [("C0FFEE", "/dev/ttyACM3")]
    assert found.ports == ("/dev/ttyUSB0",)
    assert found.adapters == ("hci0",)
    assert found.nearby == (NEAR, FAR)


def test_the_boards_file_is_sound_and_marks_every_guess(computer: Computer, tmp_path: Path) -> None:
    plug_in(computer)
    found = discover(computer.machine, [NEAR, FAR])
    text = first_boards_file(found, "lab.yaml")
    file = tmp_path / "lab.yaml"
    file.write_text(text.replace("/dev/serial/by-id/no-kit-was-found", "/dev/ttyACM9"))
    first, second = load_boards(file).boards
    assert (first.probe.options["serial_number"], second.probe.options["serial_number"]) == (1050012345, 683456789)
    assert (first.protocol, second.protocol) == (Protocol.SMP, Protocol.SECURE_DFU)
    assert second.ble_address == FAR.address
    assert first.supply.options["port"] == "/dev/ttyACM3"
    console = [line for line in text.splitlines() if "port: /dev/" in line and "ttyACM3" not in line and "no-kit" not in line]
    assert "CHANGE: this J-Link has 2 ports" in console[0]
    assert "CHANGE" not in console[1], "one port, by a name that lasts: nothing to guess"
    assert "# a serial port that belongs to no probe: /dev/ttyUSB0" in text


@pytest.mark.parametrize("found", [Discovery(probes=(), kits=(), ports=(), hubs=(), adapters=(), nearby=())])
def test_even_a_file_from_nothing_is_sound(found: Discovery, tmp_path: Path) -> None:
    file = tmp_path / "lab.yaml"
    file.write_text(first_boards_file(found, "lab.yaml"))
    assert [board.name for board in load_boards(file).boards] == ["dk1"]


def called(computer: Computer, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> Result:
    monkeypatch.setattr(lab, "this_machine", lambda: computer.machine)
    return CliRunner().invoke(rig, ["discover", "--listen", "0", *map(str, arguments)])


def test_a_bare_machine_is_told_what_is_missing_and_how_to_get_it(
    computer: Computer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    done = called(computer, monkeypatch, "--out", tmp_path / "lab.yaml")
    assert done.exit_code == 2
    for words in ("J-Link library", "segger.com/downloads/jlink", "PPK2", "adapters", "pynrfjprog", "No probe, so no boards file"):
        assert words in done.output
    assert not (tmp_path / "lab.yaml").exists()


def test_the_command_writes_the_file_and_never_over_another(
    computer: Computer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plug_in(computer)
    out = tmp_path / "lab.yaml"
    done = called(computer, monkeypatch, "--out", out)
    assert done.exit_code == 0, done.output
    assert "683456789" in done.output
    before = out.read_text()
    again = called(computer, monkeypatch, "--out", out)
    assert "exists already" in str(again.exception)
    assert out.read_text() == before


def test_only_devices_that_offer_an_update_are_heard(tmp_path: Path) -> None:
    """On the virtual air: one board with an SMP server, as a scan hears it."""
    from tests_hil.sample_boards import Desk, at_desk

    async def story(desk: Desk) -> list[tuple[str, Protocol]]:
        heard = await hear(InstrumentSpec(driver="bleak", options={"adapter": "virtual"}), for_s=2.0)
        return [(seen.name, protocol) for seen, protocol in heard]

    assert at_desk(tmp_path, story) == [("rig-dk1", Protocol.SMP)]
