"""The application's side of MCUboot: what it asks for, what it reads back; and how a bootloader is put together."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest

from rig.config.boards import mcuboot_map
from rig.errors import ConfigError
from rig.model import Region
from rig.virtual.cpu import BoardFacts
from rig.virtual.mcuboot import Console, Mcuboot, McubootConfig, Mode, SwapType, TrustedKey
from rig.virtual.mcuboot.trailer import MAGIC_BYTES
from rig.virtual.parts import PAGE_SIZE, PARTS
from tests.mcuboot_board import (
    ALL_MODES,
    NEW,
    OLD,
    SWAP_MODES,
    Board,
    lines,
    small_map,
)
from tests.signed_images import KEY


# ---------------------------------------------------------------------------------------------------- application's side
def flags(board: Board) -> list[tuple[int, str, str]]:
    """(slot, version, flags in one word) of the images listed."""
    names = ("pending", "permanent", "confirmed", "active")
    return [(image.slot, image.version, "+".join(name for name in names if getattr(image, name))) for image in board.state().slots]


@pytest.mark.parametrize("mode", SWAP_MODES)
def test_the_state_that_the_host_sees(mode: Mode) -> None:
    board = Board(mode=mode)
    assert flags(board) == [(0, "1.0.0", "confirmed+active"), (1, "2.0.0", "")]
    assert board.state().secondary_free
    board.request()
    assert flags(board) == [(0, "1.0.0", "confirmed+active"), (1, "2.0.0", "pending")]
    assert not board.state().secondary_free
    board.power_on()
    assert flags(board) == [(0, "2.0.0", "active"), (1, "1.0.0", "confirmed")]
    assert not board.state().secondary_free
    assert not board.state().active_confirmed
    board.confirm()
    kept = [] if mode is Mode.SWAP_OFFSET else [(1, "1.0.0", "")]  # there it lies where only a revert would look
    assert flags(board) == [(0, "2.0.0", "confirmed+active"), *kept]
    assert board.state().secondary_free


@pytest.mark.parametrize("mode", ALL_MODES)
def test_the_hash_that_the_host_sees_is_the_tlv(mode: Mode) -> None:
    hashes = [image.image_hash for image in Board(mode=mode).state().slots]
    assert hashes == [image[len(image) - tail :][8:40] for image, tail in ((OLD, tlv_bytes(OLD)), (NEW, tlv_bytes(NEW)))]


def tlv_bytes(image: bytes) -> int:
    return len(image) - 32 - int.from_bytes(image[12:16], "little")


def test_asking_for_good_after_asking_for_a_test_changes_nothing() -> None:
    board = Board(mode=Mode.SWAP_MOVE)
    board.request()
    before = list(board.flash.pages)
    assert board.request(permanent=True)
    assert board.flash.pages == before
    assert board.state().next_swap is SwapType.TEST
    assert board.boots(2) == ["2.0.0", "1.0.0"]


def test_confirming_what_never_came_by_a_swap_writes_nothing() -> None:
    board = Board(mode=Mode.SWAP_MOVE)
    before = list(board.flash.pages)
    assert not board.confirm()
    assert board.flash.pages == before
    board.pad(board.memory.primary)
    assert board.confirm(), "a padded image may be confirmed although nothing was swapped"
    board = Board(mode=Mode.SWAP_MOVE)
    board.pad(board.memory.primary, magic=MAGIC_BYTES[:8] + b"\0" * 8)
    assert not board.confirm(), "nothing can be confirmed in a torn trailer"


# ----------------------------------------------------------------------------------------------------------- construction
def facts(mode: Mode, part: str = "nrf52840") -> BoardFacts:
    return BoardFacts(name="dk1", part=PARTS[part], memory=mcuboot_map(part, mode), ble_name="dk1", ble_address="C0:00:00:00:00:01")


@pytest.mark.parametrize("mode", [Mode.SWAP_OFFSET, Mode.SWAP_MOVE, Mode.SWAP_SCRATCH])
def test_a_board_gets_the_mode_that_its_memory_map_means(mode: Mode) -> None:
    config = Mcuboot.for_board(facts(mode)).config
    assert (config.mode, config.signature_s, config.layout.max_sectors) == (
        mode,
        0.011,
        config.memory.primary.size // PAGE_SIZE,
    )


def test_zephyr_says_where_it_jumps() -> None:
    board = Board(mode=Mode.SWAP_MOVE, options={"console": Console.ZEPHYR})
    text = lines(board.power_on())
    assert text[0].startswith("*** Booting MCUboot ")
    assert "I: Starting bootloader" in text
    assert text[-3:] == [
        "I: Bootloader chainload address offset: 0x8000",
        "I: Image version: v1.0.0",
        "I: Jumping to the first image slot",
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "direct-xip"}, "unknown mode 'direct-xip'; known: swap-offset, swap-move, swap-scratch, overwrite-only"),
        ({"signature": "md5"}, "unknown signature 'md5'"),
        ({"console": "curses"}, "unknown console"),
        ({"keys": ["/nonexistent/key.pem"]}, "cannot be read"),
        ({"mode": "swap-offset"}, "upload_offset must be 4096"),
        ({"mode": "swap-scratch"}, "needs a scratch area"),
        ({"max_sectors": 100}, "max_sectors is 100, the larger slot has 118 pages"),
        ({"defects": ["no-luck"]}, "unknown defect"),
        ({"hash_bytes_per_s": 0.0}, "must be positive"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Mcuboot.for_board(facts(Mode.SWAP_MOVE), **options)


def test_memory_that_does_not_fit_is_refused() -> None:
    memory = small_map(Mode.SWAP_MOVE)
    keys = (TrustedKey.of(KEY.public_key()),)
    longer = replace(memory, secondary=Region(start=memory.secondary.start, size=memory.secondary.size + PAGE_SIZE))
    odd = replace(memory, primary=Region(start=0x8004, size=memory.primary.size))
    tiny = replace(memory, primary=Region(start=0x8000, size=PAGE_SIZE), secondary=Region(start=0xA000, size=PAGE_SIZE))
    for wrong in (longer, odd, tiny):
        with pytest.raises(ConfigError):
            McubootConfig(mode=Mode.SWAP_MOVE, memory=wrong, keys=keys)
    with pytest.raises(ConfigError, match="one kind of signature"):
        McubootConfig(mode=Mode.SWAP_MOVE, memory=memory, keys=())


@pytest.mark.parametrize("part", list(PARTS))
@pytest.mark.parametrize("mode", ALL_MODES)
def test_the_preset_maps_fit_their_parts(part: str, mode: Mode) -> None:
    memory = mcuboot_map(part, mode)
    regions = [memory.primary, memory.secondary, *([memory.scratch] if memory.scratch else []), memory.user_data]
    for lower, upper in itertools.pairwise(regions):
        assert lower.end <= upper.start
    assert regions[-1].end == PARTS[part].flash_size
    Mcuboot.for_board(facts(mode, part), mode=mode)
