"""The flash array: what silicon refuses is refused, and a cut leaves exactly what the model says."""

from __future__ import annotations

import random

import pytest

from rig.errors import ConfigError
from rig.virtual.flash import Damage, Erase, Flash, NvmcMisuse, StuckBit, Write, damage_of
from rig.virtual.parts import PAGE_SIZE, PARTS


@pytest.fixture
def flash() -> Flash:
    return Flash(PARTS["nrf52840"], rng=random.Random(7))


def test_writes_only_clear_bits(flash: Flash) -> None:
    flash.complete(Write(address=0x1000, data=b"\xf0\xff\xff\xff"))
    flash.complete(Write(address=0x1000, data=b"\x0f\xff\xff\xff"))
    assert flash.read(0x1000, 4) == b"\x00\xff\xff\xff"


def test_a_third_write_between_erases_is_misuse(flash: Flash) -> None:
    word = Write(address=0x2000, data=b"\xff\xff\xff\xfe")
    flash.complete(word)
    flash.complete(word)
    with pytest.raises(NvmcMisuse, match="more than 2 times"):
        flash.complete(word)
    flash.complete(Erase(address=0x2000))
    flash.complete(word)


@pytest.mark.parametrize("operation", [Write(address=2, data=b"1234"), Write(address=0, data=b"123"), Erase(address=0x1004)])
def test_misalignment_is_misuse(flash: Flash, operation: Write | Erase) -> None:
    with pytest.raises(NvmcMisuse):
        flash.check(operation)


@pytest.mark.parametrize("address", [-4, 1024 * 1024])
def test_nothing_lies_outside_the_flash(flash: Flash, address: int) -> None:
    with pytest.raises(NvmcMisuse):
        flash.check(Write(address=address, data=bytes(4)))
    with pytest.raises(NvmcMisuse):
        flash.read(address, 4)


def test_erase_counts_wear_and_operations(flash: Flash) -> None:
    flash.complete(Write(address=0x3000, data=bytes(PAGE_SIZE)))
    flash.complete(Erase(address=0x3000))
    assert flash.read(0x3000, PAGE_SIZE) == b"\xff" * PAGE_SIZE
    assert flash.erase_counts[3] == 1
    assert flash.count == PAGE_SIZE // 4 + 1


def test_a_cut_in_a_bulk_write_lands_on_the_computed_word(flash: Flash) -> None:
    flash.interrupt(Write(address=0x4000, data=bytes(1024)), progress=100.5 / 256)
    content = flash.read(0x4000, 1024)
    assert content[:400] == bytes(400)
    assert content[404:] == b"\xff" * 620
    assert flash.count == 100


def test_a_torn_word_has_only_zeros_of_the_new_value(flash: Flash) -> None:
    seen = set()
    for page in range(64):
        flash.interrupt(Write(address=page * PAGE_SIZE, data=b"\x0f\x00\xff\xaa"), progress=0.5)
        word = flash.read(page * PAGE_SIZE, 4)
        assert all(new & ~torn & 0xFF == 0 for torn, new in zip(word, b"\x0f\x00\xff\xaa", strict=True))
        seen.add(word)
    assert len(seen) > 10


def test_a_word_torn_twice_can_still_be_written(flash: Flash) -> None:
    word = Write(address=0x7000, data=b"\x01\xff\xff\xff")
    flash.interrupt(word, progress=0.5)
    flash.interrupt(word, progress=0.5)
    flash.complete(word)
    assert flash.read(0x7000, 4) == word.data


@pytest.mark.parametrize(("progress", "low", "high"), [(0.02, 0.0, 0.05), (0.5, 0.45, 0.55), (0.97, 0.94, 0.99)])
def test_an_interrupted_erase_has_lifted_a_growing_share_of_the_bits(flash: Flash, progress: float, low: float, high: float) -> None:
    flash.complete(Write(address=0x5000, data=bytes(PAGE_SIZE)))
    flash.interrupt(Erase(address=0x5000), progress)
    ones = sum(byte.bit_count() for byte in bytes(flash._bytes[0x5000 : 0x5000 + PAGE_SIZE]))
    assert low <= ones / (PAGE_SIZE * 8) <= high


def test_a_half_erased_page_reads_unstably_until_it_is_erased_again(flash: Flash) -> None:
    flash.complete(Write(address=0x6000, data=bytes(PAGE_SIZE)))
    flash.interrupt(Erase(address=0x6000), 0.5)
    assert flash.read(0x6000, PAGE_SIZE) != flash.read(0x6000, PAGE_SIZE)
    flash.complete(Erase(address=0x6000))
    assert flash.read(0x6000, PAGE_SIZE) == flash.read(0x6000, PAGE_SIZE) == b"\xff" * PAGE_SIZE


def test_the_same_seed_tears_alike() -> None:
    torn = []
    for _ in range(2):
        flash = Flash(PARTS["nrf52832"], rng=random.Random(3))
        flash.interrupt(Erase(address=0), 0.4)
        torn.append(flash.read(0, PAGE_SIZE))
    assert torn[0] == torn[1]


def test_a_stuck_bit_keeps_its_value_through_erases_writes_and_the_probe() -> None:
    damage = Damage(stuck_bits=(StuckBit(address=0x3000, bit=0, value=0), StuckBit(address=0x3001, bit=7, value=1)))
    flash = Flash(PARTS["nrf52840"], rng=random.Random(7), damage=damage)
    assert flash.read(0x3000, 2) == b"\xfe\xff"
    flash.complete(Write(address=0x3000, data=b"\xff\x00\xff\xff"))
    assert flash.read(0x3000, 2) == b"\xfe\x80"
    flash.complete(Erase(address=0x3000))
    assert flash.read(0x3000, 2) == b"\xfe\xff"
    flash.poke(0x3000, b"\x01\x00")
    assert flash.read(0x3000, 2) == b"\x00\x80"


def test_an_erase_leaves_some_bits_of_a_worn_page_as_they_were() -> None:
    flash = Flash(PARTS["nrf52840"], rng=random.Random(7), damage=Damage(worn_pages=frozenset({0x3000})))
    for page in (0x3000, 0x4000):
        flash.complete(Write(address=page, data=bytes(PAGE_SIZE)))
        flash.complete(Erase(address=page))
    left = sum(byte != 0xFF for byte in flash.read(0x3000, PAGE_SIZE))
    assert 10 <= left <= 80, "about one bit in a thousand"
    assert flash.read(0x4000, PAGE_SIZE) == b"\xff" * PAGE_SIZE


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"stuck_bits": [{"address": 0x3000}]}, "address, bit"),
        ({"stuck_bits": [{"address": 0x3000, "bit": 8, "value": 0}]}, "no bit 8"),
        ({"worn_pages": [0x3001]}, "no page"),
    ],
)
def test_damage_that_no_flash_can_have_is_refused(options: dict[str, list[object]], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        damage_of(PARTS["nrf52840"], **options)  # type: ignore[arg-type]
