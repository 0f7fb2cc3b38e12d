"""A J-Link through Nordic's command-line tool `nrfutil device`, the successor of nrfjprog.

Wiring: as for nrfjprog.  nrfutil and its command `device` come from Nordic (its own licence), not from PyPI, where the name belongs to
an older tool; it needs SEGGER's J-Link library.
Latency: each access is a run of the program, said to take about a second: opening, attaching and reading the flash of a board takes
several.  For campaigns nrfjprog or pyocd is quicker.
Limits: no RTT.  The tool cannot hold a core at its first instruction: it halts it wherever it is, so that pages which the firmware has
locked stay locked; programming those fails in the verification.  Registers are read with ``--direct``.
Never tried on hardware, nor with the tool itself.  Sources: Nordic's pages on nRF Util (Message format; device read, erase, program,
reset, recover, protection-get) and the types that nRF Connect for Desktop expects.  Unsure: the words of errors; whether results come
in ``task_end`` or in ``info`` messages (both are understood); in which state a command leaves the core (it is halted again after each).
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from rig.drivers.nrf52_debug import Nrf52Probe
from rig.drivers.probe_process import NoTargetVoltage, kill_all
from rig.errors import ConfigError, InstrumentError
from rig.formats.soc import PAGE_SIZE

_PROGRAM = "nrfutil"
_LIMIT_S = 30.0
_PAGE_LIMIT_S = 1.0
_BYTES_PER_SECOND = 10_000
_ANSWER_SIZE = 2**26
"""Longest line that is read: a megabyte of flash comes as one list of numbers."""

_INSTALL_HINT = "get it from nordicsemi.com/Products/Development-tools/nRF-Util, put it on the PATH, and: nrfutil install device"
_PLUG_HINT = "check the USB cable, the DK's power switch and serial_number; `nrfutil device list` shows what is there"
_POWER_HINT = "switch the supply on before using the probe"
_HUNG_HINT = "unplug and re-plug the probe's USB cable; if it hangs again, update the J-Link software and the probe's firmware"

Message = Mapping[str, Any]


class NrfutilProbe(Nrf52Probe):
    """`rig.ports.Probe` on a J-Link, through the command-line tool nrfutil.

    Args:
        owner: the board that the probe is wired to.
        serial_number: of the J-Link, as printed on the DK, without leading zeros.

    Raises:
        ConfigError: the number is not positive.
    """

    def __init__(self, *, owner: str, serial_number: int) -> None:
        name = f"{owner}.probe"
        if serial_number <= 0:
            raise ConfigError(f"{name}: serial_number must be positive, not {serial_number}")
        super().__init__(name, NrfutilAccess(name, serial_number))


class NrfutilAccess:
    """`rig.drivers.nrf52_debug.DebugAccess` on runs of the program."""

    def __init__(self, name: str, serial_number: int) -> None:
        self._name, self._serial_number = name, serial_number

    async def open(self) -> None:
        messages = await self._run("list", limit_s=_LIMIT_S, of_the_device=False)
        there = [number for number in map(_serial_number, _payloads(messages)) if number]
        if self._serial_number not in there:
            shown = ", ".join(map(str, sorted(set(there)))) or "none"
            raise InstrumentError(self._name, f"there is no J-Link {self._serial_number}; there are: {shown}", hint=_PLUG_HINT)

    async def close(self) -> None:
        """Nothing stays open between two runs."""

    async def is_protected(self) -> bool:
        status = self._value(await self._run("protection-get", limit_s=_LIMIT_S), "protectionStatus")
        kind = str(status).removeprefix("NRFDL_PROTECTION_STATUS_").upper()
        if kind not in {"NONE", "ALL"}:
            raise InstrumentError(self._name, f"nrfutil reports an unknown protection status {status!r}")
        return kind == "ALL"

    async def hold(self) -> None:
        await self._run("halt", limit_s=_LIMIT_S)

    async def read(self, address: int, length: int) -> bytes:
        arguments = ("--address", hex(address), "--bytes", str(length), "--direct")
        messages = await self._run("read", *arguments, limit_s=_LIMIT_S + length / _BYTES_PER_SECOND)
        pieces = self._value(messages, "memoryData")
        try:
            data = b"".join(bytes(piece["values"]) for piece in pieces)
        except (TypeError, KeyError, ValueError):
            data = b""
        if len(data) != length:
            raise InstrumentError(self._name, f"nrfutil returned {len(data)} bytes instead of {length} from 0x{address:x}")
        return data

    async def program(self, address: int, pages: bytes) -> None:
        with tempfile.TemporaryDirectory(prefix="rig-nrfutil-") as folder:
            file = Path(folder) / "pages.hex"
            file.write_text(intel_hex(address, pages), encoding="ascii")
            options = "chip_erase_mode=ERASE_RANGES_TOUCHED_BY_FIRMWARE,verify=VERIFY_NONE,reset=RESET_NONE"
            limit_s = _LIMIT_S + 2 * _PAGE_LIMIT_S * len(pages) / PAGE_SIZE
            await self._run("program", "--firmware", str(file), "--options", options, limit_s=limit_s)
        await self.hold()

    async def erase(self, address: int, length: int) -> None:
        limit_s = _LIMIT_S + _PAGE_LIMIT_S * length / PAGE_SIZE
        await self._run("erase", "--pages", f"{address:#x}-{address + length:#x}", limit_s=limit_s)
        await self.hold()

    async def glance(self, registers: Sequence[int]) -> Sequence[int]:
        """Each run of the program costs a second, so neighbours are read at once."""
        words: dict[int, int] = {}
        for first, last in _neighbours(registers):
            data = await self.read(first, last - first + 4)
            words |= {first + at: int.from_bytes(data[at : at + 4], "little") for at in range(0, len(data), 4)}
        return [words[register] for register in registers]

    async def pin_reset(self) -> None:
        await self._run("reset", "--reset-kind", "RESET_PIN", limit_s=_LIMIT_S)

    async def recover(self) -> None:
        await self._run("recover", limit_s=2 * _LIMIT_S)

    async def write_uicr(self, address: int, word: int) -> None:
        await self._run("write", "--address", hex(address), "--value", hex(word), limit_s=_LIMIT_S)
        await self._run("reset", "--reset-kind", "RESET_SYSTEM", limit_s=_LIMIT_S)  # `hold` resets nothing

    # --------------------------------------------------------------------------------------------------------- internal
    async def _run(self, command: str, *arguments: str, limit_s: float, of_the_device: bool = True) -> list[Message]:
        """Run one command; returns its messages.

        Raises:
            NoTargetVoltage: it says that the SoC has no power.
            InstrumentError: it is not installed, fails, or does not end in time.
        """
        chosen = ("--serial-number", str(self._serial_number)) if of_the_device else ()
        code, out, err = await self._execute(("--json", "device", command, *arguments, *chosen), limit_s)
        messages = list(_messages(out))
        failures = [message["data"] for message in messages if _failed(message)]
        if failures or code != 0:
            raise self._failure(command, failures, code, err)
        return messages

    async def _execute(self, arguments: Sequence[str], limit_s: float) -> tuple[int, bytes, bytes]:
        shown = " ".join((_PROGRAM, *arguments))
        try:
            process = await asyncio.create_subprocess_exec(
                _PROGRAM, *arguments, stdin=DEVNULL, stdout=PIPE, stderr=PIPE, limit=_ANSWER_SIZE, start_new_session=True
            )
        except FileNotFoundError:
            raise InstrumentError(self._name, f"the program {_PROGRAM} is not installed", hint=_INSTALL_HINT) from None
        except OSError as error:
            raise InstrumentError(self._name, f"{shown!r} cannot be run: {error.strerror or error}", hint=_INSTALL_HINT) from error
        try:
            async with asyncio.timeout(limit_s):
                out, err = await process.communicate()
        except TimeoutError:
            reason = f"{shown!r} has not ended within {limit_s:g} s and was stopped"
            raise InstrumentError(self._name, reason, hint=_HUNG_HINT) from None
        finally:
            if process.returncode is None:
                kill_all(process)  # nrfutil runs its commands as programs of their own
                await process.wait()
        return process.returncode or 0, out, err

    def _failure(self, command: str, failures: Sequence[Message], code: int, err: bytes) -> InstrumentError:
        words = [str((failure.get("error") or {}).get("description") or failure.get("message") or "") for failure in failures]
        said = " ".join(filter(None, words)) or err.decode(errors="replace").strip().partition("\n")[0] or f"exit code {code}"
        if "voltage" in said.lower():
            return NoTargetVoltage(self._name, f"no target voltage (nrfutil: {said[:200]})", hint=_POWER_HINT)
        return InstrumentError(self._name, f"nrfutil device {command} failed: {said[:300]}", hint=f"run it by hand: nrfutil device {command}")

    def _value(self, messages: Sequence[Message], key: str) -> Any:
        for payload in _payloads(messages):
            if key in payload and _serial_number(payload) in {self._serial_number, 0}:
                return payload[key]
        raise InstrumentError(self._name, f"nrfutil's answer has no {key}", hint="update it: nrfutil upgrade device")


def _neighbours(registers: Sequence[int]) -> list[tuple[int, int]]:
    """First and last register of each stretch without a gap of more than a few words."""
    stretches: list[tuple[int, int]] = []
    for register in sorted(registers):
        if stretches and register - stretches[-1][1] <= 16:
            stretches[-1] = (stretches[-1][0], register)
        else:
            stretches.append((register, register))
    return stretches


def _messages(out: bytes) -> Iterator[Message]:
    """The JSON objects, one to a line; anything else that is printed between them is not for programs."""
    for line in out.splitlines():
        with suppress(ValueError):
            message = json.loads(line)
            if isinstance(message, dict) and isinstance(message.get("data"), dict):
                yield message


def _failed(message: Message) -> bool:
    return message.get("type") == "task_end" and message["data"].get("result") == "fail"


def _payloads(messages: Sequence[Message]) -> Iterator[Message]:
    """What the tasks brought, and what the info messages say, device by device."""
    for message in messages:
        data = message["data"]
        inner = data.get("data") if message.get("type") == "task_end" else data if message.get("type") == "info" else None
        if isinstance(inner, dict):
            devices = inner.get("devices")
            yield from (device for device in (devices if isinstance(devices, list) else [inner]) if isinstance(device, dict))


def _serial_number(payload: Message) -> int:
    """0 where there is none."""
    number = str(payload.get("serialNumber") or "")
    return int(number) if number.isdecimal() else 0


def intel_hex(address: int, data: bytes) -> str:
    """`data` at `address` as an Intel HEX file (Intel, Hexadecimal Object File Format Specification, 1988)."""
    lines = []
    upper = -1
    for start in range(0, len(data), 16):
        at = address + start
        if at >> 16 != upper:
            upper = at >> 16
            lines.append(_record(0, 4, upper.to_bytes(2, "big")))
        lines.append(_record(at & 0xFFFF, 0, data[start : start + 16]))
    return "\n".join((*lines, _record(0, 1, b""), ""))


def _record(offset: int, kind: int, data: bytes) -> str:
    body = bytes((len(data), offset >> 8, offset & 0xFF, kind)) + data
    return ":" + (body + bytes((-sum(body) & 0xFF,))).hex().upper()
