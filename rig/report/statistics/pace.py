"""How fast a bench works, from a stored campaign."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rig.model import Verdict
from rig.report.statistics.answer import Answer
from rig.store import TrialRecord

_CONCLUSIVE = (Verdict.PASS, Verdict.FAIL)


@dataclass(frozen=True, kw_only=True)
class Pace(Answer):
    """`conclusive` trials on `boards` boards in `seconds`, the time that the busiest board spent in trials.

    On a virtual bench the seconds are those of its own clock: what the same campaign would take on hardware.
    """

    conclusive: int
    boards: int
    seconds: float

    @property
    def per_hour(self) -> float | None:
        """Conclusive trials per hour, all boards together; None where `lacking` says why."""
        return None if self.lacking else 3600.0 * self.conclusive / self.seconds


def pace_of(records: Iterable[TrialRecord]) -> Pace:
    """The pace of the judged trials.

    Boards work side by side, so the busiest one sets the time.  Trials lost to the rig cost time and count for nothing.  What passes
    between two trials of a board is not stored and not counted.
    """
    busy: dict[str, float] = {}
    conclusive = 0
    for record in records:
        if record.judgement is None or record.evidence is None:
            continue
        busy[record.trial.board] = busy.get(record.trial.board, 0.0) + record.evidence.duration_ns / 1e9
        conclusive += record.judgement.verdict in _CONCLUSIVE
    seconds = max(busy.values(), default=0.0)
    lacking = "" if conclusive and seconds else "no conclusive trial with a known duration"
    return Pace(conclusive=conclusive, boards=len(busy), seconds=seconds, lacking=lacking)
