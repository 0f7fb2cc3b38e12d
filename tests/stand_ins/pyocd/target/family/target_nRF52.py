# ruff: noqa: N999 - as the vendor has it
"""A stand-in for `pyocd.target.family.target_nRF52`."""

from pyocd.core import exceptions
from pyocd.core.target import Target

from tests.probe_board import UICR


class NRF52:
    def __init__(self, session, memory_map=None):
        self.session = session
        self.ctrl_ap = None

    def _reach(self, function):
        board = self.session._probe.board
        board.note(function)
        if not board.is_("powered"):
            raise exceptions.TransferError("No ACK received")
        return board

    def is_locked(self):
        return self._reach("is_locked").is_("approtect")

    def mass_erase(self):
        self._reach("mass_erase").recover()
        return True

    def write_uicr(self, addr, value):
        self._reach("write_uicr").write_uicr_word(addr - UICR, value)

    def read_memory(self, addr, transfer_size=32, now=True):
        return int.from_bytes(self._reach("read_memory").read(addr, 4), "little")

    def read_memory_block8(self, addr, size):
        return list(self._reach("read_memory_block8").read(addr, size))

    def reset_and_halt(self, reset_type=None):
        assert reset_type is Target.ResetType.SYSRESETREQ
        self._reach("reset_and_halt").hold()
