"""The radio medium: who can hear whom, how often a packet is spoilt, and the air time that it takes.

Bytes never vanish here.  A spoilt packet is sent again by the link layer until its link's supervision timeout; above the link layer
one sees delay, or a lost link.  All randomness comes from the seed given to `Air`, one stream for every purpose, so that another
board on the same air does not change the luck of this one.

Not modelled: clock drift, capture effects, and the sharing of one radio's time between several connections or between a connection
and scanning.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol, Self

if TYPE_CHECKING:
    from rig.virtual.advertising import Advertiser, Listener

T_IFS_S = 150e-6
"""Inter-frame space (Core Specification Vol 6 Part B 4.1.1)."""
ADVERTISING_CHANNELS = (37, 38, 39)
DATA_CHANNELS = 37


class Phy(IntEnum):
    """Numbered as in HCI (Vol 4 Part E 7.8.47)."""

    LE_1M = 1
    LE_2M = 2
    LE_CODED = 3


@dataclass(frozen=True)
class DeviceAddress:
    """A device address; `octets` are most significant first.  Written ``C0:…``, with ``/P`` behind a public one."""

    octets: bytes
    public: bool = False

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``XX:XX:XX:XX:XX:XX`` or ``XX:XX:XX:XX:XX:XX/P``.  Raises `ValueError`."""
        digits, _, kind = text.partition("/")
        octets = bytes.fromhex(digits.replace(":", ""))
        if len(octets) != 6 or kind not in ("", "P"):
            raise ValueError(f"{text!r} is not a device address")
        return cls(octets, kind == "P")

    def __str__(self) -> str:
        return self.octets.hex(":").upper() + ("/P" if self.public else "")


class Transmission(NamedTuple):
    """One packet on the air.  `channel` is the BLE channel index (0 to 39), `octets` the length of its payload.

    `to_board` tells the direction: to a peripheral, else to a central.
    """

    time_s: float
    channel: int
    sender: DeviceAddress
    receiver: DeviceAddress
    octets: int
    phy: Phy
    to_board: bool


Loss = Callable[[Transmission], float]
"""The probability, 0 to 1, that something spoils this packet."""


def frequency_mhz(channel: int) -> int:
    """The centre frequency of a BLE channel index (Vol 6 Part B 1.4.1)."""
    if channel >= DATA_CHANNELS:
        return {37: 2402, 38: 2426, 39: 2480}[channel]
    return 2404 + 2 * channel if channel <= 10 else 2406 + 2 * channel


def airtime_s(octets: int, phy: Phy) -> float:
    """How long a data packet with a payload of `octets` is on the air, MIC included in `octets` (Vol 6 Part B 2.1, 2.2)."""
    if phy is Phy.LE_1M:
        return (10 + octets) * 8e-6
    if phy is Phy.LE_2M:
        return (11 + octets) * 4e-6
    return 400e-6 + (5 + octets) * 64e-6


class ListensToMedium(Protocol):
    """Something that rests while the medium is ideal and must be told when it no longer is."""

    def on_medium_changed(self) -> None: ...


class Adapter(Protocol):
    """A host's Bluetooth adapter, which somebody may pull out."""

    def vanish(self) -> None: ...


class Air:
    """One shielded room full of radio.

    `per` is the packet error rate that every packet meets (0 to 1), `rssi_dbm` the level at which everybody hears everybody.
    `disturb` adds losses that depend on time, channel, pair or length.
    """

    def __init__(self, *, seed: int, per: float = 0.0, rssi_dbm: int = -50) -> None:
        self._seed = seed
        self._streams: dict[str, int] = {}
        self._losses: dict[object, Loss] = {}
        self._steady: dict[object, Loss] = {}
        self._watchers: dict[ListensToMedium, None] = {}
        self.rssi_dbm = rssi_dbm
        self.advertisers: dict[Advertiser, None] = {}
        self.listeners: dict[Listener, None] = {}
        self.adapters: list[Adapter] = []
        """The hosts' adapters that have been opened on this air."""
        self.has_adapter = True
        """Whether a host that opens one finds it."""
        self._per = 0.0
        self.set_per(per)

    # ---------------------------------------------------------------------------------------------------------- medium
    @property
    def is_ideal(self) -> bool:
        """Nothing can be lost, so nobody needs to look."""
        return self._per == 0.0 and not self._losses

    def set_per(self, per: float) -> None:
        """Set the packet error rate that every packet meets.  Raises `ValueError` outside 0 to 1."""
        if not 0.0 <= per <= 1.0:
            raise ValueError(f"a packet error rate of {per} is not between 0 and 1")
        self._per = per
        self._changed()

    def disturb(self, loss: Loss, *, steady: bool = False) -> Callable[[], None]:
        """Add a source of loss, independent of the others.  Returns the function that takes it away again.

        A `steady` loss depends on neither time nor sender, so that centrals can learn which channels to avoid.
        """
        key = object()
        self._losses[key] = loss
        if steady:
            self._steady[key] = loss
        self._changed()

        def remove() -> None:
            self._steady.pop(key, None)
            if self._losses.pop(key, None) is not None:
                self._changed()

        return remove

    @property
    def is_steadily_disturbed(self) -> bool:
        """Whether there is a steady loss."""
        return bool(self._steady)

    def steady_loss(self, packet: Transmission) -> float:
        """The probability, 0 to 1, that the steady losses spoil this packet."""
        intact = 1.0
        for loss in self._steady.values():
            intact *= 1.0 - loss(packet)
        return 1.0 - intact

    def survives(self, packet: Transmission, luck: random.Random) -> bool:
        """Whether this packet arrives whole.  Draws from `luck` only when the outcome is open."""
        if self.is_ideal:
            return True
        intact = 1.0 - self._per
        for loss in self._losses.values():
            intact *= 1.0 - loss(packet)
        return intact >= 1.0 or (intact > 0.0 and luck.random() < intact)

    def watch(self, watcher: ListensToMedium) -> None:
        self._watchers[watcher] = None

    def unwatch(self, watcher: ListensToMedium) -> None:
        self._watchers.pop(watcher, None)

    def _changed(self) -> None:
        for watcher in tuple(self._watchers):
            watcher.on_medium_changed()

    # ------------------------------------------------------------------------------------------------------ randomness
    def stream(self, purpose: str) -> random.Random:
        """A new stream of random numbers; the n-th one for the same purpose is the same in every run."""
        number = self._streams.get(purpose, 0)
        self._streams[purpose] = number + 1
        return random.Random(f"{self._seed}/{purpose}/{number}")


CURRENT_AIR: ContextVar[Air] = ContextVar("rig.virtual.air.CURRENT_AIR")
"""The air of the bench that is open in this context; adapters that are opened by name live on it."""
