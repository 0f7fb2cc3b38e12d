"""Every known-bad variant of the virtual MCUboot shows what it should show, and a good one does not."""

from __future__ import annotations

from typing import Any

import pytest

from rig.errors import ConfigError
from rig.virtual.mcuboot import Defect, Mode
from tests.mcuboot_board import (
    ALL_MODES,
    OLD,
    OLDER,
    SWAP_MODES,
    USER_DATA,
    Board,
    cut_places,
    foreign_key,
    lines,
    wrong_hash,
)
from tests.signed_images import flip


def with_defect(defect: Defect, mode: Mode, **options: Any) -> tuple[Board, Board]:
    """A good board and one with `defect`, otherwise alike."""
    arguments = {key: options.pop(key) for key in ("old", "new") if key in options}
    bad = options | {"defects": frozenset({defect})}
    return Board(mode=mode, options=options, **arguments), Board(mode=mode, options=bad, **arguments)


def survivors(board: Board) -> int:
    """How many cuts, one at a time, leave a device that runs something."""
    alive = 0
    for place in cut_places(board):
        device = board.copy()
        device.power_on(cut=(place, "lost"))
        alive += None not in device.boots(2)
    return alive


@pytest.mark.parametrize("mode", SWAP_MODES)
def test_defect_status_before_copy(mode: Mode) -> None:
    good, bad = with_defect(Defect.STATUS_BEFORE_COPY, mode)
    good.request()
    bad.request()
    assert survivors(good) == len(cut_places(good))
    assert survivors(bad) < len(cut_places(bad))
    assert bad.boots() == ["2.0.0"], "without a cut nothing shows"


@pytest.mark.parametrize("mode", SWAP_MODES)
def test_defect_no_revert(mode: Mode) -> None:
    good, bad = with_defect(Defect.NO_REVERT, mode)
    good.request()
    bad.request()
    assert good.boots(2) == ["2.0.0", "1.0.0"]
    assert bad.boots(3) == ["2.0.0"] * 3


@pytest.mark.parametrize("mode", ALL_MODES)
def test_defect_no_signature_check(mode: Mode) -> None:
    good, bad = with_defect(Defect.NO_SIGNATURE_CHECK, mode, new=foreign_key())
    good.request()
    bad.request()
    assert good.boots() == ["1.0.0"]
    assert bad.boots() == ["2.0.0"]
    spoiled = Board(mode=mode, new=wrong_hash(), options={"defects": frozenset({Defect.NO_SIGNATURE_CHECK})})
    spoiled.request()
    assert spoiled.boots() == ["1.0.0"], "the hash is still checked"


@pytest.mark.parametrize("mode", ALL_MODES)
def test_defect_downgrade_accepted(mode: Mode) -> None:
    good, bad = with_defect(Defect.DOWNGRADE_ACCEPTED, mode, new=OLDER, downgrade_prevention=True)
    good.request()
    bad.request()
    assert good.boots() == ["1.0.0"]
    assert bad.boots() == ["0.9.0"]


@pytest.mark.parametrize("mode", ALL_MODES)
def test_defect_no_slot0_validation(mode: Mode) -> None:
    good, bad = with_defect(Defect.NO_SLOT0_VALIDATION, mode, old=flip(OLD, 900))
    assert good.boots() == [None]
    assert bad.boots() == ["1.0.0"]


@pytest.mark.parametrize("mode", ALL_MODES)
def test_defect_user_data_erased(mode: Mode) -> None:
    good, bad = with_defect(Defect.USER_DATA_ERASED, mode)
    assert bad.boots() == ["1.0.0"]
    assert bad.marker == USER_DATA, "a boot that installs nothing is innocent"
    good.request()
    bad.request()
    assert good.boots() == bad.boots() == ["2.0.0"]
    assert good.marker == USER_DATA
    assert bad.marker == b"\xff" * len(USER_DATA)


@pytest.mark.parametrize("mode", ALL_MODES)
def test_defect_hang_without_image(mode: Mode) -> None:
    good, bad = with_defect(Defect.HANG_WITHOUT_IMAGE, mode)
    good.request()
    bad.request()
    assert survivors(good) == len(cut_places(good))
    assert survivors(bad) < len(cut_places(bad))
    bad.flash.poke(bad.memory.primary.start, b"\xff" * len(OLD))
    assert lines(bad.power_on()) == ["*** MCUboot"]


def test_defect_overwrite_request_first() -> None:
    good, bad = with_defect(Defect.OVERWRITE_REQUEST_FIRST, Mode.OVERWRITE_ONLY)
    good.request()
    bad.request()
    assert survivors(good) == len(cut_places(good))
    assert survivors(bad) < len(cut_places(bad))
    assert bad.boots() == ["2.0.0"]


def test_a_defect_that_cannot_show_is_a_mistake_of_the_operator() -> None:
    with pytest.raises(ConfigError, match="unknown defect 'no-luck'; known: bootloader-not-locked, demo-key-trusted"):
        Board(mode=Mode.SWAP_MOVE, options={"defects": frozenset({"no-luck"})})
    for mode, defect in (
        (Mode.OVERWRITE_ONLY, Defect.NO_REVERT),
        (Mode.OVERWRITE_ONLY, Defect.STATUS_BEFORE_COPY),
        (Mode.SWAP_MOVE, Defect.OVERWRITE_REQUEST_FIRST),
        (Mode.SWAP_MOVE, Defect.DOWNGRADE_ACCEPTED),
    ):
        with pytest.raises(ConfigError, match="can"):
            Board(mode=mode, options={"defects": frozenset({defect})})
