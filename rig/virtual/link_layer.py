"""One BLE connection as its two link layers see it (Core Specification Vol 6 Part B 4.5 and 5.1).

Connection events come every interval, on a channel that hops; in them central and peripheral take turns.  A packet that does not
arrive whole is sent again, in the same or the next event, until it is acknowledged (SN and NESN), so data is late or the link dies:

* 0x08 at an end that has heard nothing valid for the supervision timeout,
* 0x3E at an end that has heard nothing at all for the first six intervals,
* 0x13 and 0x16 after LL_TERMINATE_IND, 0x3D when the ends encrypt with different keys.

Where steady interference is on the air the central drops bad channels from the channel map.  A change that has not reached the
peripheral before its instant parts the two for good, as the specification has it for an instant that has passed (0x08 at both ends
here).

An idle connection on an ideal medium costs nothing: its events, which could only succeed, are not simulated but counted afterwards.
"""

from __future__ import annotations

import asyncio
import math

from rig.virtual.air import DATA_CHANNELS, T_IFS_S, Air, DeviceAddress, Phy, Transmission, airtime_s
from rig.virtual.channel_map import ALL_CHANNELS, ChannelAssessment, ChannelMap
from rig.virtual.link_end import LinkEnd, Upper
from rig.virtual.link_pdus import (
    CONNECTION_TIMEOUT,
    DEFAULT_OCTETS,
    EMPTY,
    FAILED_TO_ESTABLISH,
    LOCAL_HOST_TERMINATED,
    MIC_FAILURE,
    PIN_OR_KEY_MISSING,
    ChangeAtInstant,
    ChannelMapAtInstant,
    ConnectionParameters,
    Control,
    EncryptionReject,
    EncryptionRequest,
    EncryptionStart,
    LengthRequest,
    ParameterRequest,
    Pdu,
    Terminate,
)

_MIC_OCTETS = 4
_INSTANT_DELAY = 6
"""Events between the sending of a change and its instant (5.1.1 asks for at least six)."""
_MAP_DELAY = 40
"""The same for a channel map: it is sent while channels are bad, and one that comes too late costs the link."""
_SLACK_S = 1e-9


class Connection:
    """Both ends, and the clock of the connection events.

    `anchor_s` is the loop time of the first event.  `joined` is False when the peripheral has not received CONNECT_IND.
    """

    def __init__(
        self,
        air: Air,
        *,
        central: tuple[DeviceAddress, Upper, int],
        peripheral: tuple[DeviceAddress, Upper, int],
        parameters: ConnectionParameters,
        anchor_s: float,
        joined: bool = True,
    ) -> None:
        self.parameters = parameters
        self.phy = Phy.LE_1M
        self.encrypted = False
        self._air = air
        self._loop = asyncio.get_running_loop()
        self._luck = air.stream(f"connection/{central[0]}/{peripheral[0]}")
        self.central = LinkEnd(self, *central)
        self.peripheral = LinkEnd(self, *peripheral)
        self.central.peer, self.peripheral.peer = self.peripheral, self.central
        self.central.last_heard = self.peripheral.last_heard = anchor_s
        self._anchor = anchor_s
        self._counter = -1
        self._hop = self._luck.randrange(5, 17)
        self._channel = 0
        self.channel_map = ALL_CHANNELS
        self._assessment = ChannelAssessment(start_s=anchor_s, loss=self._exchange_loss)
        self._pending: Pdu | None = None
        self._pending_map: Pdu | None = None
        self._out_of_step = False
        self._asleep = False
        self._timer: asyncio.TimerHandle | None = None
        air.watch(self)
        if self.central.max_octets > DEFAULT_OCTETS:
            self.central.send_control(LengthRequest(self.central.max_octets))
        if not joined:
            self.close_end(self.peripheral)
        self.wake()

    # ------------------------------------------------------------------------------------------------------- event clock
    def on_medium_changed(self) -> None:
        self.wake()

    def wake(self) -> None:
        """Go on simulating connection events if there is anything to see in them."""
        if self._timer is not None or not (self.central.is_open and self.peripheral.is_open):
            return
        now = self._loop.time()
        if now > self._anchor:
            # The events since then were idle on an ideal medium: they all succeeded.
            elapsed = math.floor((now - self._anchor) / self.parameters.interval_s) + 1
            self._anchor += elapsed * self.parameters.interval_s
            self._counter += elapsed
            self._channel = (self._channel + elapsed * self._hop) % DATA_CHANNELS
            self.central.last_heard = self.peripheral.last_heard = self._anchor - self.parameters.interval_s
        if self._has_something_to_see(now):
            self._timer = self._loop.call_at(self._anchor, self._event)

    def _has_something_to_see(self, now: float) -> bool:
        central, peripheral = self.central, self.peripheral
        return bool(
            central.queue
            or peripheral.queue
            or not self._air.is_ideal
            or not (central.established and peripheral.established)
            or central.deaf_until > now
            or peripheral.deaf_until > now
            or self._pending is not None
            or self._pending_map is not None
            or self.channel_map is not ALL_CHANNELS
            or self._out_of_step
            or central.ending is not None
        )

    def _event(self) -> None:
        self._counter += 1
        self._channel = (self._channel + self._hop) % DATA_CHANNELS
        if self._pending is not None and self._is_due(self._pending):
            pdu, self._pending = self._pending, None
            self._apply_change(pdu)
        if self._pending_map is not None and self._is_due(self._pending_map):
            pdu, self._pending_map = self._pending_map, None
            self._apply_change(pdu)
        if self._air.is_steadily_disturbed or self.channel_map is not ALL_CHANNELS:
            self._assess_channels()
        self._asleep = self._sleeps(self.peripheral)
        self._exchange(self._anchor)

    def _exchange(self, start: float) -> None:
        pdu = self.central.choose()
        end = start + self._airtime(pdu)
        self._timer = self._loop.call_at(end, self._peripheral_listens, end, pdu)

    def _peripheral_listens(self, now: float, pdu: Pdu) -> None:
        central, peripheral = self.central, self.peripheral
        heard = not self._asleep and self._arrives(central, peripheral, pdu, now)
        if heard:
            self._receive(peripheral, pdu, now)
        if central.ending is not None:  # that packet was the acknowledgement of a goodbye
            self._end(central, central.ending)
            return
        if not heard:
            self._arm(peripheral)
            self._arm(central)
            self._close_event(now)
        elif peripheral.is_open:
            # The answer is chosen before the host above has seen the data: no host answers within T_IFS.
            answer = peripheral.choose()
            end = now + T_IFS_S + self._airtime(answer)
            self._timer = self._loop.call_at(end, self._central_listens, end, answer)

    def _central_listens(self, now: float, pdu: Pdu) -> None:
        central, peripheral = self.central, self.peripheral
        heard = self._arrives(peripheral, central, pdu, now)
        if heard:
            self._receive(central, pdu, now)
        else:
            self._arm(central)
        if peripheral.ending is not None:  # that packet was the acknowledgement of a goodbye
            self._end(peripheral, peripheral.ending)
        if not (central.is_open and peripheral.is_open):
            return
        goes_on = heard and (central.more_data or peripheral.more_data or central.ending is not None)
        if goes_on and now + self._exchange_time() < self._anchor + self.parameters.interval_s:
            self._exchange(now + T_IFS_S)
        else:
            self._close_event(now)

    def _close_event(self, now: float) -> None:
        self._timer = None
        self._anchor += self.parameters.interval_s
        if self._has_something_to_see(now):
            self._timer = self._loop.call_at(self._anchor, self._event)

    def _airtime(self, pdu: Pdu) -> float:
        octets = pdu.octets
        return airtime_s(octets + _MIC_OCTETS if self.encrypted and octets else octets, self.phy)

    def _exchange_time(self) -> float:
        """An upper limit for the next exchange and the inter-frame space behind it."""
        longest = airtime_s(max(self.central.tx_octets, self.peripheral.tx_octets) + _MIC_OCTETS, self.phy)
        return 3 * T_IFS_S + 2 * longest

    # ---------------------------------------------------------------------------------------------------------- packets
    def _sleeps(self, peripheral: LinkEnd) -> bool:
        """Whether the peripheral uses its latency to skip this event (4.5.1)."""
        if not self.parameters.latency or peripheral.queue or not peripheral.established:
            peripheral.slept = 0
        elif peripheral.slept < self.parameters.latency:
            peripheral.slept += 1
            return True
        peripheral.slept = 0
        return False

    def _arrives(self, sender: LinkEnd, receiver: LinkEnd, pdu: Pdu, now: float) -> bool:
        if self._out_of_step or receiver.deaf_until > now or sender.deaf_until > now:
            return False
        if self._air.is_ideal:
            return True
        return self._air.survives(
            Transmission(
                now,
                self.channel_map.remapped(self._channel),
                sender.address,
                receiver.address,
                pdu.octets,
                self.phy,
                to_board=receiver is self.peripheral,
            ),
            self._luck,
        )

    def _receive(self, receiver: LinkEnd, pdu: Pdu, now: float) -> None:
        sender = receiver.peer
        receiver.last_heard = now
        receiver.established = True
        if receiver.in_flight is not None and sender.nesn != receiver.sn:
            self._acknowledged(receiver, receiver.in_flight)
        if sender.sn != receiver.nesn:
            return  # heard before; only our acknowledgement was lost
        receiver.nesn ^= 1
        pdu.delivered = True
        if pdu.control is not None:
            self._obey(receiver, pdu.control)
        elif pdu.data is not None:
            receiver.upper.on_data(receiver, pdu.data, first=pdu.first)

    def _acknowledged(self, end: LinkEnd, pdu: Pdu) -> None:
        end.sn ^= 1
        end.in_flight = None
        if pdu is EMPTY:
            return
        end.queue.popleft()
        if isinstance(pdu.control, Terminate):
            self._end(end, LOCAL_HOST_TERMINATED)
        elif pdu.data is not None:
            end.upper.on_sent(end)

    def _obey(self, end: LinkEnd, control: Control) -> None:
        match control:
            case Terminate():
                end.ending = control.reason
            case LengthRequest():
                end.tx_octets = min(end.max_octets, control.max_octets)
                if not control.is_answer:
                    end.send_control(LengthRequest(end.max_octets, is_answer=True))
                end.upper.on_data_length(end, end.tx_octets)
            case EncryptionRequest():
                self._answer_encryption(end, control)
            case EncryptionStart():
                end.upper.on_encryption(end, 0)
            case EncryptionReject():
                end.upper.on_encryption(end, control.reason)
            case ParameterRequest():
                self.schedule(control.parameters)

    def _answer_encryption(self, end: LinkEnd, request: EncryptionRequest) -> None:
        key = end.upper.long_term_key(end, request.rand, request.ediv)
        if key is None:
            end.send_control(EncryptionReject(PIN_OR_KEY_MISSING))
        elif key != request.key:
            self._end(end, MIC_FAILURE)
            self._end(end.peer, MIC_FAILURE)
        else:
            self.encrypted = True
            end.send_control(EncryptionStart())
            end.upper.on_encryption(end, 0)

    # ---------------------------------------------------------------------------------------------------------- changes
    def schedule(self, change: ConnectionParameters | Phy) -> bool:
        """Tell the peripheral what both ends will do at an instant.  False while another change is under way."""
        if self._pending is not None or not self.central.is_open:
            return False
        self.wake()  # so that the counter is up to date
        control = ChangeAtInstant(self._counter + _INSTANT_DELAY + self.parameters.latency + 1, change)
        self._pending = Pdu(control.octets, control=control)
        self.central.queue.append(self._pending)
        self.wake()
        return True

    def _exchange_loss(self, channel: int) -> float:
        """The share of exchanges of short packets that steady losses spoil on `channel`."""
        intact = 1.0
        for end in (self.central, self.peripheral):
            packet = Transmission(
                0.0, channel, end.address, end.peer.address, DEFAULT_OCTETS, self.phy, to_board=end is self.central
            )
            intact *= 1.0 - self._air.steady_loss(packet)
        return 1.0 - intact

    def _assess_channels(self) -> None:
        """Let the central tell the peripheral which channels to use from now on, if that has changed."""
        if self._pending_map is not None or not self.central.established:
            return
        wanted = self._assessment.look(self._loop.time(), self.channel_map)
        if wanted is None:
            return
        change = ALL_CHANNELS if wanted == ALL_CHANNELS else wanted
        control = ChannelMapAtInstant(self._counter + _MAP_DELAY + self.parameters.latency, change)
        self._pending_map = Pdu(control.octets, control=control)
        self.central.queue.insert(self.central.first_place, self._pending_map)

    def _is_due(self, pdu: Pdu) -> bool:
        assert isinstance(pdu.control, ChangeAtInstant)
        return self._counter >= pdu.control.instant

    def _apply_change(self, pdu: Pdu) -> None:
        control = pdu.control
        assert isinstance(control, ChangeAtInstant)
        if not pdu.delivered:
            self._out_of_step = True  # the central changes, the peripheral does not: they never meet again
        if isinstance(control.change, ChannelMap):
            self.channel_map = control.change
            return
        if isinstance(control.change, Phy):
            self.phy = control.change
        else:
            self.parameters = control.change
        for end in (self.central, self.peripheral) if pdu.delivered else (self.central,):
            if isinstance(control.change, Phy):
                end.upper.on_phy(end, control.change)
            else:
                end.upper.on_parameters(end, control.change)
                if end.watchdog is not None:  # it counts to the old timeout; the next missed packet sets a new one
                    end.watchdog.cancel()
                    end.watchdog = None

    # -------------------------------------------------------------------------------------------------------------- end
    def _arm(self, end: LinkEnd) -> None:
        """`end` has missed a packet: see to it that its supervision timeout is noticed."""
        if end.watchdog is None and end.is_open:
            end.watchdog = self._loop.call_at(max(end.deadline, end.deaf_until), self._bark, end)

    def _bark(self, end: LinkEnd) -> None:
        end.watchdog = None
        if not end.is_open or (self._timer is None and end.peer.is_open):
            return  # gone, or at rest because all is well
        if max(end.deadline, end.deaf_until) > self._loop.time() + _SLACK_S:
            self._arm(end)
        else:
            self._end(end, CONNECTION_TIMEOUT if end.established else FAILED_TO_ESTABLISH)

    def _end(self, end: LinkEnd, reason: int) -> None:
        if end.is_open:
            self.close_end(end)
            end.upper.on_closed(end, reason)

    def close_end(self, end: LinkEnd) -> None:
        """Take `end` off the air.  The other end finds out by its supervision timeout, unless it has already gone."""
        end.is_open = False
        end.queue.clear()
        if end.watchdog is not None:
            end.watchdog.cancel()
            end.watchdog = None
        if end.peer.is_open and end.peer.ending is None:
            self._arm(end.peer)
        if self._timer is not None and not (end.peer.is_open and end.peer.ending is not None):
            self._timer.cancel()
            self._timer = None
        if not end.peer.is_open:
            self._air.unwatch(self)
