"""What a kind of spoiling is: a name, what it changes, what a good device does with the result, and the function that makes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

GoodT_contra = TypeVar("GoodT_contra", contravariant=True)


class Format(StrEnum):
    """The two forms of an update package; the value is what people call it."""

    MCUBOOT = "MCUboot image"
    SECURE_DFU = "Secure DFU package"


class Expectation(StrEnum):
    """What a good device does with a spoiled package; the value completes "a good device …"."""

    REFUSE_TRANSFER = "refuses it during the transfer"
    REFUSE_REQUEST = "refuses the request to install it"
    REFUSE_BOOT = "refuses it at the next boot"
    NEVER_RUN = "never runs it, wherever it refuses it"
    MAY_RUN = "may run it"

    @property
    def must_not_run(self) -> bool:
        """Whether a device on which the result runs is broken."""
        return self is not Expectation.MAY_RUN


@dataclass(frozen=True, kw_only=True)
class Spoil(Generic[GoodT_contra]):
    """One kind.

    `what` is changed, in one clause; `note` says more about what a device is expected to do, where that is not plain.  `function`
    takes the good package apart and gives the bytes of the bad one: the same input, the same bytes.
    """

    name: str
    applies_to: Format
    what: str
    expectation: Expectation
    function: Callable[[GoodT_contra], bytes]
    note: str = ""

    @property
    def expected(self) -> str:
        """What a good device does, as a sentence without its full stop."""
        return f"a good device {self.expectation}" + (f" ({self.note})" if self.note else "")
