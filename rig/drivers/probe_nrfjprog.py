"""A J-Link through Nordic's pynrfjprog: the on-board debugger of a DK, or any other J-Link on SWD.

Wiring: SWDIO, SWDCLK, GND, the SoC's VDD to the probe's VTref, and nRESET (nRF52832: P0.21, others: P0.18); on a DK all of it is there.
Latency: loading the library takes 0.9 s (measured without a probe).  Figures of others' benches, not measured here: attaching some
0.1 s, reading some 100 kB/s, erasing and writing a page some 0.2 s.
Limits: Nordic has archived pynrfjprog (10.24.2 is the last; its successor is nrfutil) and licenses it for use with Nordic's chips only.
It needs SEGGER's J-Link library, which its installation does not bring.  A J-Link takes several programs at once without a word:
close other programs that use the same probe.
Never tried on hardware; what the calls do to the SoC is taken from the package's own documentation (nrfjprogdll.h of 10.24.2).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from rig.drivers.probe_session import SessionAccess
from rig.drivers.probe_worker import ProbeFault
from rig.drivers.rtt_source import RttProbe
from rig.errors import ConfigError
from rig.formats.soc import PAGE_SIZE

_SEGGER_HINT = "install the J-Link Software and Documentation Pack from segger.com/downloads/jlink; `rig doctor` looks for it"
_PLUG_HINT = "check the USB cable, the DK's power switch and serial_number; `rig doctor` lists the J-Links on USB"
_WIRE_HINT = "check the SWD wires, VTref, and that the supply is on"
_RTT_SIZE = 4096

_FAULTS: dict[str, tuple[str, str]] = {
    "EMULATOR_NOT_CONNECTED": ("the J-Link does not answer", _PLUG_HINT),
    "NO_EMULATOR_CONNECTED": ("there is no J-Link", _PLUG_HINT),
    "CANNOT_CONNECT": ("the SoC does not answer on SWD", _WIRE_HINT),
    "LOW_VOLTAGE": ("no target voltage", "switch the supply on before using the probe"),
    "WRONG_FAMILY_FOR_DEVICE": ("the SoC on this probe is no nRF52", "correct the boards file or the cabling"),
    "NOT_AVAILABLE_BECAUSE_PROTECTION": ("access port protection (APPROTECT) is on", "only `recover` opens the chip, which erases all of it"),
    "JLINKARM_DLL_NOT_FOUND": ("SEGGER's J-Link library is not installed", _SEGGER_HINT),
    "JLINKARM_DLL_COULD_NOT_BE_OPENED": ("SEGGER's J-Link library cannot be opened", _SEGGER_HINT),
    "JLINKARM_DLL_TOO_OLD": ("SEGGER's J-Link library is too old for pynrfjprog", _SEGGER_HINT),
    "RECOVER_FAILED": ("the chip stays closed", "power it off and on, and try again; erase protection, where a chip has it, cannot be undone"),
}
"""Name of the error in `pynrfjprog.APIError.NrfjprogdllErr` → what it means on a bench, and what to do."""


class NrfjprogProbe(RttProbe):
    """`rig.ports.Probe` on a J-Link, through pynrfjprog.

    Args:
        owner: the board that the probe is wired to.
        serial_number: of the J-Link, as printed on the DK, without leading zeros.
        swd_khz: clock of SWD in kHz, 125 to 8000.

    Raises:
        ConfigError: the clock is out of range.
    """

    def __init__(self, *, owner: str, serial_number: int, swd_khz: int = 2000) -> None:
        if not 125 <= swd_khz <= 8000:
            raise ConfigError(f"{owner}.probe: swd_khz must lie between 125 and 8000, not {swd_khz}")
        options = {"serial_number": serial_number, "swd_khz": swd_khz}
        super().__init__(owner, SessionAccess("rig.drivers.probe_nrfjprog:NrfjprogSession", owner=f"{owner}.probe", options=options))


class NrfjprogSession:
    """What runs in the probe's process: `rig.drivers.nrf52_debug.DebugAccess` without the waiting."""

    def __init__(self, *, serial_number: int, swd_khz: int) -> None:
        try:
            from pynrfjprog import LowLevel  # noqa: PLC0415 - needed by this driver only
        except ModuleNotFoundError as error:
            raise ProbeFault(f"{error.name} is not installed", hint="scripts/setup lab, or: pip install 'rig-ota[lab]'") from error
        self._api_error: type[Exception] = LowLevel.APIError
        self._serial_number, self._swd_khz = serial_number, swd_khz
        try:
            self._api: Any = LowLevel.API("NRF52")
        except RuntimeError as error:
            raise ProbeFault(f"pynrfjprog cannot load its library: {error}", hint="reinstall pynrfjprog for this computer's architecture") from error
        self._has_probe = False
        self._connected = False
        self._rtt = False

    def open(self) -> None:
        with self._translated(new=True):
            self._api.open()
            there = self._api.enum_emu_snr() or []  # None stands for none
            if self._serial_number not in there:
                shown = ", ".join(map(str, there)) or "none"
                raise ProbeFault(f"there is no J-Link {self._serial_number}; there are: {shown}", hint=_PLUG_HINT)
            self._attach_probe()

    def close(self) -> None:
        with self._translated(new=True):
            self._api.close()

    def is_protected(self) -> bool:
        with self._translated():
            status: str = self._api.readback_status()
            if not self._connected:
                self._api.disconnect_from_device()  # to ask has switched the debug port on
        return status != "NONE"

    def hold(self) -> None:
        with self._translated():
            self._connect()
            self._api.sys_reset()

    def read(self, address: int, length: int) -> bytes:
        with self._translated():
            return bytes(self._api.read(address, length))

    def program(self, address: int, pages: bytes) -> None:
        self.erase(address, len(pages))
        with self._translated():
            self._api.write(address, pages, True)  # the flash controller is to be operated

    def erase(self, address: int, length: int) -> None:
        with self._translated():
            for page in range(address, address + length, PAGE_SIZE):
                self._api.erase_page(page)

    def glance(self, registers: Sequence[int]) -> list[int]:
        """The library stops the core for the reading, some milliseconds."""
        listening = self._connected
        with self._translated():
            self._connect()
            try:
                return [self._api.read_u32(register) for register in registers]
            finally:
                self._api.go()
                if not listening:
                    self._disconnect()

    def pin_reset(self) -> None:
        with self._translated():
            if self._rtt:
                self._reopen()  # ends RTT whatever state it is in, which rtt_stop does not promise
            self._api.pin_reset()
        self._connected = self._rtt = False

    def recover(self) -> None:
        with self._translated():
            self._api.recover()
        self._connected = True

    def write_uicr(self, address: int, word: int) -> None:
        with self._translated():
            self._api.write_u32(address, word, True)  # as in `program`

    def read_rtt(self) -> bytes:
        with self._translated():
            self._connect()
            if not self._rtt:
                self._api.rtt_start()
                self._rtt = True
            if not self._api.rtt_is_control_block_found():
                return b""
            return bytes(self._api.rtt_read(0, _RTT_SIZE, None))

    def _connect(self) -> None:
        if not self._connected:
            self._api.connect_to_device()
            self._connected = True

    def _disconnect(self) -> None:
        self._connected = False
        self._api.disconnect_from_device()

    def _attach_probe(self) -> None:
        self._api.connect_to_emu_with_snr(self._serial_number, self._swd_khz)
        self._has_probe = True

    def _reopen(self) -> None:
        self._has_probe = self._connected = self._rtt = False
        with suppress(self._api_error):
            self._api.close()
        self._api.open()
        self._attach_probe()

    @contextmanager
    def _translated(self, *, new: bool = False) -> Iterator[None]:
        """Map the library's errors; with a probe that was lost, start anew first, unless this is the start (or the end).

        What failed on a SoC that was connected is asked once more, because the first word is a vague one.
        """
        try:
            if not (self._has_probe or new):
                self._reopen()
            yield
        except self._api_error as error:
            raise self._fault(self._second_opinion(error)) from error

    def _second_opinion(self, error: Exception) -> Exception:
        """Start anew with the probe, and see whether the SoC still answers; the better reason of the two."""
        if not self._connected:
            return error
        try:
            self._reopen()
            self._api.connect_to_device()
            self._api.disconnect_from_device()
        except self._api_error as better:
            return better
        return error

    @staticmethod
    def _fault(error: Any) -> ProbeFault:
        name = error.error_enum.name
        reason, hint = _FAULTS.get(name, (f"pynrfjprog reports {name}", "unplug and re-plug the probe; `rig doctor` looks at what it needs"))
        detail = f" ({error.err_msg})" if error.err_msg else ""
        return ProbeFault(reason + detail, hint=hint, powerless=name == "LOW_VOLTAGE")
