# ruff: noqa: N999, PLR0917 - as the vendor has it
"""A stand-in for `pynrfjprog.LowLevel`: the functions that rig uses, with the behaviour that the package's documentation promises.

tests/test_vendor_signatures.py compares the signatures with those of the installed package.
"""

from __future__ import annotations

import enum

from tests.probe_board import SERIAL_NUMBER, UICR, Board


class DeviceFamily(enum.IntEnum):
    NRF52 = 1
    AUTO = 255


class NrfjprogdllErr(enum.IntEnum):
    INVALID_OPERATION = -2
    INVALID_PARAMETER = -3
    EMULATOR_NOT_CONNECTED = -10
    LOW_VOLTAGE = -12
    NOT_AVAILABLE_BECAUSE_PROTECTION = -90
    JLINKARM_DLL_COULD_NOT_BE_OPENED = -101
    JLINKARM_DLL_ERROR = -102


class APIError(Exception):
    def __init__(self, err_code=None, err_msg="", log=None, error_data=None):
        self.err_code = err_code
        self.err_msg = err_msg
        self.error_enum = NrfjprogdllErr(err_code)
        super().__init__(f"{err_code} {self.error_enum.name}")


class API:
    _DEFAULT_JLINK_SPEED_KHZ = 2000

    def __init__(
        self, device_family=DeviceFamily.AUTO, jlink_arm_dll_path=None, log_str_cb=None, log=False, log_str=None, log_file_path=None, log_stringio=None
    ):
        assert device_family == "NRF52"
        self._board = Board.here()
        self._is_open = self._has_emu = self._connected = self._rtt = False

    def _begin(self, function, *, emu=True, soc=False):
        """What every function checks.  `soc`: it needs the SoC, and connects to it where it is not connected yet."""
        self._board.note(function)
        if not self._is_open or (emu and not self._has_emu):
            raise APIError(NrfjprogdllErr.INVALID_OPERATION)
        if emu and self._board.is_("unplugged"):
            raise APIError(NrfjprogdllErr.EMULATOR_NOT_CONNECTED)
        if soc:
            if not self._board.is_("powered"):
                raise APIError(NrfjprogdllErr.JLINKARM_DLL_ERROR if self._connected else NrfjprogdllErr.LOW_VOLTAGE)
            if self._board.is_("approtect"):
                raise APIError(NrfjprogdllErr.NOT_AVAILABLE_BECAUSE_PROTECTION)
            self._connected = True
            self._board.flag("debugged", True)

    def open(self):
        self._board.note("open")
        if self._board.is_("without_segger"):
            raise APIError(NrfjprogdllErr.JLINKARM_DLL_COULD_NOT_BE_OPENED)
        assert not self._is_open, "the real one raises RuntimeError"
        self._is_open = True

    def close(self):
        self._board.note("close")
        if self._connected:
            self._board.flag("debugged", False)
        self._is_open = self._has_emu = self._connected = self._rtt = False

    def enum_emu_snr(self):
        self._begin("enum_emu_snr", emu=False)
        return None if self._board.is_("unplugged") else [SERIAL_NUMBER - 1, SERIAL_NUMBER]

    def connect_to_emu_with_snr(self, serial_number, jlink_speed_khz=_DEFAULT_JLINK_SPEED_KHZ):
        self._begin("connect_to_emu_with_snr", emu=False)
        if self._board.is_("unplugged") or serial_number != SERIAL_NUMBER:
            raise APIError(NrfjprogdllErr.EMULATOR_NOT_CONNECTED)
        self._has_emu = True

    def readback_status(self):
        self._begin("readback_status")
        if not self._board.is_("powered"):
            raise APIError(NrfjprogdllErr.LOW_VOLTAGE)
        if self._board.is_("stuck"):
            raise APIError(NrfjprogdllErr.JLINKARM_DLL_ERROR)
        self._board.flag("debugged", True)
        return "ALL" if self._board.is_("approtect") else "NONE"

    def connect_to_device(self):
        if self._connected:
            raise APIError(NrfjprogdllErr.INVALID_OPERATION)
        self._begin("connect_to_device", soc=True)

    def disconnect_from_device(self):
        self._begin("disconnect_from_device")
        self._connected = False
        self._board.flag("debugged", False)

    def sys_reset(self):
        self._begin("sys_reset", soc=True)
        self._board.hold()

    def pin_reset(self):
        self._begin("pin_reset")
        if not self._board.is_("powered"):
            raise APIError(NrfjprogdllErr.LOW_VOLTAGE)
        self._connected = False
        self._board.flag("debugged", False)
        self._board.pin_reset()

    def go(self):
        self._begin("go", soc=True)
        self._board.flag("held", False)

    def read(self, addr, data_len):
        self._begin("read", soc=True)
        self._board.flag("held", True)
        return list(self._board.read(addr, data_len))

    def read_u32(self, addr):
        self._begin("read_u32", soc=True)
        self._board.flag("held", True)
        return int.from_bytes(self._board.read(addr, 4), "little")

    def write(self, addr, data, control):
        self._begin("write", soc=True)
        assert control is True
        self._board.write(addr, bytes(data))

    def write_u32(self, addr, data, control):
        self._begin("write_u32", soc=True)
        assert control is True
        self._board.write_uicr_word(addr - UICR, data)

    def erase_page(self, addr):
        self._begin("erase_page", soc=True)
        self._board.erase_page(addr)

    def recover(self):
        self._begin("recover")
        self._board.recover()
        self._connected = True
        self._board.flag("debugged", True)

    def rtt_start(self):
        if self._rtt:
            raise APIError(NrfjprogdllErr.INVALID_OPERATION)
        self._begin("rtt_start", soc=True)
        self._rtt = True

    def rtt_is_control_block_found(self):
        self._begin("rtt_is_control_block_found", soc=True)
        return self._rtt and not self._board.is_("held")

    def rtt_read(self, channel_index, length, encoding="utf-8"):
        self._begin("rtt_read", soc=True)
        assert self._rtt and channel_index == 0 and encoding is None
        return bytearray(self._board.take_rtt())
