"""The nouns of keeping a board sound: how the rig recovers it, what has been measured of its wiring, what its flash may be put through.

Frozen records without I/O, clock or randomness, as in `rig.model`, which lends these names to the rest of the project.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from rig.fault import ADDED_LATER


class Rung(StrEnum):
    """A step of the recovery ladder, the gentlest first.  RECOVER erases the whole chip, its bootloader too."""

    REOPEN = "reopen"
    RE_ENUMERATE = "re-enumerate"
    PIN_RESET = "pin-reset"
    RECOVER = "recover"
    POWER_CYCLE = "power-cycle"


@dataclass(frozen=True, kw_only=True)
class RecoveryPolicy:
    """What the rig does by itself after a trial that it lost on a board (verdict ERROR).

    It climbs `rungs` until every instrument of the board is sound again; RE_ENUMERATE waits up to `patience_s` seconds for an
    instrument to come back.  A board on which that does not help, or on which `errors_in_a_row` trials have been lost, is quarantined.
    `after_inconclusive` trials in a row without proof (verdict INCONCLUSIVE) count as much as a lost one; None: they never do.
    """

    rungs: tuple[Rung, ...] = (Rung.REOPEN, Rung.RE_ENUMERATE, Rung.PIN_RESET, Rung.POWER_CYCLE)
    patience_s: float = 15.0
    errors_in_a_row: int = 3
    after_inconclusive: int | None = field(default=None, metadata=ADDED_LATER)


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What `rig selftest` measured of one board's wiring.  Times in seconds, currents in µA; None where an instrument cannot tell."""

    measured: str
    """When, ISO 8601 in UTC."""
    rig: str
    """Version of rig."""
    device_id: str
    """FICR DEVICEID, 16 hexadecimal digits: a campaign refuses another unit."""
    cut_latency_s: float | None
    """From the moment the supply's command has left the host until VDD is low: the median, and largest less smallest."""
    cut_latency_spread_s: float | None
    rise_s: float | None
    """From the command to VDD being high again."""
    shortest_off_s: float | None
    """The shortest off-time tried after which the board reported a power-on reset."""
    residual_ua: float | None
    """What still flowed while the power was off."""
    console_delay_s: float | None
    """How long after VDD was low console bytes still arrived."""
    boot_s: float
    """From the command to the application's word that it serves."""
    rssi_dbm: int


@dataclass(frozen=True, kw_only=True)
class WearBudget:
    """How often a page of the board's flash may be erased, over all campaigns; see `rig.wear` for how that is counted."""

    erases: int
