"""What a practice is made of: requirements, when they apply to a product, and which trials say whether they are met."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum

from rig.model import Event, Judgement, Trial
from rig.product import Product


class Practice(IntEnum):
    """The eleven practices of a safe update over the air."""

    SIGNING = 1
    ENCRYPTION = 2
    CHANNEL = 3
    VERSIONS = 4
    RECOVERY = 5
    LOGGING = 6
    TIMELY = 7
    DOWNTIME = 8
    AWARENESS = 9
    CRYPTO = 10
    KEYS = 11

    @property
    def slug(self) -> str:
        """Its name in files: what requirement names begin with."""
        return self.name.lower()


class Applies(StrEnum):
    """What a requirement means for one product."""

    YES = "yes"
    NO = "no"
    """Nothing that the product has or promises; it ends as not applicable."""
    NOT_PROMISED = "not promised"
    """The product file says nothing about it, so that nothing can be tested; it ends as not covered."""
    WEAK = "weak"
    """The product itself declares the weakness: failed, or an accepted risk."""
    INSPECTION = "inspection"
    """Nothing that can be seen from outside."""


@dataclass(frozen=True, kw_only=True)
class Applicability:
    """Whether a requirement can be tested on a product, and the reason if not."""

    applies: Applies
    reason: str = ""


APPLIES = Applicability(applies=Applies.YES)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A finished trial as an assessment sees it: the plan, the journal, and what the judge made of the update itself."""

    trial: Trial
    product: Product
    events: Sequence[Event]
    judgement: Judgement

    def of(self, *kinds: str) -> list[Event]:
        """The events of these kinds, in order."""
        return [event for event in self.events if event.kind in kinds]


@dataclass(frozen=True, kw_only=True)
class Assessment:
    """Whether one trial shows a requirement met (None: it does not tell), why, and the events that show it."""

    met: bool | None
    reason: str
    because: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Requirement:
    """One thing that a practice asks for.

    `examinations` are what the rig must do in a trial, beyond the update, to find out.  `after` names requirements without which this
    one cannot be tested: while one of them fails, a failure here has the same cause and blames nobody else.
    """

    id: str
    practice: Practice
    text: str
    applies: Callable[[Product], Applicability]
    assess: Callable[[Case], Assessment]
    examinations: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
