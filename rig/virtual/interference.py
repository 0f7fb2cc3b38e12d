"""What disturbs the air: emissions, how a receiver stands them, and the packet errors that follow.

The model, from the level at the receiver to the packet:

1. A receiver needs a certain signal level for one bit error in a thousand: its sensitivity without interference, else the level of
   the interference plus the co-channel ratio, less what the receiver rejects at that distance in frequency.  Both add as powers.
2. The margin is the level of the wanted signal above that.  Bits fail as those of a non-coherent FSK receiver do, with an error rate
   of ½·exp(-c·10^(margin/10)), where c makes it 0.001 at a margin of 0 dB (0.1 % is what the Core Specification calls reference
   sensitivity, Vol 6 Part A 4.1).
3. A packet fails when one of the bits fails that an emission covers.  An emission that pauses or moves on covers a packet with the
   probability that a packet of that length meets one of its bursts; packets meet it by chance, its phase is not followed.

More power, less distance in frequency, longer bursts and longer packets never make it better.  Several emissions disturb
independently: one packet may fail by any of them.  Levels and ratios are of the size that data sheets of such radios give; nothing is
calibrated against a radio.

The room is a conducted set-up: an attenuator between each board and everything else.  It weakens what board and central hear of each
other, and what a board hears of an interferer, but not what the central hears of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rig.virtual.air import Air, Phy, Transmission, airtime_s, frequency_mhz

SENSITIVITY_DBM: Mapping[Phy, float] = {Phy.LE_1M: -95.0, Phy.LE_2M: -92.0, Phy.LE_CODED: -103.0}
"""Signal level for one bit error in a thousand (nRF52840 Product Specification, radio; rounded)."""
CO_CHANNEL_DB: Mapping[Phy, float] = {Phy.LE_1M: 10.0, Phy.LE_2M: 10.0, Phy.LE_CODED: 2.0}
"""How far the wanted signal must be above interference on its own frequency."""
INTERFERER_LOSS_DB = 50.0
"""Between an interferer and the central, and up to the boards' attenuator; what a board at 0 dBm loses as well."""
_REJECTION_DB = (0.0, 10.0, 40.0)
"""What the receiver takes off interference 0, 1 and 2 MHz away (at LE 1M)."""
_FAR_REJECTION_DB = 50.0
"""The same from 3 MHz on."""
_BIT_RATE = {Phy.LE_1M: 1e6, Phy.LE_2M: 2e6, Phy.LE_CODED: 125e3}
_REFERENCE_EXPONENT = math.log(0.5 / 0.001)
_DOUBLE_BANDWIDTH = 2.0
"""A receiver of LE 2M is twice as wide, so that an emission must be twice as far away for the same rejection."""


@dataclass(frozen=True, kw_only=True)
class Emission:
    """What a source radiates: at each of `frequencies_mhz` in turn for `on_s`, round once every `every_s`.

    `power_dbm` is at the source; a source that is `width_mhz` wide spreads it evenly.  A carrier has one frequency, is never off
    (`on_s` equals `every_s`) and has no width; a modulated one of 1 Mbit/s is about 1 MHz wide, Wi-Fi about 20 MHz.

    Raises:
        ValueError: there is no frequency, a time is not positive, or the bursts do not fit into `every_s`.
    """

    frequencies_mhz: tuple[int, ...]
    power_dbm: float
    width_mhz: float = 0.0
    on_s: float = 1.0
    every_s: float = 1.0

    def __post_init__(self) -> None:
        if not self.frequencies_mhz or not self.on_s > 0 or self.width_mhz < 0:
            raise ValueError("an emission needs a frequency, a burst that takes time, and no negative width")
        if len(self.frequencies_mhz) * self.on_s > self.every_s * (1 + 1e-9):
            raise ValueError("the bursts of an emission do not fit into its period")

    @property
    def is_continuous(self) -> bool:
        """Whether there is no moment without it on its one frequency."""
        return len(self.frequencies_mhz) == 1 and self.on_s >= self.every_s

    def power_in_channel_dbm(self, source_mhz: int, channel_mhz: int, phy: Phy) -> float:
        """What a receiver on `channel_mhz` makes of a burst on `source_mhz`, dBm at the source and after its rejection."""
        bandwidth = 1.0 if phy is not Phy.LE_2M else _DOUBLE_BANDWIDTH
        spread_db = 10 * math.log10(max(self.width_mhz / bandwidth, 1.0))
        beyond_mhz = max(0.0, abs(source_mhz - channel_mhz) - self.width_mhz / 2)
        return self.power_dbm - spread_db - _rejection_db(beyond_mhz / bandwidth)

    def exposure(self, packet_s: float) -> float:
        """The probability that a packet of this length meets the burst on one given frequency."""
        return 1.0 if self.is_continuous else min(1.0, (self.on_s + packet_s) / self.every_s)


def _rejection_db(distance_mhz: float) -> float:
    """Rejection between the steps of the table is in proportion, so that more distance is never worse."""
    step = int(distance_mhz)
    table = (*_REJECTION_DB, _FAR_REJECTION_DB)
    if step >= len(table) - 1:
        return _FAR_REJECTION_DB
    return table[step] + (table[step + 1] - table[step]) * (distance_mhz - step)


def packet_error_rate(*, signal_dbm: float, interference_dbm: float, bits: float, phy: Phy) -> float:
    """The probability that one of `bits` fails while interference of this level (after rejection) is on the air."""
    needed_mw = _milliwatts(SENSITIVITY_DBM[phy]) + _milliwatts(interference_dbm + CO_CHANNEL_DB[phy])
    margin_db = signal_dbm - 10 * math.log10(needed_mw)
    bit_error_rate = 0.5 * math.exp(-_REFERENCE_EXPONENT * 10 ** (min(margin_db, 40.0) / 10))
    return -math.expm1(bits * math.log1p(-bit_error_rate))


def emission_error_rate(emission: Emission, *, signal_dbm: float, path_loss_db: float, channel: int, octets: int, phy: Phy) -> float:
    """The packet error rate on one channel by one emission, whose power arrives `path_loss_db` weaker."""
    packet_s = airtime_s(octets, phy)
    covered_s = packet_s if emission.is_continuous else min(packet_s, emission.on_s)
    exposure = emission.exposure(packet_s)
    intact = 1.0
    for source_mhz in emission.frequencies_mhz:
        arriving_dbm = emission.power_in_channel_dbm(source_mhz, frequency_mhz(channel), phy) - path_loss_db
        bits = covered_s * _BIT_RATE[phy]
        hit = packet_error_rate(signal_dbm=signal_dbm, interference_dbm=arriving_dbm, bits=bits, phy=phy)
        intact *= 1.0 - exposure * hit
    return 1.0 - intact


def noise_error_rate(*, signal_dbm: float, octets: int, phy: Phy) -> float:
    """The packet error rate of a weak signal without interference."""
    bits = airtime_s(octets, phy) * _BIT_RATE[phy]
    return packet_error_rate(signal_dbm=signal_dbm, interference_dbm=-math.inf, bits=bits, phy=phy)


def _milliwatts(dbm: float) -> float:
    return 10 ** (dbm / 10)


class Spectrum:
    """Emissions and attenuation on one air: levels in, packet errors and RSSI out."""

    def __init__(self, air: Air) -> None:
        self._air = air
        self._unattenuated_dbm = air.rssi_dbm
        self._attenuation_db = 0.0
        self._emissions: dict[object, tuple[Emission, Callable[[], None]]] = {}
        self._remove_noise: Callable[[], None] = _nothing

    @property
    def attenuation_db(self) -> float:
        """Between every board and the rest."""
        return self._attenuation_db

    def attenuate(self, db: float) -> None:
        """Set the attenuation.  Without any, noise is left out of account, so that packets are lost by interference alone.

        Raises:
            ValueError: `db` is negative.
        """
        if db < 0:
            raise ValueError(f"an attenuation of {db} dB would amplify")
        self._attenuation_db = db
        self._air.rssi_dbm = round(self._unattenuated_dbm - db)
        self._remove_noise()
        self._remove_noise = self._air.disturb(_remembered(self._noise_loss), steady=True) if db else _nothing
        for key, (emission, remove) in tuple(self._emissions.items()):
            remove()
            self._add(key, emission)

    def emit(self, emission: Emission) -> Callable[[], None]:
        """Put an emission on the air.  Returns the function that ends it."""
        key = object()
        self._add(key, emission)

        def end() -> None:
            _, remove = self._emissions.pop(key, (emission, _nothing))
            remove()

        return end

    def _add(self, key: object, emission: Emission) -> None:
        def loss(packet: Transmission) -> float:
            reaching_db = self._attenuation_db if packet.to_board else 0.0
            return emission_error_rate(
                emission,
                signal_dbm=self._unattenuated_dbm - self._attenuation_db,
                path_loss_db=INTERFERER_LOSS_DB + reaching_db,
                channel=packet.channel,
                octets=packet.octets,
                phy=packet.phy,
            )

        self._emissions[key] = (emission, self._air.disturb(_remembered(loss), steady=True))

    def _noise_loss(self, packet: Transmission) -> float:
        return noise_error_rate(signal_dbm=self._unattenuated_dbm - self._attenuation_db, octets=packet.octets, phy=packet.phy)


def _remembered(loss: Callable[[Transmission], float]) -> Callable[[Transmission], float]:
    """`loss` worked out once for each kind of packet; only for losses that depend on nothing else."""
    known: dict[tuple[int, int, Phy, bool], float] = {}

    def recall(packet: Transmission) -> float:
        kind = (packet.channel, packet.octets, packet.phy, packet.to_board)
        if kind not in known:
            known[kind] = loss(packet)
        return known[kind]

    return recall


def _nothing() -> None:
    pass
