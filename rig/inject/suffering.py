"""What a link has gone through, as the proof of a disturbance of the air.

A link suffers when it ends although nobody has reset the board, when the image travels at less than half its pace, or when a board that
says on its console that it serves is found much later than usual.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field

from rig.model import Event, Phase

_DEATHS = (0x08, 0x3E)
"""HCI reasons: supervision timeout, connection not established (Core Specification Vol 1 Part F)."""
_HALF = 2.0
_FEWEST = 3
"""Parts of the image that must have travelled for there to be a usual pace."""
_LATE_S, _LATER = 1.0, 3.0
"""A board is found late after this time, and this many times the usual one."""
_LISTENS = (Phase.DISCOVER, Phase.BOOT_NEW)
_RESETS = (Phase.RESET, Phase.INSTALL)


@dataclass(kw_only=True)
class Suffering:
    """The history of the link in one trial, in journal time."""

    chunks: list[float] = field(default_factory=list)
    uploads: list[list[float]] = field(default_factory=list)
    """Beginning and end of each upload; one that goes on has no end yet."""
    losses: list[tuple[float, bool]] = field(default_factory=list)
    """When the link died, and whether a reset of the board explains it."""
    waits: list[tuple[float, float]] = field(default_factory=list)
    """From when a board that serves was looked for, until it was found."""
    _reset_since_link: bool = False
    _ready_s: float = 0.0
    _listening_s: float | None = None

    def hear(self, event: Event) -> None:
        """Something happened in the trial."""
        when = event.t_ns / 1e9
        match event.kind:
            case "upload.chunk":
                self.chunks.append(when)
            case "phase.start":
                self._begin(Phase(event.data["phase"]), when)
            case "phase.end" if event.data["phase"] == Phase.UPLOAD:
                self.uploads[-1].append(when)
            case "radio.connected":
                self._reset_since_link = False
            case "radio.lost" if event.data.get("reason") in _DEATHS:
                self.losses.append((when, self._reset_since_link))
            case "fault.requested" if "command_t_ns" in event.data and event.data.get("takes_power"):
                self._reset_since_link = True
            case "dut.ready":
                self._ready_s = when
            case "radio.found" if self._listening_s is not None:
                self.waits.append((max(self._ready_s, self._listening_s), when))
                self._listening_s = None

    def _begin(self, phase: Phase, when: float) -> None:
        if phase is Phase.UPLOAD:
            self.uploads.append([when])
        elif phase in _RESETS:
            self._reset_since_link = True
        elif phase in _LISTENS:
            self._listening_s = when

    def between(self, begin: float, end: float, grace: float) -> dict[str, bool | None]:
        """What it went through from `begin` to `end`; a link's death may show `grace` seconds later."""
        died = any(begin <= when <= end + grace and not explained for when, explained in self.losses)
        return {"link_died_of_it": died, "image_travelled_slower": self._slower(begin, end), "board_was_found_later": self._later(begin, end)}

    def _slower(self, begin: float, end: float) -> bool | None:
        """Whether the image travelled at less than half its pace; None while there is too little to tell from."""
        before = [later - earlier for earlier, later in zip(self.chunks, self.chunks[1:], strict=False) if later < begin]
        if len(before) < _FEWEST:
            return None
        shared = sum(max(0.0, min(end, upload[1] if len(upload) > 1 else end) - max(begin, upload[0])) for upload in self.uploads)
        expected = shared / statistics.median(before)
        inside = sum(begin <= when <= end for when in self.chunks)
        return inside * _HALF < expected if expected >= _HALF else None

    def _later(self, begin: float, end: float) -> bool | None:
        """Whether the board was found much later than before; None when nobody looked for it."""
        usual = [until - since for since, until in self.waits if until < begin]
        longest = [until - since for since, until in self.waits if since < end and until > begin]
        if not longest:
            return None
        return max(longest) > max(_LATE_S, _LATER * statistics.median(usual) if usual else 0.0)
