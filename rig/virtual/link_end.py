"""One end of a BLE connection: its queue, its acknowledgement state, and what stands above it (Vol 6 Part B 4.5.9)."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Protocol

from rig.virtual.air import DeviceAddress, Phy
from rig.virtual.link_pdus import (
    DEFAULT_OCTETS,
    EMPTY,
    REMOTE_USER_TERMINATED,
    ConnectionParameters,
    Control,
    EncryptionRequest,
    ParameterRequest,
    Pdu,
    Terminate,
)

if TYPE_CHECKING:
    from rig.virtual.link_layer import Connection

_ESTABLISHMENT_INTERVALS = 6
"""A connection that has not begun to work after so many intervals has failed (4.5.2)."""


class Upper(Protocol):
    """What sits on top of one end: the HCI of a controller, or the host of a board.

    Called in the middle of a connection event; it may send, and must put off everything else.
    """

    def on_opened(self, end: LinkEnd) -> None: ...

    def on_data(self, end: LinkEnd, data: bytes, *, first: bool) -> None: ...

    def on_sent(self, end: LinkEnd) -> None: ...

    def on_closed(self, end: LinkEnd, reason: int) -> None: ...

    def on_parameters(self, end: LinkEnd, parameters: ConnectionParameters) -> None: ...

    def on_phy(self, end: LinkEnd, phy: Phy) -> None: ...

    def on_data_length(self, end: LinkEnd, octets: int) -> None: ...

    def on_encryption(self, end: LinkEnd, status: int) -> None: ...

    def long_term_key(self, end: LinkEnd, rand: bytes, ediv: int, /) -> bytes | None: ...


class LinkEnd:
    """One of the two ends.  `send` and the like are for the `Upper` on it."""

    def __init__(self, connection: Connection, address: DeviceAddress, upper: Upper, max_octets: int) -> None:
        self.connection = connection
        self.address = address
        self.upper = upper
        self.max_octets = max_octets
        self.tx_octets = min(DEFAULT_OCTETS, max_octets)
        self.peer: LinkEnd = self
        self.is_open = True
        self.deaf_until = 0.0
        self.queue: deque[Pdu] = deque()
        self.in_flight: Pdu | None = None
        self.more_data = False
        self.sn = self.nesn = 0
        self.established = False
        self.last_heard = 0.0
        self.slept = 0
        self.ending: int | None = None
        self.watchdog: asyncio.TimerHandle | None = None

    # ------------------------------------------------------------------------------------------------- for what is above
    def send(self, data: bytes, *, first: bool) -> None:
        """Queue one packet of the host; `on_sent` tells when the peer has acknowledged all of it."""
        if not self.is_open:
            return
        step = self.tx_octets
        self.queue.extend(Pdu(step) for _ in range((len(data) - 1) // step))
        self.queue.append(Pdu((len(data) - 1) % step + 1, data, first))
        self.connection.wake()

    def send_control(self, control: Control) -> None:
        if self.is_open:
            self.queue.append(Pdu(control.octets, control=control))
            self.connection.wake()

    def disconnect(self, reason: int = REMOTE_USER_TERMINATED) -> None:
        """Say goodbye behind what is queued.  `on_closed` follows: 0x16 when acknowledged, 0x08 when nobody answers."""
        self.send_control(Terminate(reason))

    def encrypt(self, rand: bytes, ediv: int, key: bytes) -> None:
        """Start encryption (central only); `on_encryption` tells how it ended."""
        self.send_control(EncryptionRequest(rand, ediv, key))

    def change_parameters(self, parameters: ConnectionParameters) -> bool:
        """Ask for other parameters.  False while another change is under way."""
        if self.connection.central is self:
            return self.connection.schedule(parameters)
        self.send_control(ParameterRequest(parameters))
        return True

    def change_phy(self, phy: Phy) -> bool:
        """Move both directions to `phy` (central only).  False while another change is under way."""
        return self.connection.schedule(phy)

    def stall(self, until_s: float) -> None:
        """Neither hear nor speak before loop time `until_s`: the processor that runs this link layer is stopped."""
        if self.is_open:
            self.connection.wake()
            self.deaf_until = max(self.deaf_until, until_s)
            self.connection.wake()

    def vanish(self) -> None:
        """Lose power: no goodbye, and nothing above is told."""
        if self.is_open:
            self.connection.wake()
            self.connection.close_end(self)

    # ------------------------------------------------------------------------------------------------- for the connection
    def choose(self) -> Pdu:
        """The PDU to send now: the one in flight until it is acknowledged, even when it is empty (4.5.9)."""
        queue = self.queue
        if self.in_flight is None:
            self.in_flight = queue[0] if queue else EMPTY
        self.more_data = len(queue) > (self.in_flight is not EMPTY)
        return self.in_flight

    @property
    def first_place(self) -> int:
        """Where in the queue a control PDU goes that must not wait: behind the PDU in flight, if there is one."""
        return int(self.in_flight is not None and self.in_flight is not EMPTY)

    @property
    def deadline(self) -> float:
        """When this end gives up unless it hears something."""
        parameters = self.connection.parameters
        if self.established:
            return self.last_heard + parameters.timeout_s
        return self.last_heard + _ESTABLISHMENT_INTERVALS * parameters.interval_s
