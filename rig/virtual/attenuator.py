"""A virtual RCDAT: the attenuator's end of `rig.formats.rcdat`, between every board of the bench and the rest of its air."""

from __future__ import annotations

import re
from urllib.parse import unquote

from rig.formats.rcdat import STEP_DB, UNKNOWN_COMMAND, SetAnswer
from rig.virtual.interference import Spectrum

_SET = re.compile(r":?(?:SETATT=|CHAN:(?P<channel>\d+):SETATT:)(?P<db>[0-9.]+)", re.IGNORECASE)
_QUERY = re.compile(r":?(?:CHAN:(?P<channel>\d+):)?ATT\?", re.IGNORECASE)


class VirtualAttenuator:
    """The attenuator on `spectrum`, with one channel.

    Args:
        spectrum: the air that it attenuates.
        max_db: the end of its range, dB; beyond it a setting is clipped, as on the instrument.
    """

    def __init__(self, spectrum: Spectrum, *, max_db: float = 95.0) -> None:
        self._spectrum, self._max_db = spectrum, max_db

    def answer(self, path: str) -> tuple[int, bytes]:
        """The status and body for a GET of `path`."""
        command = unquote(path).removeprefix("/")
        if (found := _SET.fullmatch(command)) and found["channel"] in (None, "1"):
            return 200, b"%d" % self._set(found["db"])
        if (found := _QUERY.fullmatch(command)) and found["channel"] in (None, "1"):
            return 200, b"%.2f" % self._spectrum.attenuation_db
        return 200, f"{UNKNOWN_COMMAND} Unrecognized Command".encode()

    def _set(self, text: str) -> SetAnswer:
        try:
            db = float(text)
        except ValueError:
            return SetAnswer.FAILED
        self._spectrum.attenuate(min(round(db / STEP_DB) * STEP_DB, self._max_db))
        return SetAnswer.DONE if db <= self._max_db else SetAnswer.CLIPPED
