"""Which flash operation a fall of the supply has struck, where the bench sees operations."""

from __future__ import annotations

from rig.coverage import locate, purpose
from rig.inject.means import Means
from rig.model import Json


def struck(means: Means, command_s: float) -> dict[str, Json]:
    """What the counter says of a cut commanded at `command_s`: the operation that was going on, or the one before the gap it fell into.

    `progress` None is such a gap, and `behind_s` how long ago the operation had ended then.  Empty when nobody sees operations, or the processor never lost its power.
    """
    counter = means.counter
    failed_s = counter.power_failed_s() if counter else None
    if counter is None or failed_s is None or failed_s < command_s:
        return {}
    begun = counter.begun()
    recent = counter.operations(0)
    index = next((i for i in range(begun - 1, -1, -1) if recent[i].started_s <= failed_s), None)
    place: dict[str, Json] = {"phase": None, "occurrence": None, "number": None, "kind": None, "address": None, "progress": None}
    site = locate(means.journal.events, index) if index is not None else None
    if index is not None and site is not None:
        operation = recent[index]
        place |= {"phase": site.phase.value, "occurrence": site.occurrence, "number": site.number}
        if operation.progress < 1:
            kind = purpose(erase=operation.erase, address=operation.address, words=operation.words, memory=means.memory)
            place |= {"kind": kind.value, "address": operation.address, "progress": operation.progress}
        else:
            place |= {"address": operation.address, "behind_s": round(failed_s - operation.started_s - operation.duration_s, 9)}
    return {"struck": place, "failed_after_s": failed_s - command_s, "failed_t_ns": means.journal.t_ns(failed_s)}
