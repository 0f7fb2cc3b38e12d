"""What the virtual MCUboot decides where no measurement looks: decision tables, refusals, keys, downgrades."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from rig.errors import ConfigError
from rig.formats.test_key import SignatureAlgorithm, private_key
from rig.virtual.mcuboot import Mode, SwapType, TrustedKey
from rig.virtual.mcuboot.trailer import MAGIC_BYTES, Flag, Magic, SwapState, requested_swap
from rig.virtual.parts import PAGE_SIZE
from tests.mcuboot_board import (
    ALL_MODES,
    IMAGE_SIZE,
    NEW,
    OLD,
    OLDER,
    PAGES,
    SAME,
    SWAP_MODES,
    Board,
    foreign_key,
    lines,
    wrong_hash,
)
from tests.signed_images import FOREIGN_KEY, KEY, flip, rsa_3072_key, sign, signed_image, tlv_area

NOT_VALID = "E: Image in the secondary slot is not valid!"


# ------------------------------------------------------------------------------------------------------------- decisions
def trailer(magic: Magic = Magic.UNSET, *, image_ok: Flag = Flag.UNSET, copy_done: Flag = Flag.UNSET) -> SwapState:
    return SwapState(magic=magic, swap_type=SwapType.NONE, copy_done=copy_done, image_ok=image_ok)


TESTED = trailer(Magic.GOOD, copy_done=Flag.SET)
CONFIRMED = trailer(Magic.GOOD, copy_done=Flag.SET, image_ok=Flag.SET)


@pytest.mark.parametrize(
    ("primary", "secondary", "by_offset", "expected"),
    [
        (TESTED, trailer(Magic.GOOD, copy_done=Flag.SET), True, SwapType.REVERT),  # I
        (trailer(), trailer(Magic.GOOD, copy_done=Flag.SET), True, SwapType.REVERT),
        (trailer(), trailer(Magic.GOOD, copy_done=Flag.SET), False, SwapType.TEST),  # I is for offset mode only
        (trailer(), trailer(Magic.GOOD), True, SwapType.TEST),  # II
        (TESTED, trailer(Magic.GOOD), False, SwapType.TEST),  # II comes before IV
        (trailer(Magic.BAD), trailer(Magic.GOOD), False, SwapType.TEST),
        (CONFIRMED, trailer(Magic.GOOD, image_ok=Flag.SET), False, SwapType.PERMANENT),  # III
        (TESTED, trailer(Magic.GOOD, image_ok=Flag.SET, copy_done=Flag.SET), True, SwapType.PERMANENT),
        (TESTED, trailer(), False, SwapType.REVERT),  # IV
        (TESTED, trailer(Magic.BAD), True, SwapType.REVERT),  # IV with any secondary magic
        (TESTED, trailer(Magic.GOOD, image_ok=Flag.BAD), False, SwapType.REVERT),
        (CONFIRMED, trailer(), False, SwapType.NONE),  # V
        (trailer(), trailer(), False, SwapType.NONE),
        (trailer(), trailer(Magic.BAD), False, SwapType.NONE),
        (trailer(Magic.GOOD), trailer(), False, SwapType.NONE),  # padded by a programming tool, never swapped
        (trailer(Magic.GOOD, copy_done=Flag.BAD), trailer(), False, SwapType.NONE),
        (trailer(Magic.GOOD, copy_done=Flag.SET, image_ok=Flag.BAD), trailer(), False, SwapType.NONE),
        (trailer(), trailer(Magic.GOOD, image_ok=Flag.BAD), False, SwapType.NONE),
    ],
)
def test_decision_tables_in_order(primary: SwapState, secondary: SwapState, by_offset: bool, expected: SwapType) -> None:
    assert requested_swap(primary, secondary, by_offset=by_offset) is expected


@pytest.mark.parametrize(
    ("from_end", "data", "field", "expected"),
    [
        (24, b"\xff", "image_ok", Flag.UNSET),
        (24, b"\x01", "image_ok", Flag.SET),
        (24, b"\x7f", "image_ok", Flag.BAD),
        (32, b"\x01", "copy_done", Flag.SET),
        (32, b"\x00", "copy_done", Flag.BAD),
        (40, b"\xff", "swap_type", SwapType.NONE),
        (40, b"\x03", "swap_type", SwapType.PERMANENT),
        (40, b"\x14", "swap_type", SwapType.REVERT),  # the upper half is the image's number
        (40, b"\x05", "swap_type", SwapType.NONE),
        (16, MAGIC_BYTES, "magic", Magic.GOOD),
        (16, MAGIC_BYTES[:4], "magic", Magic.BAD),
    ],
)
def test_trailer_fields(from_end: int, data: bytes, field: str, expected: Flag | SwapType | Magic) -> None:
    board = Board(mode=Mode.SWAP_MOVE)
    board.flash.poke(board.memory.primary.end - from_end, data)
    blank = trailer()
    assert board.state().primary == replace(blank, **{field: expected})  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", SWAP_MODES)
def test_a_test_image_goes_back_unless_confirmed(mode: Mode) -> None:
    board = Board(mode=mode)
    board.request()
    assert board.boots(3) == ["2.0.0", "1.0.0", "1.0.0"]
    board = Board(mode=mode)
    board.request()
    assert board.boots() == ["2.0.0"]
    assert board.confirm()
    assert board.boots(2) == ["2.0.0", "2.0.0"]
    assert not board.confirm(), "it is confirmed already"


@pytest.mark.parametrize("mode", ALL_MODES)
def test_a_permanent_image_stays(mode: Mode) -> None:
    board = Board(mode=mode)
    board.request(permanent=True)
    assert board.boots(3) == ["2.0.0"] * 3


@pytest.mark.parametrize("mode", ALL_MODES)
def test_a_torn_request_is_none_until_the_slot_is_written_anew(mode: Mode) -> None:
    board = Board(mode=mode)
    board.pad(board.memory.secondary, magic=MAGIC_BYTES[:6] + b"\xff" * 10)
    assert board.boots(2) == ["1.0.0"] * 2
    assert board.state().secondary.magic is Magic.BAD
    assert not board.request()
    assert board.is_erased(board.memory.secondary)
    board.flash.poke(board.upload_address, NEW)
    assert board.request()
    assert board.boots() == ["2.0.0"]


# -------------------------------------------------------------------------------------------------------------- refusals


def wrong_signature() -> bytes:
    return flip(NEW, len(NEW) - 1)


def unsigned() -> bytes:
    body = NEW[: 32 + IMAGE_SIZE - PAGE_SIZE]
    digest = NEW[len(body) + 8 : len(body) + 40]
    return body + tlv_area((0x10, digest))


def stray_tlv() -> bytes:
    """An entry that only the protected area may hold; the hash does not cover it."""
    body = NEW[: 32 + IMAGE_SIZE - PAGE_SIZE]
    digest = NEW[len(body) + 8 : len(body) + 40]
    return body + tlv_area((0x10, digest), (0x01, TrustedKey.of(KEY.public_key()).hash), sign(KEY, digest), (0x50, b"\1\0\0\0"))


def encrypted_flag() -> bytes:
    return flip(NEW, 16, 0x04)


def too_large() -> bytes:
    """Clear of the trailer, but with no page left to swap through."""
    return signed_image("2.0.0", header_size=32, image_size=(PAGES - 2) * PAGE_SIZE + PAGE_SIZE // 2)


@pytest.mark.parametrize("mode", ALL_MODES)
@pytest.mark.parametrize(
    "spoil", [wrong_hash, wrong_signature, foreign_key, unsigned, stray_tlv, encrypted_flag], ids=lambda spoil: spoil.__name__
)
def test_a_bad_image_is_erased_and_the_old_one_runs(mode: Mode, spoil: Any) -> None:
    board = Board(mode=mode, new=spoil())
    board.request()
    cpu = board.power_on()
    assert board.running == "1.0.0"
    assert NOT_VALID in lines(cpu)
    assert board.is_erased(board.memory.secondary)
    assert [op.address for op in cpu.ops] == list(range(board.memory.secondary.start, board.memory.secondary.end, PAGE_SIZE))
    assert board.state().primary.image_ok is Flag.UNSET
    assert board.boots() == ["1.0.0"]


@pytest.mark.parametrize("mode", [Mode.SWAP_OFFSET, Mode.SWAP_MOVE])
def test_an_image_that_leaves_no_page_to_swap_through_is_bad(mode: Mode) -> None:
    board = Board(mode=mode, new=too_large())
    assert board.request()
    assert NOT_VALID in lines(board.power_on())
    smaller = Board(mode=mode, new=signed_image("2.0.0", header_size=32, image_size=(PAGES - 2) * PAGE_SIZE - 200))
    assert smaller.request()
    assert smaller.boots() == ["2.0.0"]


@pytest.mark.parametrize("mode", [Mode.SWAP_OFFSET, Mode.SWAP_MOVE])
def test_an_old_image_that_leaves_no_page_to_swap_through_stays(mode: Mode) -> None:
    """Only a bootloader that does not validate the primary slot gets that far."""
    pages = PAGES if mode is Mode.SWAP_OFFSET else PAGES - 1
    old = signed_image("1.0.0", header_size=32, image_size=pages * PAGE_SIZE - 1300)
    board = Board(mode=mode, old=old, options={"validate_slot0": False})
    assert board.request()
    text = lines(board.power_on())
    at = text.index("W: Not enough free space to run swap upgrade")
    assert text[at + 1] == f"W: required {PAGES * PAGE_SIZE} bytes but only {(PAGES - 1) * PAGE_SIZE} are available"
    assert board.running == "1.0.0"
    assert board.flash.read(board.memory.primary.start, len(old)) == old


@pytest.mark.parametrize("mode", SWAP_MODES)
def test_an_image_that_went_bad_after_its_swap_had_begun_is_refused_for_good(mode: Mode) -> None:
    """Only then MCUboot sets image_ok of the primary slot (BOOT_SWAP_TYPE_FAIL)."""
    board = Board(mode=mode)
    board.request()
    described = next(at for at in range(1000) if is_described_after_a_cut(board, at))
    board.power_on(cut=(described, "lost"))
    board.flash.poke(board.upload_address + 600, b"\0\0\0\0")
    cpu = board.power_on()
    assert board.running == "1.0.0"
    assert NOT_VALID in lines(cpu)
    assert board.state().primary.image_ok is Flag.SET


def is_described_after_a_cut(board: Board, at: int) -> bool:
    """Whether a cut before operation `at` leaves a swap that is described and of which nothing has been done."""
    device = board.copy()
    device.power_on(cut=(at, "lost"))
    state = device.state()
    return state.primary.magic is Magic.GOOD and (state.secondary.magic is not Magic.GOOD or board.mode is Mode.SWAP_SCRATCH)


def test_an_upload_to_the_wrong_address_is_named() -> None:
    board = Board(mode=Mode.SWAP_OFFSET)
    board.flash.poke(board.upload_address, b"\xff" * len(NEW))
    board.flash.poke(board.memory.secondary.start, NEW)
    board.request()
    cpu = board.power_on()
    text = lines(cpu)
    at = text.index("E: Secondary header magic detected in first sector, wrong upload address?")
    assert text[at + 1] == NOT_VALID
    assert board.running == "1.0.0"
    assert board.is_erased(board.memory.secondary)


def test_holes_in_the_status_are_reported_where_mcuboot_looks_for_them() -> None:
    board = Board(mode=Mode.SWAP_SCRATCH)
    board.request()
    board.power_on(cut=(10**6, "lost"))
    start = board.memory.primary.end - board.bootloader.config.layout.size
    board.flash.poke(board.memory.primary.end - 32, b"\xff")
    board.flash.poke(start + 4, b"\xff" * 4)
    assert "E: Detected inconsistent status!" in lines(board.power_on())
    blind = Board(mode=Mode.SWAP_SCRATCH, options={"validate_slot0": False})
    blind.flash = board.flash
    blind.flash.poke(board.memory.primary.end - 32, b"\xff")
    blind.flash.poke(start + 4, b"\xff" * 4)
    assert lines(blind.power_on())[-1] == "E: Detected inconsistent status!"
    assert blind.running is None


@pytest.mark.parametrize("mode", ALL_MODES)
def test_nothing_to_boot_is_said_before_halting(mode: Mode) -> None:
    board = Board(mode=mode)
    board.flash.poke(board.memory.primary.start, b"\xff" * len(OLD))
    assert lines(board.power_on())[-1] == "E: Unable to find bootable image"
    assert board.running is None
    board.flash.poke(board.memory.primary.start, flip(OLD, 700))
    assert lines(board.power_on())[-2:] == ["E: Image in the primary slot is not valid!", "E: Unable to find bootable image"]


@pytest.mark.parametrize(
    ("mode", "versions"), [(Mode.SWAP_SCRATCH, "2.0.0"), (Mode.OVERWRITE_ONLY, "2.0.0"), (Mode.SWAP_MOVE, None)]
)
def test_a_request_with_an_empty_primary_slot(mode: Mode, versions: str | None) -> None:
    board = Board(mode=mode)
    board.flash.poke(board.memory.primary.start, b"\xff" * len(OLD))
    board.request()
    cpu = board.power_on()
    assert board.running == versions
    assert ("W: Failed reading image headers; Image=0" in lines(cpu)) == (mode is Mode.SWAP_MOVE)


@pytest.mark.parametrize("mode", SWAP_MODES)
def test_a_revert_with_nothing_to_go_back_to_keeps_the_new_image(mode: Mode) -> None:
    board = Board(mode=mode)
    board.request()
    board.power_on()
    secondary = board.memory.secondary
    board.flash.poke(secondary.start, b"\xff" * secondary.size)
    text = lines(board.power_on())
    assert board.running == "2.0.0"
    assert ("I: Cleared image 0 primary slot trailer due to stuck revert" in text) == (mode is Mode.SWAP_MOVE)
    assert board.boots() == ["2.0.0"]


def test_a_slot_that_is_not_validated_only_needs_its_magic() -> None:
    board = Board(mode=Mode.SWAP_MOVE, old=flip(OLD, 700), options={"validate_slot0": False})
    assert board.boots() == ["1.0.0"]
    board.flash.poke(board.memory.primary.start, b"\0\0\0\0")
    assert lines(board.power_on())[-2:] == ["E: Bad image magic 0x0; Image=0", "E: Unable to find bootable image"]


# --------------------------------------------------------------------------------------------------------- keys and time
@pytest.mark.parametrize(
    "key", [KEY, private_key(SignatureAlgorithm.ED25519), private_key(SignatureAlgorithm.RSA_2048), rsa_3072_key()]
)
def test_every_kind_of_signature(key: Any) -> None:
    old = signed_image("1.0.0", header_size=32, image_size=IMAGE_SIZE, key=key)
    new = signed_image("2.0.0", header_size=32, image_size=IMAGE_SIZE, key=key)
    options = {"keys": (TrustedKey.of(key.public_key()),)}
    board = Board(mode=Mode.SWAP_MOVE, old=old, new=new, options=options)
    board.request()
    assert board.boots() == ["2.0.0"]
    board = Board(mode=Mode.SWAP_MOVE, old=old, new=flip(new, len(new) - 20), options=options)
    board.request()
    assert board.boots() == ["1.0.0"]


def test_any_of_several_keys_will_do() -> None:
    options = {"keys": (TrustedKey.of(FOREIGN_KEY.public_key()), TrustedKey.of(KEY.public_key()))}
    assert Board(mode=Mode.SWAP_MOVE, options=options).boots() == ["1.0.0"]


def test_checking_an_image_takes_time() -> None:
    board = Board(mode=Mode.SWAP_MOVE, options={"hash_bytes_per_s": 1000.0, "signature_s": 7.0})
    assert board.power_on().slept_s == pytest.approx(7.0 + (32 + IMAGE_SIZE) / 1000)


def test_a_public_and_a_private_pem_file_mean_the_same_key() -> None:
    public = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    private = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    assert TrustedKey.from_pem(public) == TrustedKey.from_pem(private) == TrustedKey.of(KEY.public_key())
    with pytest.raises(ConfigError):
        TrustedKey.from_pem(b"-----BEGIN PUBLIC KEY-----\nnonsense\n-----END PUBLIC KEY-----\n")
    with pytest.raises(ConfigError):
        TrustedKey(der=b"nonsense")


# ------------------------------------------------------------------------------------------------------------- downgrade


@pytest.mark.parametrize("mode", ALL_MODES)
@pytest.mark.parametrize("permanent", [False, True])
def test_downgrade_prevention(mode: Mode, permanent: bool) -> None:
    options = {"downgrade_prevention": True}
    board = Board(mode=mode, new=OLDER, options=options)
    board.request(permanent=permanent)
    text = lines(board.power_on())
    said = "Image 0 in slot 1 erased due to downgrade prevention" if mode.swaps else "Insufficient version in secondary slot"
    assert any(said in line for line in text)
    assert board.running == "1.0.0"
    assert board.is_erased(board.memory.secondary)
    same = Board(mode=mode, new=SAME, options=options)
    same.request(permanent=permanent)
    same.power_on()
    assert same.flash.read(same.memory.primary.start, len(SAME)) == SAME, "an equal version is no downgrade"


@pytest.mark.parametrize("mode", SWAP_MODES)
def test_downgrade_prevention_lets_a_revert_through(mode: Mode) -> None:
    board = Board(mode=mode, options={"downgrade_prevention": True})
    board.request()
    assert board.boots(2) == ["2.0.0", "1.0.0"]


# ---------------------------------------------------------------------------------------------------------- the status hook
@pytest.mark.parametrize("mode", SWAP_MODES)
def test_the_pin_tells_of_a_new_installation_and_not_of_one_that_is_completed(mode: Mode) -> None:
    board = Board(mode=mode, options={"upgrading_pin": "P0.13"})
    board.request(permanent=True)
    interrupted = board.copy()
    whole = board.power_on()
    assert whole.driven == [("P0.13", True), ("P0.13", False)]
    assert board.power_on().driven == [("P0.13", False)]
    assert interrupted.power_on((whole.count // 2, "lost")).driven == [("P0.13", True)]
    assert interrupted.power_on().driven == [("P0.13", False)]
    assert interrupted.running == board.running == "2.0.0"


def test_a_build_without_the_hook_drives_nothing() -> None:
    board = Board(mode=Mode.SWAP_MOVE)
    board.request()
    assert board.power_on().driven == []


@pytest.mark.parametrize("pin", ["P0.32", "P2.01", "13", "P0.1"])
def test_the_hook_needs_a_pin_that_exists(pin: str) -> None:
    with pytest.raises(ConfigError, match=r"upgrading_pin must be a pin such as P0\.13"):
        Board(mode=Mode.SWAP_MOVE, options={"upgrading_pin": pin})
