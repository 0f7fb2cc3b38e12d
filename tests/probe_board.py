"""An nRF52840 on a debug probe, made of files, so that it outlives the process of the library that drives it.

The stand-ins of pynrfjprog, pyOCD and nrfutil (tests/stand_ins) act on it; a test looks at it and misbehaves through it.
"""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

REPOSITORY = Path(__file__).parents[1]
STAND_INS = Path(__file__).parent / "stand_ins"
FOLDER_VARIABLE = "RIG_STAND_IN_BOARD"
SERIAL_NUMBER = 683000001

PAGE = 4096
FLASH_SIZE = 256 * PAGE
FICR, UICR, ACL = 0x1000_0000, 0x1000_1000, 0x4001_E800
UICR_SIZE = 0x400
PSELRESET = 0x200
DEVICE_ID = 0x1122334455667788


class Board:
    """The SoC and what is around it.  Every property is a file of `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @classmethod
    def fresh(cls, folder: Path, *, locks: Sequence[tuple[int, int]] = (), approtect: bool = False) -> Board:
        """A board with blank flash and its reset pin enabled, which runs firmware that locks `locks`, from its power-up on."""
        board = cls(folder)
        (folder / "flash").write_bytes(b"\xff" * FLASH_SIZE)
        board.set_uicr(bytearray(b"\xff" * UICR_SIZE))
        board.write_uicr_word(PSELRESET, 18)
        board.write_uicr_word(PSELRESET + 4, 18)
        board._put("wants_locks", "".join(f"{start} {size}\n" for start, size in locks))
        board.flag("approtect", approtect)
        board.power(on=True)
        return board

    @classmethod
    def here(cls) -> Board:
        """The board of this process's test."""
        return cls(Path(os.environ[FOLDER_VARIABLE]))

    # ------------------------------------------------------------------------------------------------------------ files
    def _put(self, name: str, text: str) -> None:
        (self._folder / name).write_text(text)

    def _get(self, name: str) -> str:
        with suppress(FileNotFoundError):
            return (self._folder / name).read_text()
        return ""

    def flag(self, name: str, value: bool) -> None:
        self._put(name, "yes" if value else "")

    def is_(self, name: str) -> bool:
        """powered, approtect, held, debugged (debug interface mode), unplugged (the probe), stuck (no debug access before a pin reset)."""
        return bool(self._get(name))

    def append(self, name: str, data: bytes) -> None:
        with (self._folder / name).open("ab") as file:
            file.write(data)

    @property
    def console(self) -> bytes:
        path = self._folder / "console"
        return path.read_bytes() if path.exists() else b""

    @property
    def calls(self) -> list[str]:
        """The names of the library's functions that were called, in order."""
        return self._get("calls").split()

    def misbehave(self, how: str, function: str) -> None:
        """From now on `function` hangs, dies (with a message), starts-a-helper, or prints what no program expects."""
        self._put("misbehaviour", f"{how} {function}")

    @property
    def has_helper(self) -> bool:
        """Whether the process lives that the library has started."""
        status = Path(f"/proc/{self._get('helper')}/stat")
        return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"

    def note(self, function: str) -> None:
        """A function of a stand-in begins."""
        self.append("calls", f"{function}\n".encode())
        how, _, which = self._get("misbehaviour").partition(" ")
        if which == function:
            if how == "hangs":
                time.sleep(3600)
            if how == "dies":
                print("assertion failed in libvendor", file=sys.stderr, flush=True)
                os._exit(70)
            if how == "starts-a-helper":
                self._put("helper", str(subprocess.Popen(["sleep", "3600"]).pid))
            print("unexpected words of a library", flush=True)

    # -------------------------------------------------------------------------------------------------------------- SoC
    def power(self, *, on: bool) -> None:
        self.flag("powered", on)
        self.flag("held", False)
        self.flag("debugged", False)
        if on:
            self._reset()
            self._run()

    def pin_reset(self) -> None:
        self.flag("stuck", False)
        if self.is_("powered") and self.is_("pin_works"):
            self._reset()
            self._run()

    def hold(self) -> None:
        """SYSRESETREQ, and a halt at the first instruction."""
        self._reset()
        self.flag("held", True)

    def _reset(self) -> None:
        """What every reset does: locks end, and UICR.PSELRESET is looked at."""
        self._put("locks", "")
        self.flag("held", False)
        self.flag("pin_works", all(word == 18 for word in struct.unpack("<2I", self.uicr[PSELRESET : PSELRESET + 8])))

    def _run(self) -> None:
        wanted = self._get("wants_locks")
        self._put("locks", wanted)
        self.append("console", b"locked\n" if wanted else b"*** Booting MCUboot v2.1.0 ***\n")

    def recover(self) -> None:
        (self._folder / "flash").write_bytes(b"\xff" * FLASH_SIZE)
        self.set_uicr(bytearray(b"\xff" * UICR_SIZE))
        self._put("wants_locks", "")
        self.flag("approtect", False)
        self.hold()

    # ----------------------------------------------------------------------------------------------------------- memory
    @property
    def uicr(self) -> bytes:
        return (self._folder / "uicr").read_bytes()

    def set_uicr(self, data: bytearray) -> None:
        (self._folder / "uicr").write_bytes(data)

    def write_uicr_word(self, offset: int, word: int) -> None:
        data = bytearray(self.uicr)
        data[offset : offset + 4] = struct.pack("<I", word & struct.unpack_from("<I", data, offset)[0])
        self.set_uicr(data)

    def read(self, address: int, length: int) -> bytes:
        spaces = ((0, (self._folder / "flash").read_bytes()), (FICR, _ficr()), (UICR, self.uicr), (ACL, self._acl()))
        for start, data in spaces:
            if start <= address < address + length <= start + len(data):
                return data[address - start : address - start + length]
        raise AssertionError(f"nobody should read {length} bytes at 0x{address:x}")

    def _locks(self) -> list[tuple[int, int]]:
        return [(int(start), int(size)) for start, size in (line.split() for line in self._get("locks").splitlines())]

    def _acl(self) -> bytes:
        regions = self._locks()
        return b"".join(struct.pack("<4I", start, size, 2, 0) for start, size in regions).ljust(128, b"\0")

    def _is_locked(self, page: int) -> bool:
        return any(start <= page < start + size for start, size in self._locks())

    def erase_page(self, page: int) -> None:
        assert page % PAGE == 0
        if not self._is_locked(page):
            with (self._folder / "flash").open("r+b") as file:
                file.seek(page)
                file.write(b"\xff" * PAGE)
            self.append("erased", f"0x{page:x}\n".encode())

    @property
    def erased(self) -> list[str]:
        """Pages in the order of their erasure, one for each time."""
        return self._get("erased").split()

    def write(self, address: int, data: bytes) -> None:
        """As NOR flash does: bits go from 1 to 0."""
        assert address % 4 == 0 and len(data) % 4 == 0
        there = self.read(address, len(data))
        with (self._folder / "flash").open("r+b") as file:
            for start in range(0, len(data), 4):
                if not self._is_locked((address + start) // PAGE * PAGE):
                    file.seek(address + start)
                    file.write(bytes(old & new for old, new in zip(there[start : start + 4], data[start : start + 4], strict=True)))

    # -------------------------------------------------------------------------------------------------------------- RTT
    @contextmanager
    def _rtt_buffer(self) -> Iterator[IO[bytes]]:
        """The buffer, for one process at a time."""
        with (self._folder / "rtt").open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield file

    def print_rtt(self, data: bytes) -> None:
        with self._rtt_buffer() as file:
            file.write(data)

    def take_rtt(self) -> bytes:
        with self._rtt_buffer() as file:
            file.seek(0)
            taken = file.read()
            file.truncate(0)
            return taken


def _ficr() -> bytes:
    data = bytearray(b"\xff" * 0x200)
    for offset, word in {
        0x60: DEVICE_ID & 0xFFFFFFFF,
        0x64: DEVICE_ID >> 32,
        0xA0: 0xFFFFFFFF,
        0xA4: 0x00000001,
        0xA8: 0xFFFF0000,
        0x100: 0x52840,
        0x10C: 256,
        0x110: 1024,
    }.items():
        struct.pack_into("<I", data, offset, word)
    return bytes(data)


@contextmanager
def stand_ins(folder: Path) -> Iterator[None]:
    """Libraries and tools of `tests/stand_ins` instead of the installed ones, on the board of `folder`."""
    import pytest  # the stand-in of nrfutil runs without site packages, which makes it start at once

    programs = folder / "bin"
    programs.mkdir()
    nrfutil = programs / "nrfutil"
    nrfutil.write_text(f'#!/bin/sh\nPYTHONPATH="{REPOSITORY}" exec "{sys.executable}" -S -m tests.stand_ins.nrfutil "$@"\n')
    nrfutil.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(FOLDER_VARIABLE, str(folder))
        patch.setenv("PATH", str(programs), prepend=os.pathsep)
        patch.setattr(sys, "path", [str(STAND_INS), str(REPOSITORY), *sys.path])
        yield


OPTIONS: dict[str, dict[str, object]] = {
    "nrfjprog": {"serial_number": SERIAL_NUMBER},
    "nrfutil": {"serial_number": SERIAL_NUMBER},
    "pyocd": {"unique_id": str(SERIAL_NUMBER)},
}
"""Driver → the options that name the stand-in's probe."""
