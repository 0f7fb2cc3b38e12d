"""A stand-in for `pyocd.probe.debug_probe`."""

from pyocd.core import exceptions

from tests.probe_board import SERIAL_NUMBER, Board


class DebugProbe:
    def __init__(self, unique_id):
        self._unique_id = unique_id
        self.board = Board.here()
        self._is_open = False

    @property
    def unique_id(self):
        return self._unique_id

    @property
    def is_open(self):
        return self._is_open

    def open(self):
        self.board.note("probe.open")
        if self.board.is_("unplugged") or self._unique_id != str(SERIAL_NUMBER):
            raise exceptions.ProbeError("J-Link: Could not connect")
        self._is_open = True

    def close(self):
        self._is_open = False

    def reset(self):
        self.board.note("probe.reset")
        assert self._is_open
        self.board.pin_reset()
