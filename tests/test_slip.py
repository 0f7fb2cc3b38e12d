"""The SLIP codec: frames survive any bytes and any chunking, noise is reported and does not spread to the next frame."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rig.formats import slip


def test_frame_of_the_rfc() -> None:
    assert slip.encode(bytes.fromhex("01c002db03")) == bytes.fromhex("01dbdc02dbdd03c0")


@given(frames=st.lists(st.binary(min_size=1, max_size=64)), cuts=st.lists(st.integers(min_value=1, max_value=9), min_size=1))
def test_frames_come_back_in_order_however_the_stream_is_cut(frames: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(map(slip.encode, frames))
    decoder = slip.Decoder()
    received = []
    while stream:
        size = cuts[len(received) % len(cuts)]
        received += decoder.feed(stream[:size])
        stream = stream[size:]

    assert received == [slip.Frame(data=frame) for frame in frames]


@given(noise=st.binary(max_size=300))
def test_noise_never_raises_and_never_reaches_the_next_frame(noise: bytes) -> None:
    decoder = slip.Decoder(limit=100)
    decoder.feed(noise + b"\xc0")

    assert decoder.feed(slip.encode(b"good")) == [slip.Frame(data=b"good")]


def test_damage_is_reported_with_the_bytes() -> None:
    assert slip.Decoder().feed(b"\x60\xdb\x01\xc0") == [
        slip.Frame(data=b"\x60\xdb\x01", damage="ESC is followed by neither DC nor DD")
    ]


def test_a_frame_without_end_takes_no_more_memory_than_the_limit() -> None:
    decoder = slip.Decoder(limit=8)
    for _ in range(1000):
        assert decoder.feed(b"x" * 50) == []
    (frame,) = decoder.feed(b"\xc0")

    assert (len(frame.data), frame.damage) == (8, "longer than 8 bytes; only these were kept")
    assert decoder.feed(slip.encode(b"next")) == [slip.Frame(data=b"next")]
