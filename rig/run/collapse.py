"""A board that restarts out of nothing: has its supply failed by itself?

RESETREAS is zero after power-on and brown-out and after nothing else (nRF52 Product Specification, POWER), as long as nobody clears it
before the application prints it, on which the proof of a cut relies as well.  A start with that reason which no command to the supply
explains is the supply's: a current limit, a loose wire.
"""

from __future__ import annotations

from collections.abc import Sequence

from rig.model import Event

_BOUNCES_NS = 1_000_000_000
"""For so long after the last thing that was done to the power, further starts may still come of it: a slow rise, a contact."""
_DONE_TO_POWER = ("supply.off", "supply.on", "fault.delivered", "fault.ended")


def collapsed(events: Sequence[Event]) -> Event | None:
    """The first start, in the journal of a trial, that only a failure of the supply explains; None without one."""
    is_due, done_ns = True, 0
    for event in events:
        if event.kind in _DONE_TO_POWER or (event.kind == "fault.requested" and event.data.get("takes_power")):
            is_due, done_ns = True, event.t_ns
        elif event.kind == "dut.reset_reason":
            if event.data["value"] == 0 and not is_due and event.t_ns - done_ns > _BOUNCES_NS:
                return event
            is_due = False
    return None
