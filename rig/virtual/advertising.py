"""Advertising, scanning and initiating: how two devices on one air find each other (Core Specification Vol 6 Part B 4.4).

An advertiser sends the same packet on channels 37, 38 and 39 every interval plus a random delay; a listener is tuned to one of the
three at a time.  Advertisements, scan requests, scan responses and CONNECT_IND can all be lost.  While nobody listens, advertising
is not simulated.
"""

from __future__ import annotations

import asyncio
import math
from typing import Protocol

from rig.virtual.air import ADVERTISING_CHANNELS, T_IFS_S, Air, DeviceAddress, Phy, Transmission, airtime_s
from rig.virtual.link_end import Upper
from rig.virtual.link_layer import Connection
from rig.virtual.link_pdus import ConnectionParameters

_MAX_DELAY_S = 0.010
"""advDelay is between 0 and 10 ms (4.4.2.2.1)."""
_CHANNEL_STEP_S = 0.5e-3
"""From one advertising channel to the next; at most 10 ms (4.4.2.3), about this on real controllers."""
_ADDRESS_OCTETS = 6
_SCAN_REQUEST_OCTETS = 12
_CONNECT_IND_OCTETS = 34
_FIRST_ANCHOR_DELAY_S = 2.5e-3
"""From the end of CONNECT_IND to the first connection event: transmitWindowDelay and an offset of the same length (4.5.3)."""


class Listener(Protocol):
    """A scanner or initiator: the upper half of a central's link layer."""

    @property
    def address(self) -> DeviceAddress: ...

    @property
    def max_octets(self) -> int:
        """The longest link layer payload that it offers."""
        ...

    def tuned_to(self, time_s: float) -> int | None:
        """The advertising channel that it listens to at this moment, if any."""
        ...

    def asks_for_scan_response(self) -> bool: ...

    def wants_connection(self, advertiser: DeviceAddress) -> ConnectionParameters | None:
        """The parameters with which it wants to connect to this advertiser, if it does."""
        ...

    def on_advertisement(self, advertiser: DeviceAddress, data: bytes, scan_response: bytes | None, rssi_dbm: int) -> None: ...

    def as_upper(self) -> Upper:
        """What sits on the central's end of a new connection; its `on_opened` means that CONNECT_IND was sent, not received."""
        ...


class Advertiser:
    """One legacy advertising set, connectable and scannable.  It ends when a central connects."""

    def __init__(
        self,
        air: Air,
        upper: Upper,
        *,
        address: DeviceAddress,
        data: bytes,
        scan_response: bytes,
        interval_s: float,
        max_octets: int,
    ) -> None:
        self.address = address
        self.deaf_until = 0.0
        self._air = air
        self._upper = upper
        self._data = data
        self._scan_response = scan_response
        self._interval_s = interval_s
        self._max_octets = max_octets
        self._loop = asyncio.get_running_loop()
        self._luck = air.stream(f"advertiser/{address}")
        self._next_s = self._loop.time() + self._luck.uniform(0.0, _MAX_DELAY_S)
        self._timer: asyncio.TimerHandle | None = None
        air.advertisers[self] = None
        self.wake()

    def stop(self) -> None:
        self._air.advertisers.pop(self, None)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def wake(self) -> None:
        """Go on simulating advertising events if anybody listens."""
        if self._timer is not None or not self._air.listeners or self not in self._air.advertisers:
            return
        missed = math.ceil((self._loop.time() - self._next_s) / self._interval_s)
        if missed > 0:
            self._next_s += missed * self._interval_s
        self._timer = self._loop.call_at(self._next_s, self._event)

    def _event(self) -> None:
        self._timer = None
        start = self._next_s
        self._next_s += self._interval_s + self._luck.uniform(0.0, _MAX_DELAY_S)
        if self.deaf_until <= start:
            self._advertise(start)
        self.wake()

    def _advertise(self, start: float) -> None:
        for index, channel in enumerate(ADVERTISING_CHANNELS):
            sent = start + index * _CHANNEL_STEP_S
            for listener in tuple(self._air.listeners):
                if listener.tuned_to(sent) == channel and self._reaches(listener, channel, sent, len(self._data) + _ADDRESS_OCTETS):
                    if self._connects(listener, channel, sent):
                        return
                    self._is_seen(listener, channel, sent)

    def _is_seen(self, listener: Listener, channel: int, time: float) -> None:
        response = None
        if (
            listener.asks_for_scan_response()
            and self._hears(listener, channel, time, _SCAN_REQUEST_OCTETS)
            and self._reaches(listener, channel, time, len(self._scan_response) + _ADDRESS_OCTETS)
        ):
            response = self._scan_response
        listener.on_advertisement(self.address, self._data, response, self._air.rssi_dbm)

    def _connects(self, listener: Listener, channel: int, time: float) -> bool:
        """Let `listener` send CONNECT_IND if it wants to.  True when this advertiser has received it."""
        parameters = listener.wants_connection(self.address)
        if parameters is None:
            return False
        joined = self._hears(listener, channel, time, _CONNECT_IND_OCTETS)
        airtime = airtime_s(len(self._data) + _ADDRESS_OCTETS, Phy.LE_1M) + T_IFS_S + airtime_s(_CONNECT_IND_OCTETS, Phy.LE_1M)
        if joined:
            self.stop()
        connection = Connection(
            self._air,
            central=(listener.address, listener.as_upper(), listener.max_octets),
            peripheral=(self.address, self._upper, self._max_octets),
            parameters=parameters,
            anchor_s=time + airtime + _FIRST_ANCHOR_DELAY_S,
            joined=joined,
        )
        connection.central.upper.on_opened(connection.central)
        if joined:
            self._upper.on_opened(connection.peripheral)
        return joined

    def _reaches(self, listener: Listener, channel: int, time: float, octets: int) -> bool:
        packet = Transmission(time, channel, self.address, listener.address, octets, Phy.LE_1M, to_board=False)
        return self._air.survives(packet, self._luck)

    def _hears(self, listener: Listener, channel: int, time: float, octets: int) -> bool:
        packet = Transmission(time, channel, listener.address, self.address, octets, Phy.LE_1M, to_board=True)
        return self._air.survives(packet, self._luck)


def listen(air: Air, listener: Listener) -> None:
    """Let `listener` hear advertisements until `ignore`."""
    air.listeners[listener] = None
    for advertiser in tuple(air.advertisers):
        advertiser.wake()


def ignore(air: Air, listener: Listener) -> None:
    """Undo `listen`."""
    air.listeners.pop(listener, None)
