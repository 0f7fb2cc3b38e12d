"""The arithmetic of interference: from levels to packet errors, and never the wrong way round."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.virtual.air import DATA_CHANNELS, Air, DeviceAddress, Phy, Transmission, frequency_mhz
from rig.virtual.channel_map import ALL_CHANNELS, LOOK_EVERY_S, ChannelAssessment, ChannelMap
from rig.virtual.interference import (
    CO_CHANNEL_DB,
    SENSITIVITY_DBM,
    Emission,
    Spectrum,
    emission_error_rate,
    noise_error_rate,
    packet_error_rate,
)

CARRIER = Emission(frequencies_mhz=(2440,), power_dbm=0.0)
NEAR, FAR = DeviceAddress(bytes(6)), DeviceAddress(bytes([1] * 6))


def rate(emission: Emission, *, signal_dbm: float = -50.0, channel: int = 17, octets: int = 251, phy: Phy = Phy.LE_1M) -> float:
    return emission_error_rate(emission, signal_dbm=signal_dbm, path_loss_db=50.0, channel=channel, octets=octets, phy=phy)


@pytest.mark.parametrize("phy", Phy)
def test_at_reference_sensitivity_one_bit_in_a_thousand_fails(phy: Phy) -> None:
    at_sensitivity = packet_error_rate(signal_dbm=SENSITIVITY_DBM[phy], interference_dbm=-300.0, bits=1, phy=phy)
    at_co_channel_ratio = packet_error_rate(signal_dbm=-40.0, interference_dbm=-40.0 - CO_CHANNEL_DB[phy], bits=1, phy=phy)

    assert at_sensitivity == pytest.approx(0.001, rel=1e-6)
    assert at_co_channel_ratio == pytest.approx(0.001, rel=1e-3)


def test_a_packet_of_37_octets_then_fails_in_31_cases_of_100() -> None:
    """The specification's own equivalence: 0.1 % bit errors are 30.8 % packet errors (Vol 6 Part A 4.1)."""
    assert noise_error_rate(signal_dbm=SENSITIVITY_DBM[Phy.LE_1M], octets=37, phy=Phy.LE_1M) == pytest.approx(0.308, abs=0.01)


def test_a_strong_signal_loses_nothing() -> None:
    assert noise_error_rate(signal_dbm=-50.0, octets=251, phy=Phy.LE_1M) == 0.0
    assert rate(Emission(frequencies_mhz=(2402,), power_dbm=8.0)) == 0.0


emissions = st.builds(
    lambda frequencies, power_dbm, width_mhz, on_s, pause: Emission(
        frequencies_mhz=tuple(frequencies),
        power_dbm=power_dbm,
        width_mhz=width_mhz,
        on_s=on_s,
        every_s=len(frequencies) * on_s * (1 + pause),
    ),
    st.lists(st.integers(2400, 2480), min_size=1, max_size=5),
    st.floats(-40, 20),
    st.floats(0, 80),
    st.floats(1e-5, 0.1),
    st.floats(0, 20),
)
EVEN = 1e-9


@given(emission=emissions, channel=st.integers(0, 39), octets=st.integers(0, 251), phy=st.sampled_from(Phy), more_db=st.floats(0, 30))
def test_more_power_or_less_signal_is_never_better(emission: Emission, channel: int, octets: int, phy: Phy, more_db: float) -> None:
    louder = Emission(**{**vars(emission), "power_dbm": emission.power_dbm + more_db})
    before = rate(emission, channel=channel, octets=octets, phy=phy)

    assert 0.0 <= before <= 1.0
    assert rate(louder, channel=channel, octets=octets, phy=phy) >= before - EVEN
    assert rate(emission, signal_dbm=-50.0 - more_db, channel=channel, octets=octets, phy=phy) >= before - EVEN


@given(emission=emissions, octets=st.integers(0, 250), channel=st.integers(0, 39))
def test_longer_packets_and_longer_bursts_are_never_better(emission: Emission, octets: int, channel: int) -> None:
    longer = Emission(**{**vars(emission), "on_s": emission.every_s / len(emission.frequencies_mhz)})
    before = rate(emission, octets=octets, channel=channel)

    assert rate(emission, octets=octets + 1, channel=channel) >= before - EVEN
    assert rate(longer, octets=octets, channel=channel) >= before - EVEN


@given(power_dbm=st.floats(-20, 60), far_mhz=st.integers(0, 40), octets=st.integers(0, 251))
def test_more_distance_in_frequency_is_never_worse(power_dbm: float, far_mhz: int, octets: int) -> None:
    def at(mhz: int) -> float:
        return rate(Emission(frequencies_mhz=(mhz,), power_dbm=power_dbm), octets=octets)

    assert frequency_mhz(17) == 2440
    assert at(2440 + far_mhz) >= at(2440 + far_mhz + 1) - EVEN
    assert at(2440 - far_mhz) == pytest.approx(at(2440 + far_mhz))


def test_a_sweep_meets_a_packet_as_often_as_its_bursts_do() -> None:
    sweep = Emission(frequencies_mhz=tuple(range(2402, 2481)), power_dbm=8.0, on_s=1e-3, every_s=79e-3)
    one_step = (1e-3 + 2088e-6) / 79e-3
    # On its own frequency and beside it, a carrier at 8 dBm leaves nothing of a packet at 0 dBm.
    assert rate(sweep) == pytest.approx(1 - (1 - one_step) ** 3, rel=0.01)


def test_a_pausing_carrier_hits_its_share_of_short_packets() -> None:
    pausing = Emission(frequencies_mhz=(2440,), power_dbm=8.0, on_s=0.5, every_s=1.0)
    assert rate(pausing, octets=0) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(
    "wrong", [{"frequencies_mhz": ()}, {"on_s": 0.0}, {"width_mhz": -1.0}, {"on_s": 0.6, "frequencies_mhz": (2402, 2404)}]
)
def test_emissions_that_cannot_be_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="emission"):
        Emission(**{"frequencies_mhz": (2440,), "power_dbm": 0.0, **wrong})


# ------------------------------------------------------------------------------------------------------- the attenuator
def packet(*, to_board: bool) -> Transmission:
    return Transmission(0.0, 17, NEAR, FAR, 251, Phy.LE_1M, to_board=to_board)


def test_an_attenuator_helps_the_interferer_against_the_central_and_not_against_the_board() -> None:
    """It weakens what the board hears of both."""
    air = Air(seed=1)
    spectrum = Spectrum(air)
    spectrum.emit(Emission(frequencies_mhz=(2440,), power_dbm=-16.0))
    before = [air.steady_loss(packet(to_board=to_board)) for to_board in (True, False)]
    spectrum.attenuate(20.0)
    after = [air.steady_loss(packet(to_board=to_board)) for to_board in (True, False)]

    assert before == [pytest.approx(0.0, abs=1e-3)] * 2
    assert after == [pytest.approx(0.0, abs=1e-3), pytest.approx(1.0, abs=1e-3)]


def test_the_air_is_ideal_again_when_nothing_disturbs_it() -> None:
    air = Air(seed=1)
    spectrum = Spectrum(air)
    end = spectrum.emit(CARRIER)
    spectrum.attenuate(12.25)
    assert air.rssi_dbm == -62
    assert air.is_steadily_disturbed
    end()
    end()
    spectrum.attenuate(0.0)

    assert air.is_ideal
    assert not air.is_steadily_disturbed
    assert air.rssi_dbm == -50
    with pytest.raises(ValueError, match="amplify"):
        spectrum.attenuate(-1.0)


# -------------------------------------------------------------------------------------------------------- channel maps
def test_unused_channels_are_mapped_to_used_ones() -> None:
    few = ChannelMap((3, 20, 36))
    assert [few.remapped(channel) for channel in (3, 20, 36)] == [3, 20, 36]
    assert [few.remapped(channel) for channel in (0, 1, 2, 4)] == [3, 20, 36, 20]
    assert all(ALL_CHANNELS.remapped(channel) == channel for channel in range(DATA_CHANNELS))


def maps(bad_at: dict[int, set[int]], *, looks: int) -> list[int]:
    """How many channels are in use after each look; `bad_at` gives the bad channels from a look on."""
    bad: set[int] = set()
    assessment = ChannelAssessment(start_s=0.0, loss=lambda channel: 0.9 if channel in bad else 0.0)
    current, used = ALL_CHANNELS, []
    for number in range(1, looks + 1):
        if number in bad_at:
            bad.clear()
            bad.update(bad_at[number])
        current = assessment.look(number * LOOK_EVERY_S, current) or current
        used.append(len(current.used))
    return used


def test_bad_channels_go_after_two_looks_and_come_back_after_five() -> None:
    assert maps({1: set(range(10)), 4: set()}, looks=9) == [37, 27, 27, 27, 27, 27, 27, 37, 37]


def test_two_channels_always_remain() -> None:
    assert maps({1: set(range(36))}, looks=3) == [37, 2, 2]


def test_when_every_channel_is_bad_nothing_changes() -> None:
    assert maps({1: set(range(37))}, looks=5) == [37] * 5


def test_between_looks_there_is_no_opinion() -> None:
    assessment = ChannelAssessment(start_s=0.0, loss=lambda channel: float(channel == 0))
    assert assessment.look(0.5, ALL_CHANNELS) is None
    assert assessment.look(1.0, ALL_CHANNELS) is None
    assert assessment.look(1.5, ALL_CHANNELS) is None
    assert assessment.look(2.0, ALL_CHANNELS) == ChannelMap(tuple(range(1, 37)))
