"""`rig doctor` and `rig drivers`, on stand-ins for a computer: other folders, other programs on the PATH, other serial ports."""

from __future__ import annotations

import os
import re
import select
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rig.cli import bench_commands, rig
from rig.doctor import Finding, Machine, Part, SerialPort, Status, catalogue, examine, list_drivers, machine, this_machine
from rig.doctor.needs import NEEDS
from rig.doctor.requirements import parse
from rig.drivers import DRIVERS
from rig.errors import ConfigError
from tests.config_files import BOARDS, REPOSITORY

VIRTUAL = REPOSITORY / "boards.yaml"


@dataclass
class Computer:
    """A stand-in for a computer, at first with nothing but what rig needs on any bench."""

    folder: Path
    machine: Machine

    def file(self, path: str, text: str = "") -> Path:
        """Put a file where the computer has `path`."""
        place = self.folder / "root" / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        return place

    def program(self, name: str, script: str) -> None:
        """Put a program on the PATH."""
        place = self.folder / "bin" / name
        place.write_text(f"#!/bin/sh\n{script}\n")
        place.chmod(0o755)

    def library(self, name: str, version: str, **modules: str) -> None:
        """Install a Python package, and an interpreter to import it."""
        self.having(interpreter=sys.executable)
        site = self.folder / "site"
        (site / f"{name}-{version}.dist-info").mkdir(parents=True)
        (site / f"{name}-{version}.dist-info" / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (site / name).mkdir()
        (site / name / "__init__.py").touch()
        for module, source in modules.items():
            (site / name / f"{module}.py").write_text(source)

    def ports(self, *ports: SerialPort) -> None:
        for port in ports:
            self.file(port.device)
        self.having(serial_ports=lambda: ports)

    def having(self, **changes: object) -> None:
        self.machine = replace(self.machine, **changes)  # type: ignore[arg-type]

    def finding(self, part: str) -> Finding:
        """What the examination says about `part`."""
        result = examine(self.machine, None, reports=self.folder / "reports")
        found = [finding for _, group in result.groups for finding in group if finding.part == part]
        assert len(found) == 1
        return found[0]


@pytest.fixture
def computer() -> Iterator[Computer]:
    with tempfile.TemporaryDirectory(prefix="rig-") as name:  # pytest's own folders are too deep for a Unix socket
        folder = Path(name)
        (folder / "bin").mkdir()
        (folder / "root").mkdir()
        stand_in = Machine(
            root=folder / "root",
            environment={"PATH": str(folder / "bin"), "PYTHONPATH": str(folder / "site"), "PYTHONDONTWRITEBYTECODE": "1"},
            interpreter="no-python",
            python=(3, 11, 9),
            requirements=(parse("apsw>=3.51.3"), parse("bleak~=3.1"), parse("pynrfjprog~=10.24; extra == 'lab'")),
            installed={"apsw": "3.53.0.0", "bleak": "3.1.4"}.get,
            sqlite_used="3.53.0",
            sqlite_of_python="3.53.0",
            serial_ports=tuple,
            find_library=lambda name: None,
            may_use=lambda path: True,
            group_of=lambda path: "dialout",
            user="kim",
            free_bytes=lambda path: 80_000_000_000,
            open_files=1024,
            clock_step_s=1e-9,
        )
        yield Computer(folder, stand_in)


def kit(device: str, interface: int | None, serial_number: str = "C0FFEE") -> SerialPort:
    return SerialPort(device=device, vid=0x1915, pid=0xC00A, serial_number=serial_number, interface=interface)


# --------------------------------------------------------------------------------------------------------- the computer
@pytest.mark.parametrize(
    ("changes", "part", "status", "says", "fix"),
    [
        ({}, Part.PYTHON, Status.OK, "3.11.9", ""),
        ({"python": (3, 10, 14)}, Part.PYTHON, Status.MISSING, "3.10.14 is too old", "3.11"),
        ({}, Part.LIBRARIES, Status.OK, "apsw 3.53.0.0, bleak 3.1.4", ""),
        ({"installed": {"apsw": "3.53.0.0"}.get}, Part.LIBRARIES, Status.MISSING, "no bleak", 'pip install "bleak~=3.1,<4"'),
        ({"installed": {"apsw": "3.53", "bleak": "4.0"}.get}, Part.LIBRARIES, Status.MISSING, "bleak 4.0 is not bleak~=3.1", "pip install"),
        ({"installed": {"apsw": "3.51.2.0", "bleak": "3.2"}.get}, Part.LIBRARIES, Status.MISSING, "apsw 3.51.2.0 is not", "pip install"),
        ({"requirements": ()}, Part.LIBRARIES, Status.WARN, "not checked", "scripts/setup"),
        ({}, Part.SQLITE, Status.OK, "3.53.0 (apsw's) is used", ""),
        ({"sqlite_of_python": "3.40.1"}, Part.SQLITE, Status.OK, "Python's own 3.40.1 has the WAL-reset bug and is not used", ""),
        ({"sqlite_used": "3.51.2"}, Part.SQLITE, Status.WARN, "WAL-reset bug before 3.51.3", "apsw>=3.51.3"),
        ({}, Part.DISK, Status.OK, "80.0 GB free", ""),
        ({"free_bytes": lambda path: 4_900_000_000}, Part.DISK, Status.WARN, "4.9 GB free", "--out"),
        ({}, Part.OPEN_FILES, Status.OK, "1024", ""),
        ({"open_files": -1}, Part.OPEN_FILES, Status.OK, "no limit", ""),
        ({"open_files": 256}, Part.OPEN_FILES, Status.WARN, "256", "ulimit -n"),
        ({}, Part.CLOCK, Status.OK, "1 ns", ""),
        ({"clock_step_s": 0.0156}, Part.CLOCK, Status.WARN, "too coarse", "finer clock"),
    ],
)
def test_the_computer_itself(  # noqa: PLR0917 - one per column
    computer: Computer, changes: dict[str, object], part: Part, status: Status, says: str, fix: str
) -> None:
    computer.having(**changes)
    found = computer.finding(part)
    assert (found.status, says in found.says) == (status, True)
    assert fix in found.fix and bool(found.fix) == bool(fix)


def test_a_sound_sqlite_of_python_is_not_worth_a_word(computer: Computer) -> None:
    assert computer.finding(Part.SQLITE).says == "3.53.0 (apsw's) is used"


def test_the_disk_is_that_of_the_reports_even_before_the_folder_exists(computer: Computer) -> None:
    asked: list[Path] = []
    computer.having(free_bytes=lambda path: asked.append(path) or 1)
    assert computer.finding(Part.DISK).status is Status.WARN
    assert asked == [computer.folder]


@pytest.mark.parametrize(
    ("script", "status", "says"),
    [
        ('[ "$*" = "show --property=NTPSynchronized --value" ] && echo yes', Status.OK, "synchronised by NTP"),
        ("echo no", Status.WARN, "date not synchronised"),
        ("echo 'System has not been booted with systemd' >&2; exit 1", Status.OK, "does not tell"),
    ],
)
def test_the_date(computer: Computer, script: str, status: Status, says: str) -> None:
    computer.program("timedatectl", script)
    found = computer.finding(Part.CLOCK)
    assert (found.status, says in found.says) == (status, True)


def test_a_program_that_hangs_is_given_up_with_its_children(computer: Computer) -> None:
    never, alive = computer.folder / "never", computer.folder / "alive"
    os.mkfifo(never)
    os.mkfifo(alive)
    computer.having(command_limit_s=0.5)
    computer.program("nrfutil", f'exec 3> "{alive}"\n(read line < "{never}") &\nread line < "{never}"')
    end = os.open(alive, os.O_RDONLY | os.O_NONBLOCK)
    try:
        found = computer.finding(Part.NRFUTIL)
        ended = select.poll()
        ended.register(end, select.POLLHUP)  # reported when nobody holds the other end any more
        assert ended.poll(5000)
    finally:
        os.close(end)
    assert (found.status, "no answer within 0.5 s" in found.says) == (Status.WARN, True)


def test_a_program_that_cannot_be_started_is_no_traceback(computer: Computer) -> None:
    computer.program("nrfutil", "")
    (computer.folder / "bin" / "nrfutil").write_text("#!/no/such/interpreter\n")
    assert "cannot be started" in computer.finding(Part.NRFUTIL).says


def test_what_vanishes_while_it_is_looked_at_is_no_traceback(computer: Computer) -> None:
    computer.ports(SerialPort(device="/dev/ttyACM0"))
    computer.having(may_use=lambda path: False, group_of=lambda path: str(Path("/no/such/device").stat()))
    found = computer.finding(Part.SERIAL)
    assert (found.status, "cannot be examined" in found.says) == (Status.WARN, True)


# ------------------------------------------------------------------------------------------------------------ Bluetooth
def test_the_system_bus_must_answer(computer: Computer) -> None:
    assert computer.finding(Part.DBUS).status is Status.MISSING
    path = computer.file("/run/dbus/system_bus_socket")
    assert "does not answer" in computer.finding(Part.DBUS).says
    path.unlink()
    with socket.socket(socket.AF_UNIX) as bus:
        bus.bind(str(path))
        assert "does not answer" in computer.finding(Part.DBUS).says
        bus.listen()
        assert computer.finding(Part.DBUS).status is Status.OK


def test_the_system_bus_may_be_named_by_the_environment(computer: Computer) -> None:
    path = computer.file("/elsewhere/bus")
    path.unlink()
    computer.having(environment={**computer.machine.environment, "DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/elsewhere/bus,guid=1"})
    with socket.socket(socket.AF_UNIX) as bus:
        bus.bind(str(path))
        bus.listen()
        assert computer.finding(Part.DBUS).status is Status.OK


@pytest.mark.parametrize(
    ("bluetoothctl", "busctl", "status", "says"),
    [
        (None, None, Status.MISSING, "no bluetoothctl"),
        ("echo 'bluetoothctl: 5.66'", None, Status.OK, "5.66; whether"),
        ("echo 'bluetoothctl: 5.66'", "echo b true", Status.OK, "5.66, runs"),
        ("echo 'bluetoothctl: 5.66'", "echo b false", Status.MISSING, "bluetoothd does not run"),
        ("echo 'bluetoothctl: 5.66'", "echo 'Failed to connect to bus' >&2; exit 1", Status.OK, "5.66; whether"),
        ("echo 'bluetoothctl: 5.50'", "echo b true", Status.MISSING, "5.50 is too old"),
        ("exit 127", None, Status.MISSING, "no bluetoothctl that answers"),
        (None, "echo b true", Status.WARN, "version unknown"),
    ],
)
def test_bluez(computer: Computer, bluetoothctl: str | None, busctl: str | None, status: Status, says: str) -> None:
    for name, script in (("bluetoothctl", bluetoothctl), ("busctl", busctl)):
        if script is not None:
            computer.program(name, script)
    found = computer.finding(Part.BLUEZ)
    assert (found.status, says in found.says) == (status, True)


def test_adapters(computer: Computer) -> None:
    assert computer.finding(Part.ADAPTERS).status is Status.MISSING
    computer.file("/sys/class/bluetooth/hci0/uevent")
    computer.file("/sys/class/bluetooth/hci0:64/uevent")
    computer.file("/sys/class/bluetooth/hci1/rfkill3/soft", "0\n")
    assert (computer.finding(Part.ADAPTERS).status, computer.finding(Part.ADAPTERS).says) == (Status.OK, "hci0, hci1")
    computer.file("/sys/class/bluetooth/hci1/rfkill3/soft", "1\n")
    assert computer.finding(Part.ADAPTERS).says == "hci1 switched off by rfkill"
    assert computer.finding(Part.ADAPTERS).fix == "rfkill unblock bluetooth"


# ------------------------------------------------------------------------------------------------------- serial and USB
def test_serial_ports_and_who_may_use_them(computer: Computer) -> None:
    assert computer.finding(Part.SERIAL).status is Status.WARN
    computer.ports(SerialPort(device="/dev/ttyACM0"), SerialPort(device="/dev/ttyACM1"))
    assert computer.finding(Part.SERIAL).status is Status.OK
    computer.having(may_use=lambda path: path.name != "ttyACM1")
    found = computer.finding(Part.SERIAL)
    assert found.status is Status.WARN
    assert re.search(r"no permission for \S*/dev/ttyACM1$", found.says)
    assert found.fix == "sudo usermod -aG dialout kim, then log out and in again"


@pytest.mark.parametrize(
    ("ports", "status", "says"),
    [
        ((), Status.MISSING, "none"),
        ((SerialPort(device="/dev/ttyACM0", vid=0x1366, pid=0x1015, interface=1),), Status.MISSING, "none"),
        ((kit("/dev/ttyACM0", 3), kit("/dev/ttyACM1", 1)), Status.OK, "C0FFEE: commands on /dev/ttyACM1"),
        ((kit("/dev/ttyACM1", 1),), Status.WARN, "a kit has two ports"),
        ((kit("/dev/ttyACM0", None), kit("/dev/ttyACM1", None)), Status.WARN, "no known port"),
        (
            (kit("/dev/ttyACM0", 1, "B"), kit("/dev/ttyACM1", 3, "B"), kit("/dev/ttyACM2", 3, "A"), kit("/dev/ttyACM3", 1, "A")),
            Status.OK,
            "A: commands on /dev/ttyACM3; B: commands on /dev/ttyACM0",
        ),
    ],
)
def test_power_profiler_kits(computer: Computer, ports: tuple[SerialPort, ...], status: Status, says: str) -> None:
    computer.ports(*ports)
    found = computer.finding(Part.PPK2)
    assert (found.status, says in found.says) == (status, True)


@pytest.mark.parametrize(("location", "interface"), [("1-2.3:1.1", 1), ("3-1:1.12", 12), ("1-2", None), ("", None)])
def test_the_interface_is_read_from_the_location(location: str, interface: int | None) -> None:
    assert machine.interface_of(location) == interface


@pytest.mark.parametrize(
    ("script", "status", "says"),
    [
        ("echo 'Current status for hub 1-1 [2109:3431 USB2.0 Hub, USB 2.10, 4 ports, ppps]'", Status.OK, "can switch 1-1"),
        ("echo 'No compatible devices detected!' >&2; exit 1", Status.MISSING, "no hub that it can switch"),
        ("echo 'There were permission problems while accessing USB.' >&2; exit 1", Status.MISSING, "may not use"),
    ],
)
def test_hubs(computer: Computer, script: str, status: Status, says: str) -> None:
    assert "no uhubctl" in computer.finding(Part.HUBS).says
    computer.program("uhubctl", script)
    found = computer.finding(Part.HUBS)
    assert (found.status, says in found.says) == (status, True)


# --------------------------------------------------------------------------------------------------------------- probes
@pytest.mark.parametrize("place", ["opt/SEGGER/JLink_V810/libjlinkarm.so.8", "usr/lib/x86_64-linux-gnu/libjlinkarm.so"])
def test_the_j_link_library_in_its_places(computer: Computer, place: str) -> None:
    found = computer.finding(Part.JLINK_LIBRARY)
    assert (found.status, "sees no probes" in found.says) == (Status.MISSING, True)
    computer.file(place)
    assert computer.finding(Part.JLINK_LIBRARY).says.endswith(place)


def test_the_j_link_library_of_the_loader(computer: Computer) -> None:
    computer.having(find_library={"jlinkarm": "libjlinkarm.so.8"}.get)
    assert (computer.finding(Part.JLINK_LIBRARY).status, computer.finding(Part.JLINK_LIBRARY).says) == (Status.OK, "libjlinkarm.so.8")


def test_j_links_on_usb(computer: Computer) -> None:
    computer.file("/sys/bus/usb/devices/1-1/idVendor", "1915\n")
    assert computer.finding(Part.JLINK).status is Status.MISSING
    computer.file("/sys/bus/usb/devices/1-2/idVendor", "1366\n")
    computer.file("/sys/bus/usb/devices/1-2/serial", "000683123456\n")
    assert (computer.finding(Part.JLINK).status, computer.finding(Part.JLINK).says) == (Status.OK, "683123456")


def test_a_udev_rule_for_j_links(computer: Computer) -> None:
    computer.file("/etc/udev/rules.d/70-other.rules", '# not for 1366\nATTRS{idVendor}=="1234"\n')
    assert computer.finding(Part.UDEV).status is Status.MISSING
    computer.file("/usr/lib/udev/rules.d/99-jlink.rules", 'ATTRS{idVendor}=="1366", MODE="666"\n')
    assert computer.finding(Part.UDEV).status is Status.OK


@pytest.mark.parametrize(
    ("source", "status", "says"),
    [
        (None, Status.MISSING, "not installed"),
        ("", Status.OK, "10.24.2"),
        ("raise OSError('libnrfjprogdll.so: wrong ELF class')", Status.MISSING, "wrong ELF class"),
        ("import os; os._exit(9)", Status.MISSING, "it crashed"),
        ("import no_such_part", Status.MISSING, "No module named 'no_such_part'"),
    ],
)
def test_pynrfjprog_is_really_imported(computer: Computer, source: str | None, status: Status, says: str) -> None:
    if source is None:  # whatever is installed beside this interpreter
        computer.program("bare-python", f'exec {sys.executable} -S "$@"')
        computer.having(interpreter=str(computer.folder / "bin" / "bare-python"))
    else:
        computer.library("pynrfjprog", "10.24.2", LowLevel=source)
    found = computer.finding(Part.PYNRFJPROG)
    assert (found.status, says in found.says) == (status, True)
    assert found.fix == {None: "scripts/setup lab", "": ""}.get(source, "python -c 'import pynrfjprog.LowLevel' shows why")


def test_pyocd_and_nrfutil(computer: Computer) -> None:
    computer.library("pyocd", "0.42.0")
    computer.program("nrfutil", "echo 'nrfutil 8.1.1 (2bc2a2c 2026-01-01)'")
    assert (computer.finding(Part.PYOCD).says, computer.finding(Part.NRFUTIL).says) == ("0.42.0", "8.1.1")


def test_the_libraries_of_instruments_are_really_imported(computer: Computer) -> None:
    computer.library("pyvisa_py", "0.8.1")
    computer.library("pyjoulescope_driver", "2.2.12", __init__="raise OSError('libudev.so.1: cannot open')")
    visa, joulescope = (computer.finding(part) for part in (Part.PYVISA, Part.JOULESCOPE))
    assert (visa.status, visa.says) == (Status.OK, "0.8.1")
    assert (joulescope.status, "libudev.so.1" in joulescope.says) == (Status.MISSING, True)


def test_nrfutil_alone_drives_no_probe(computer: Computer) -> None:
    computer.program("nrfutil", "[ \"$1\" = device ] && exit 1; echo 'nrfutil 8.1.1'")
    found = computer.finding(Part.NRFUTIL)
    assert (found.status, "without its command `device`" in found.says, found.fix) == (Status.MISSING, True, "nrfutil install device")


# ------------------------------------------------------------------------------------------------------- what is needed
@pytest.fixture
def ask(computer: Computer, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """`rig doctor` on the stand-in."""
    monkeypatch.setattr(bench_commands, "this_machine", lambda: computer.machine)
    return lambda *arguments: CliRunner().invoke(rig, ["doctor", *arguments], catch_exceptions=False)


def lab_file(computer: Computer, text: str = BOARDS) -> str:
    path = computer.folder / "lab.yaml"
    path.write_text(text)
    return str(path)


def furnish_lab(computer: Computer) -> None:
    """Everything that the boards of `BOARDS` need."""
    computer.file("/sys/class/bluetooth/hci0/uevent")
    computer.program("bluetoothctl", "echo 'bluetoothctl: 5.66'")
    computer.ports(kit("/dev/supply1", 1), kit("/dev/data1", 3), SerialPort(device="/dev/console1"), SerialPort(device="/dev/console2"))
    computer.file("/dev/supply2")


@pytest.fixture
def bus(computer: Computer) -> Iterator[None]:
    path = computer.file("/run/dbus/system_bus_socket")
    path.unlink()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        yield


def test_without_a_boards_file_everything_is_shown_and_nothing_is_wrong(ask: Callable[..., Result]) -> None:
    result = ask()
    assert result.exit_code == 0
    assert "MISSING    nrfutil" in result.output
    assert "not needed" not in result.output


def test_a_virtual_bench_needs_nothing_of_a_lab(ask: Callable[..., Result]) -> None:
    result = ask("--boards", str(VIRTUAL))
    assert result.exit_code == 0
    assert "MISSING" not in result.output and "WARN" not in result.output and "fix:" not in result.output
    assert "everything that these boards need is here" in result.output


def test_a_virtual_bench_needs_the_libraries(computer: Computer, ask: Callable[..., Result]) -> None:
    computer.having(installed={}.get)
    result = ask("--boards", str(VIRTUAL))
    assert result.exit_code == 2
    assert "missing for these boards: libraries." in result.output


@pytest.mark.usefixtures("bus")
def test_a_furnished_lab(computer: Computer, ask: Callable[..., Result]) -> None:
    furnish_lab(computer)
    result = ask("--boards", lab_file(computer))
    assert (result.exit_code, "MISSING" in result.output) == (0, False)
    assert re.search(r"OK +dk2\.supply", result.output)
    assert re.search(r"not needed +nrfutil", result.output)


def set_up_port(computer: Computer, *wrong: SerialPort) -> None:
    computer.having(serial_ports=lambda: (SerialPort(device="/dev/console1"), SerialPort(device="/dev/console2"), *wrong))


@pytest.mark.usefixtures("bus")
@pytest.mark.parametrize(
    ("spoil", "part", "says"),
    [
        (lambda c: (c.folder / "root/dev/console2").unlink(), "dk2.console", "/dev/console2 does not exist"),
        (lambda c: c.having(may_use=lambda path: path.name != "supply2"), "dk2.supply", "no permission for /dev/supply2"),
        (lambda c: set_up_port(c, kit("/dev/supply1", 3), kit("/dev/other", 1)), "dk1.supply", "not the command port of a PPK2"),
        (lambda c: set_up_port(c, SerialPort(device="/dev/supply1", vid=0x1366, pid=0x1015), kit("/dev/o", 1)), "dk1.supply", "not the comm"),
        (lambda c: (c.folder / "root/sys/class/bluetooth/hci0").rename(c.folder / "root/sys/class/bluetooth/hci7"), "dk1.radio", "no adapter hci0"),
        (set_up_port, "PPK2", "none"),
        (lambda c: c.program("bluetoothctl", "exit 1"), "BlueZ", "no bluetoothctl"),
    ],
)
def test_what_is_wrong_in_a_lab(
    computer: Computer, ask: Callable[..., Result], spoil: Callable[[Computer], object], part: str, says: str
) -> None:
    furnish_lab(computer)
    spoil(computer)
    result = ask("--boards", lab_file(computer))
    assert result.exit_code == 2
    assert re.search(rf"MISSING +{re.escape(part)} .*{re.escape(says)}.*\n +fix: ", result.output)
    assert part in result.output.splitlines()[-1]


def test_a_port_by_its_stable_name_is_the_port_behind_it(computer: Computer, ask: Callable[..., Result]) -> None:
    computer.ports(kit("/dev/ttyACM0", 1), kit("/dev/ttyACM1", 3))
    (computer.folder / "root/dev/serial/by-id").mkdir(parents=True)
    (computer.folder / "root/dev/serial/by-id/kit").symlink_to("../../ttyACM1")
    text = BOARDS.replace("/dev/supply1", "/dev/serial/by-id/kit")
    result = ask("--boards", lab_file(computer, text))
    assert re.search(r"MISSING +dk1\.supply +/dev/serial/by-id/kit is not the command port", result.output)


def test_the_port_of_a_bootloader_is_wiring_as_well(computer: Computer, ask: Callable[..., Result]) -> None:
    text = VIRTUAL.read_text().replace("protocol: secure_dfu", "protocol: secure_dfu\n    dfu_port: /dev/dfu", 1)
    result = ask("--boards", lab_file(computer, text))
    assert re.search(r"MISSING +dk5\.dfu_port +/dev/dfu does not exist", result.output)


def test_a_broken_boards_file_is_the_operators_mistake(computer: Computer, ask: Callable[..., Result]) -> None:
    with pytest.raises(ConfigError, match="unknown key"):
        ask("--boards", lab_file(computer, BOARDS + "extra: 1\n"))


def test_every_driver_says_what_it_needs() -> None:
    registered = {(port, name) for port, names in DRIVERS.items() if port != "bench" for name in names}
    assert registered <= set(NEEDS), "add the driver to rig/doctor/needs.py"


def test_this_machine_can_be_examined() -> None:
    result = examine(this_machine(), None, reports=REPOSITORY / "reports")
    statuses = {finding.part: finding.status for _, group in result.groups for finding in group}
    assert set(statuses) == set(Part)
    assert statuses[Part.PYTHON] is statuses[Part.LIBRARIES] is statuses[Part.SQLITE] is Status.OK


# -------------------------------------------------------------------------------------------------------------- drivers
def test_drivers_are_listed_with_nothing_claimed() -> None:
    entries = list_drivers()
    assert [(entry.port, entry.name) for entry in entries] == [(port, name) for port, names in DRIVERS.items() for name in names]
    assert all(entry.what for entry in entries)
    kit_entry = next(entry for entry in entries if entry.name == "ppk2")
    assert kit_entry.capabilities == ("logic_inputs", "measure_current", "sense_vdd", "set_voltage", "watch")
    output = CliRunner().invoke(rig, ["drivers"], catch_exceptions=False).output
    rows = [line.split()[:3] for line in output.splitlines()[1:]]
    assert rows == [[entry.port, entry.name, "no"] for entry in entries]


def test_a_driver_is_described_without_being_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "drivers" / "probe_new").mkdir(parents=True)
    (tmp_path / "drivers" / "probe_new" / "__init__.py").write_text("raise ImportError('never')\n")
    (tmp_path / "drivers" / "probe_new" / "probe.py").write_text(
        'def load():\n    from pynrfjprog import LowLevel\n\n\nclass NewProbe:\n    """`rig.ports.Probe` on a new thing.  More.\n\n    And more.\n    """\n'
    )
    registry = {"probe": {"new": "rig.drivers.probe_new:NewProbe"}}
    (entry,) = list_drivers(registry, tmp_path)
    assert (entry.what, entry.extra, entry.capabilities, entry.tried_on_hardware) == ("Probe on a new thing", "lab", (), False)
    monkeypatch.setattr(catalogue, "TRIED_ON_HARDWARE", frozenset({("probe", "new")}))
    assert list_drivers(registry, tmp_path)[0].tried_on_hardware


@pytest.mark.parametrize(
    ("requirement", "version", "accepted"),
    [
        ("x~=3.1", "3.9.0", True),
        ("x~=3.1", "3.0.9", False),
        ("x~=3.1", "4.0", False),
        ("x~=2.4.1", "2.4.9", True),
        ("x~=2.4.1", "2.5", False),
        ("x==0.0.236", "0.0.236", True),
        ("x==0.0.236", "0.0.237", False),
        ("x>=6,<7", "7.0.0", False),
        ("x>=6,<7", "6.3.0", True),
        ("x>=2.10", "2.9", False),
    ],
)
def test_versions_are_compared_as_pip_does(requirement: str, version: str, accepted: bool) -> None:
    assert parse(requirement).accepts(version) is accepted
