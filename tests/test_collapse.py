"""Which starts of a board only a failure of its supply explains."""

from __future__ import annotations

from typing import Any

import pytest

from rig.model import Event
from rig.run.collapse import collapsed

ON = ("supply.on", {})
CUT = ("fault.requested", {"takes_power": True})
DROP = ("fault.requested", {})
POWER_ON, SOFT = ("dut.reset_reason", {"value": 0}), ("dut.reset_reason", {"value": 4})


def found(*course: tuple[float, tuple[str, dict[str, Any]]]) -> int | None:
    events = [Event(seq=seq, t_ns=round(t * 1e9), source="x", kind=kind, data=data) for seq, (t, (kind, data)) in enumerate(course)]
    event = collapsed(events)
    return event.seq if event else None


@pytest.mark.parametrize(
    ("course", "seq"),
    [
        ([(0, ON), (0.5, POWER_ON), (30, SOFT)], None),
        ([(0, ON), (0.5, POWER_ON), (30, POWER_ON)], 2),
        ([(0, ON), (0.5, POWER_ON), (30, CUT), (95, POWER_ON), (120, SOFT)], None),
        ([(0, ON), (0.5, POWER_ON), (30, CUT), (95, POWER_ON), (120, POWER_ON)], 4),
        ([(0, ON), (0.5, POWER_ON), (30, DROP), (35, POWER_ON)], 3),
        ([(0, ON), (0.5, POWER_ON), (0.9, POWER_ON)], None),
    ],
    ids=["update", "collapse", "cut", "cut-and-collapse", "link-drop-takes-no-power", "bounce"],
)
def test_a_power_on_start_that_nobody_caused_is_the_supplys(course: list[Any], seq: int | None) -> None:
    assert found(*course) == seq
