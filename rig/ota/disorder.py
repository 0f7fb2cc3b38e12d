"""A client that gets the parts of an image wrong on purpose: it sends each of them twice, or neighbours in the wrong order.

This happens above ATT, where a client may do as it likes; the link below neither repeats nor reorders anything.  Both protocols let the
device notice: an SMP server names the offset that it expects, a Secure DFU bootloader the CRC of what it holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum


class Disorder(StrEnum):
    """What the client does with the parts of an image."""

    NONE = "none"
    REPEAT = "repeat"
    REORDER = "reorder"


@dataclass(frozen=True, kw_only=True)
class Noticed:
    """The device's own word that parts reached it in disorder.

    `offset` is what it said with it: over SMP the offset that it expects next, over Secure DFU how much it holds; None when it answered
    with an error.
    """

    disorder: Disorder
    offset: int | None


class Sending:
    """How a client sends the parts of an image, shared by its sessions.  `tell` hears whenever the device has noticed a disorder."""

    def __init__(self, tell: Callable[[Noticed], None]) -> None:
        self.tell = tell
        self._disorders: list[Disorder] = []

    @property
    def disorder(self) -> Disorder:
        """What is done at this moment: the disorder that began last."""
        return self._disorders[-1] if self._disorders else Disorder.NONE

    @contextmanager
    def in_disorder(self, disorder: Disorder) -> Iterator[None]:
        """Send like that as long as the block lasts."""
        self._disorders.append(disorder)
        try:
            yield
        finally:
            self._disorders.remove(disorder)
