"""What `rig shrink` tries instead of a trigger, the simplest first."""

from __future__ import annotations

from typing import Any

import pytest

from rig.fault import CurrentStretch, Edge, PinEdge
from rig.model import Event, OperationKind, Phase, Trigger, TriggerKind
from rig.run.shrink import _simpler_triggers

STRETCH = CurrentStretch(above=False, limit_ua=6500.0, for_s=0.002)


def event(seq: int, t_ns: int, kind: str, **data: Any) -> Event:
    return Event(seq=seq, t_ns=t_ns, source="test", kind=kind, data=data)


EVENTS = [
    event(1, 1_000_000_000, "phase.start", phase="upload", operation=0),
    event(2, 2_000_000_000, "phase.start", phase="install", operation=4000),
    event(3, 5_000_000_000, "phase.start", phase="install", operation=7000),
    event(4, 5_250_000_000, "fault.triggered", n=1, operation=7041),
    event(5, 6_000_000_000, "phase.start", phase="boot_new", operation=9000),
]
AT_PHASE = Trigger(kind=TriggerKind.PHASE, phase=Phase.INSTALL, occurrence=2, offset_s=0.26)
AT_OPERATION = Trigger(kind=TriggerKind.FLASH_OPERATION, phase=Phase.INSTALL, occurrence=2, count=42, offset_s=0.01)


@pytest.mark.parametrize(
    ("trigger", "expected"),
    [
        (Trigger(kind=TriggerKind.CURRENT, current=STRETCH, count=3, offset_s=0.01), [AT_PHASE, AT_OPERATION]),
        (Trigger(kind=TriggerKind.GPIO, pin=PinEdge(number=3, edge=Edge.RISING), offset_s=0.01), [AT_PHASE, AT_OPERATION]),
        (Trigger(kind=TriggerKind.FLASH_OPERATION, operation=OperationKind.STATUS, offset_s=0.01), [AT_PHASE]),
        (Trigger(kind=TriggerKind.CONSOLE, pattern="Starting swap", offset_s=0.01), [AT_PHASE]),
    ],
    ids=["current", "pin", "operation", "console"],
)
def test_simpler_triggers_come_in_order(trigger: Trigger, expected: list[Trigger]) -> None:
    assert list(_simpler_triggers(EVENTS, EVENTS[3], trigger)) == expected


def test_without_a_counter_a_sign_has_no_operation_to_go_by() -> None:
    events = [event(1, 0, "phase.start", phase="install"), event(2, 1_000_000, "fault.triggered", n=1)]
    (only,) = _simpler_triggers(events, events[1], Trigger(kind=TriggerKind.CURRENT, current=STRETCH))
    assert only.kind is TriggerKind.PHASE
