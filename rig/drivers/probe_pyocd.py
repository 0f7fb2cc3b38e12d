"""A J-Link or a CMSIS-DAP probe through pyOCD (Apache-2.0), without any library of Nordic's.

Wiring: as for any SWD probe: SWDIO, SWDCLK, GND, VTref, and nRESET, which pyOCD pulls itself.
Latency: loading pyOCD takes 1.6 s (measured without a probe).  Speeds on hardware are not measured.
Limits: pyOCD cannot tell a SoC without power from one that is not wired, so neither can this driver.  Through a J-Link it needs
SEGGER's library, as pynrfjprog does; through CMSIS-DAP only libusb or hidapi.  By itself pyOCD erases a protected chip when it
connects (its option `auto_unlock`); here only `recover` does.
Never tried on hardware; written against pyOCD 0.46.0.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rig.drivers.probe_session import SessionAccess
from rig.drivers.probe_worker import ProbeFault
from rig.drivers.rtt_source import RttProbe
from rig.errors import ConfigError
from rig.formats.soc import PAGE_SIZE, RAM_START, SOCS

_PART = 0x1000_0100
_ANY_TARGET = "nrf52840"
"""All three nRF52 are read alike; for erasing and writing pyOCD must know which one it is."""

_PLUG_HINT = "check the USB cable and unique_id; `pyocd list` shows the probes"
_WIRE_HINT = "switch the supply on before using the probe; then check the SWD wires and VTref"


class PyocdProbe(RttProbe):
    """`rig.ports.Probe` on a J-Link or CMSIS-DAP probe, through pyOCD.

    Args:
        owner: the board that the probe is wired to.
        unique_id: of the probe, as ``pyocd list`` shows it; for a J-Link its serial number without leading zeros.
        swd_khz: clock of SWD in kHz, 125 to 8000.

    Raises:
        ConfigError: the clock is out of range.
    """

    def __init__(self, *, owner: str, unique_id: str, swd_khz: int = 2000) -> None:
        if not 125 <= swd_khz <= 8000:
            raise ConfigError(f"{owner}.probe: swd_khz must lie between 125 and 8000, not {swd_khz}")
        options = {"unique_id": unique_id, "swd_khz": swd_khz}
        super().__init__(owner, SessionAccess("rig.drivers.probe_pyocd:PyocdSession", owner=f"{owner}.probe", options=options))


class PyocdSession:
    """What runs in the probe's process: `rig.drivers.nrf52_debug.DebugAccess` without the waiting."""

    def __init__(self, *, unique_id: str, swd_khz: int) -> None:
        try:
            from pyocd.core import exceptions, helpers, session, target  # noqa: PLC0415 - needed by this driver only
            from pyocd.debug import rtt  # noqa: PLC0415
            from pyocd.flash import eraser, loader  # noqa: PLC0415
        except ModuleNotFoundError as error:
            raise ProbeFault(f"{error.name} is not installed", hint="scripts/setup pyocd, or: pip install 'rig-ota[pyocd]'") from error
        self._errors = exceptions
        self._helper, self._new_session, self._target_words = helpers.ConnectHelper, session.Session, target.Target
        self._control_block, self._eraser, self._loader = rtt.RTTControlBlock, eraser.FlashEraser, loader.MemoryLoader
        self._unique_id, self._swd_khz = unique_id, swd_khz
        self._probe: Any = None
        self._session: Any = None
        self._rtt: Any = None

    # ------------------------------------------------------------------------------------------------------- life cycle
    def open(self) -> None:
        with self._translated():
            found = self._helper.get_all_connected_probes(blocking=False, unique_id=self._unique_id, print_wait_message=False)
            exact = [probe for probe in found if probe.unique_id == self._unique_id]  # pyOCD takes any part of the name for it
            if not exact:
                raise ProbeFault(f"there is no probe {self._unique_id}", hint=_PLUG_HINT)
            self._probe = exact[0]
            self._probe.open()
            self._probe.close()

    def close(self) -> None:
        self._end_session()

    # ---------------------------------------------------------------------------------------------------------- accesses
    def is_protected(self) -> bool:
        if self._session is not None:
            return False
        session = self._make_session(_ANY_TARGET)
        with self._translated():
            try:
                session.open()
            except self._errors.Error:
                # A protected SoC has no core to open, but by then its control port has been found.
                if session.target.ctrl_ap is None or not session.target.is_locked():
                    raise
                return True
            finally:
                session.close()
        return False

    def hold(self) -> None:
        self._rtt = None
        target = self._attach()
        with self._translated():
            target.reset_and_halt(self._target_words.ResetType.SYSRESETREQ)

    def read(self, address: int, length: int) -> bytes:
        target = self._attach()
        with self._translated():
            return bytes(target.read_memory_block8(address, length))

    def program(self, address: int, pages: bytes) -> None:
        self._attach()
        with self._translated():
            loader = self._loader(self._session, chip_erase="sector", smart_flash=False, keep_unwritten=False)
            loader.add_data(address, pages)
            loader.commit()

    def erase(self, address: int, length: int) -> None:
        self._attach()
        with self._translated():
            pages = [(page, page + PAGE_SIZE) for page in range(address, address + length, PAGE_SIZE)]
            self._eraser(self._session, self._eraser.Mode.SECTOR).erase(pages)

    def glance(self, registers: Sequence[int]) -> list[int]:
        listening = self._session is not None
        target = self._attach()
        try:
            with self._translated():
                return [target.read_memory(register) for register in registers]
        finally:
            if not listening:
                self._end_session()

    def pin_reset(self) -> None:
        """Out of the reset the core runs; then the session lets go of it."""
        if self._session is None:
            self._pin_reset_alone()
            return
        with self._translated():
            self._probe.reset()
        self._end_session()

    def recover(self) -> None:
        self._end_session()
        for attempt in range(2):
            # The second session makes the opening last where the chip closes itself again at a reset (UICR.APPROTECT).
            session = self._make_session(_ANY_TARGET, auto_unlock=True)
            with self._translated():
                try:
                    session.open()
                    if attempt == 0 and not session.target.mass_erase():
                        raise ProbeFault("the erasure of the whole chip did not end in time", hint="power the board off and on, and try again")
                finally:
                    session.close()

    def write_uicr(self, address: int, word: int) -> None:
        target = self._attach()
        with self._translated():
            target.write_uicr(address, word)

    def read_rtt(self) -> bytes:
        target = self._attach()
        with self._translated():
            if self._rtt is None:
                block = self._control_block.from_target(target, address=RAM_START, size=self._ram_size(target))
                try:
                    block.start()
                except self._errors.RTTError:  # the firmware has not made it yet
                    return b""
                self._rtt = block
            channels = self._rtt.up_channels
            return bytes(channels[0].read()) if channels else b""

    # --------------------------------------------------------------------------------------------------------- internal
    def _attach(self) -> Any:
        """The target of a session that knows which SoC it has."""
        if self._session is None:
            session = self._opened(_ANY_TARGET)
            with self._translated():
                name = f"nrf{session.target.read_memory(_PART):x}"
            if name in SOCS and name != _ANY_TARGET:
                session.close()
                session = self._opened(name)
            self._session = session
        return self._session.target

    def _opened(self, target: str) -> Any:
        session = self._make_session(target)
        with self._translated():
            try:
                session.open()
            except BaseException:
                session.close()
                raise
        return session

    def _make_session(self, target: str, *, auto_unlock: bool = False) -> Any:
        with self._translated():
            return self._new_session(
                self._probe,
                auto_open=False,
                options={
                    "target_override": target,
                    "frequency": self._swd_khz * 1000,
                    "connect_mode": "attach",
                    "auto_unlock": auto_unlock,
                    "no_config": True,
                    "hide_programming_progress": True,
                },
            )

    def _end_session(self) -> None:
        session, self._session, self._rtt = self._session, None, None
        if session is not None:
            with self._translated():
                session.close()

    def _pin_reset_alone(self) -> None:
        """The pin works without a session, which a protected SoC does not give."""
        self._make_session(_ANY_TARGET)
        with self._translated():
            self._probe.open()
            try:
                self._probe.reset()
            finally:
                self._probe.close()

    @staticmethod
    def _ram_size(target: Any) -> int:
        return next(soc.ram_size for soc in SOCS.values() if soc.name == target.session.options.get("target_override"))

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Map pyOCD's errors.  One during a session leaves nothing to go on with."""
        try:
            yield
        except self._errors.ProbeError as error:
            self._drop_session()
            raise ProbeFault(f"the probe does not answer: {error}", hint=_PLUG_HINT) from error
        except (self._errors.TransferError, self._errors.TimeoutError) as error:
            self._drop_session()
            reason = f"the SoC does not answer, for want of a wire or with no target voltage: {type(error).__name__} {error}".rstrip()
            raise ProbeFault(reason, hint=_WIRE_HINT, powerless=True) from error
        except self._errors.Error as error:
            raise ProbeFault(f"pyOCD reports {type(error).__name__}: {error}", hint="`pyocd list` and `rig doctor` show what is there") from error

    def _drop_session(self) -> None:
        session, self._session, self._rtt = self._session, None, None
        if session is not None:
            session.close()  # logs what fails, and raises nothing
