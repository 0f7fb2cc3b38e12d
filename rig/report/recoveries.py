"""What the rig did by itself about boards after lost trials, and which boards it has set aside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rig.report.stock import Stock
from rig.store import Recovery


@dataclass(frozen=True, kw_only=True)
class Rescue:
    """One climb of a board's recovery ladder; `quarantined` where the board is still set aside after it."""

    campaign: str
    recovery: Recovery
    quarantined: bool

    @property
    def board(self) -> str:
        return self.recovery.board

    @property
    def why(self) -> str:
        """Why the trial was lost, and why the board was set aside where that says more."""
        cause, quarantine = self.recovery.cause, self.recovery.quarantine or ""
        return quarantine if quarantine.startswith(cause) else f"{cause}; {quarantine}" if quarantine else cause

    @property
    def rungs(self) -> tuple[tuple[str, bool], ...]:
        """The rungs that were tried, in order, and whether the board was sound after each."""
        return tuple((result.rung.value, result.trouble is None) for result in self.recovery.climb.rungs)


def rescues(stock: Stock) -> list[Rescue]:
    """Everything that was done, campaign by campaign, in its order."""
    found = []
    for label, campaign in zip(stock.labels, stock.campaigns, strict=True):
        aside = campaign.quarantined()
        found += [Rescue(campaign=label, recovery=one, quarantined=aside.get(one.board) == one) for one in campaign.recoveries()]
    return found


def set_aside(found: Sequence[Rescue]) -> list[Rescue]:
    """Those after which the board is still quarantined."""
    return [one for one in found if one.quarantined]
