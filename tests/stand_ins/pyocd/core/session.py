"""A stand-in for `pyocd.core.session`: a session on the board of the test."""

from pyocd.core import exceptions
from pyocd.target.family.target_nRF52 import NRF52


class Session:
    def __init__(self, probe, auto_open=True, options=None, option_defaults=None, command=None, **kwargs):
        assert not auto_open
        self._probe = probe
        self._options = dict(options)
        assert self.options["target_override"] in {"nrf52832", "nrf52833", "nrf52840"}
        assert self.options["no_config"] and self.options["connect_mode"] == "attach"
        self._target = NRF52(self)
        self._open = False

    @property
    def options(self):
        return self._options

    @property
    def target(self):
        return self._target

    def open(self, init_board=True):
        board = self._probe.board
        board.note("session.open")
        self._probe.open()
        self._open = True
        if not board.is_("powered") or board.is_("stuck"):
            raise exceptions.TransferError("No ACK received")
        board.flag("debugged", True)
        self.target.ctrl_ap = object()
        if board.is_("approtect"):
            if not self.options["auto_unlock"]:
                raise exceptions.Error("no cores")
            self.target.mass_erase()

    def close(self):
        board = self._probe.board
        board.note("session.close")
        if self._open:
            self._open = False
            board.flag("debugged", False)
            board.flag("held", False)
            self._probe.close()
