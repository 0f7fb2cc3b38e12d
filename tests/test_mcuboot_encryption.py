"""The virtual MCUboot with encrypted images: what it installs, what it leaves behind, and what power cuts make of both."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from imgtool import image as imgtool_image
from imgtool import keys as imgtool_keys
from imgtool.version import decode_version

from rig.formats import encryption_key
from rig.formats.mcuboot_image import TlvType, parse
from rig.virtual.mcuboot import Defect, Encryption, Mode
from rig.virtual.parts import PAGE_SIZE, WORD_SIZE
from tests.instant_cpu import InstantCpu, Op, PowerCut, cold_boot
from tests.mcuboot_board import ALL_MODES, IMAGE_SIZE, SWAP_MODES, Board, cut_places, lines
from tests.mcuboot_images import HEADER_SIZE, Image, build
from tests.signed_images import flip

OLD = build("1.0.0", encrypted=True)
NEW = build("2.0.0", encrypted=True, size=IMAGE_SIZE - PAGE_SIZE)
LONG_OLD = build("1.0.0", encrypted=True, size=IMAGE_SIZE + PAGE_SIZE)
PLAIN_NEW = build("2.0.0", size=IMAGE_SIZE - PAGE_SIZE)
PROBE_STEP = 384
KINDS = ("lost", "half", "done")
NOT_VALID = "E: Image in the secondary slot is not valid!"


def board_with(mode: Mode, *, old: Image = OLD, new: bytes = NEW.sent, encryption: str = "required", **options: Any) -> Board:
    return Board(mode=mode, old=old.clear, new=new, options={"encryption": Encryption(encryption), **options})


def outside_primary(board: Board) -> bytes:
    """Everything in flash that should hold no plaintext."""
    memory = board.memory
    areas = [memory.secondary] + ([memory.scratch] if memory.scratch else [])
    return b"".join(board.flash.read(area.start, area.size) for area in areas)


def leaks(board: Board, *images: Image) -> list[int]:
    """Offsets into the payloads that can be read outside the primary slot: 12 bytes out of each `PROBE_STEP`."""
    exposed = outside_primary(board)
    return [at for image in images for at in probes(image) if image.payload[at : at + 12] in exposed]


def probes(image: Image) -> range:
    return range(0, len(image.payload) - 12, PROBE_STEP)


def has_bare_key(board: Board, *images: Image) -> bool:
    whole = board.flash.read(0, 0x40000)
    return any(image.aes_key in whole for image in images)


# ------------------------------------------------------------------------------------------------------- the wrapped key
def imgtool_private(tmp_path: Path) -> Any:
    pem = encryption_key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    path = tmp_path / "encrypt.pem"
    path.write_bytes(pem)
    return imgtool_keys.load(str(path))


def test_wrapping_is_what_imgtool_does(tmp_path: Path) -> None:
    ephemeral = ec.derive_private_key(0xABCDEF, ec.SECP256R1())
    aes_key = bytes(range(16))
    tool = imgtool_image.Image(header_size=HEADER_SIZE, slot_size=0x10000)
    with mock.patch.object(imgtool_image.ec, "generate_private_key", return_value=ephemeral):
        wrapped, mac, point = tool.ecies_hkdf(imgtool_private(tmp_path), aes_key, hashes.SHA256())
    assert encryption_key.wrap(aes_key, encryption_key.public_key(), ephemeral) == point + mac + wrapped


def test_an_image_encrypted_by_imgtool_can_be_read(tmp_path: Path) -> None:
    payload = bytes(range(256)) * 20
    source = tmp_path / "app.bin"
    source.write_bytes(payload)
    tool = imgtool_image.Image(
        version=decode_version("1.2.3"), header_size=HEADER_SIZE, pad_header=True, slot_size=0x10000, align=4, max_align=8
    )
    tool.load(str(source))
    tool.create(None, "hash", imgtool_private(tmp_path))
    target = tmp_path / "signed.bin"
    tool.save(str(target))
    image = parse(target.read_bytes())
    wrapped = image.tlv(TlvType.ENC_EC256)
    assert wrapped is not None
    key = encryption_key.unwrap(wrapped, encryption_key.private_key())
    assert key is not None
    sent = target.read_bytes()[HEADER_SIZE : HEADER_SIZE + len(payload)]
    assert sent != payload
    assert encryption_key.crypt(key, sent) == payload
    for position in (0, 16, 33, 4095):
        assert encryption_key.crypt(key, sent[position : position + 100], position=position) == payload[position : position + 100]


def test_a_damaged_or_foreign_entry_gives_no_key() -> None:
    ephemeral = ec.derive_private_key(5, ec.SECP256R1())
    good = encryption_key.wrap(bytes(16), encryption_key.public_key(), ephemeral)
    assert encryption_key.unwrap(good, encryption_key.private_key()) == bytes(16)
    assert encryption_key.unwrap(good, ephemeral) is None
    for spoiled in (good[:-1], good + b"\0", b"", *(flip(good, at) for at in (0, 40, 70, len(good) - 1))):
        assert encryption_key.unwrap(spoiled, encryption_key.private_key()) is None


# ------------------------------------------------------------------------------------------------------ what is installed
@pytest.mark.parametrize("save_enctlv", [False, True])
@pytest.mark.parametrize("mode", ALL_MODES)
def test_an_encrypted_image_is_installed_and_comes_back(mode: Mode, save_enctlv: bool) -> None:
    board = board_with(mode, save_enctlv=save_enctlv)
    board.request()
    assert board.boots() == ["2.0.0"]
    assert board.flash.read(board.memory.primary.start, len(NEW.clear)) == NEW.clear
    assert leaks(board, OLD, NEW) == []
    assert not has_bare_key(board, OLD, NEW)
    if mode.swaps:
        assert OLD.sent in outside_primary(board), "the old image is encrypted again, with its own key"
        assert board.boots() == ["1.0.0"]
        assert board.flash.read(board.memory.primary.start, len(OLD.clear)) == OLD.clear
        assert leaks(board, OLD, NEW) == []
        assert not has_bare_key(board, OLD, NEW)


@pytest.mark.parametrize("mode", ALL_MODES)
@pytest.mark.parametrize(("encryption", "runs"), [("required", "1.0.0"), ("accepted", "2.0.0"), ("none", "2.0.0")])
def test_an_image_in_clear(mode: Mode, encryption: str, runs: str) -> None:
    old = build("1.0.0") if encryption == "none" else OLD
    board = board_with(mode, old=old, new=PLAIN_NEW.sent, encryption=encryption)
    board.request()
    assert (NOT_VALID in lines(board.power_on())) == (encryption == "required")
    assert board.running == runs


@pytest.mark.parametrize("mode", SWAP_MODES)
def test_a_factory_image_in_clear_comes_back_although_encryption_is_required(mode: Mode) -> None:
    board = board_with(mode, old=build("1.0.0"))
    board.request()
    assert board.boots(3) == ["2.0.0", "1.0.0", "1.0.0"]


@pytest.mark.parametrize("mode", ALL_MODES)
def test_what_cannot_be_decrypted_is_refused(mode: Mode) -> None:
    foreign = ec.derive_private_key(7, ec.SECP256R1()).public_key()
    for new in (
        build("2.0.0", encrypted=True, encrypted_for=foreign).sent,
        NEW.clear,  # in clear under a header that says otherwise
        flip(NEW.sent, 900),
        flip(NEW.sent, len(NEW.sent) - 3),  # the wrapped key
    ):
        board = board_with(mode, new=new)
        board.request()
        assert NOT_VALID in lines(board.power_on())
        assert board.running == "1.0.0"
    without = board_with(mode, old=build("1.0.0"), encryption="none")
    without.request()
    assert without.boots() == ["1.0.0"], "a build without encryption"


def test_another_key_than_the_test_key(tmp_path: Path) -> None:
    key = ec.derive_private_key(99, ec.SECP256R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    assert b"PRIVATE" in pem
    (tmp_path / "key.pem").write_bytes(pem)
    new = build("2.0.0", encrypted=True, encrypted_for=key.public_key())
    board = board_with(Mode.SWAP_MOVE, old=build("1.0.0"), new=new.sent, encryption_key=key)
    board.request()
    assert board.boots() == ["2.0.0"]


# ----------------------------------------------------------------------------------------------------------- power cuts
def boards_for_cuts(mode: Mode, *, save_enctlv: bool, old: Image = OLD) -> list[Board]:
    installing = board_with(mode, old=old, save_enctlv=save_enctlv)
    boards = [installing]
    if mode.swaps:
        reverting = installing.copy()
        reverting.request()
        reverting.power_on()
        boards.append(reverting)
        permanent = installing.copy()
        permanent.request(permanent=True)
        boards.append(permanent)
    installing.request()
    return boards


@pytest.mark.parametrize(
    ("old", "save_enctlv"), [(OLD, True), (LONG_OLD, False)], ids=["wrapped keys", "bare keys, long old image"]
)
@pytest.mark.parametrize("mode", ALL_MODES)
def test_cuts_neither_brick_nor_leak(mode: Mode, old: Image, save_enctlv: bool) -> None:
    """A cut anywhere, and a second one in the recovery: a whole image runs, and nothing is in clear outside the primary slot."""
    rng = random.Random(f"encrypted cuts/{mode}/{save_enctlv}")
    for board in boards_for_cuts(mode, save_enctlv=save_enctlv, old=old):
        for place in cut_places(board):
            device = board.copy()
            device.power_on(cut=(place, rng.choice(KINDS)))
            assert leaks(device, old, NEW) == [], f"right after the cut at {place}"
            recovery = device.copy().power_on()
            if recovery.count:
                device.power_on(cut=(rng.randrange(recovery.count), rng.choice(KINDS)))
            settled = device.boots(3)
            assert None not in settled, f"cut at {place}"
            assert settled[-2] == settled[-1]
            image = {"1.0.0": old, "2.0.0": NEW}[str(settled[-1])]
            assert device.flash.read(board.memory.primary.start, len(image.clear)) == image.clear
            assert leaks(device, old, NEW) == [], f"cut at {place}"
            assert not has_bare_key(device, old, NEW), f"cut at {place}"


@pytest.mark.parametrize("mode", SWAP_MODES)
def test_the_keys_of_a_swap_are_bare_only_while_it_runs_and_only_if_the_build_wants_it(mode: Mode) -> None:
    for save_enctlv in (False, True):
        board = board_with(mode, save_enctlv=save_enctlv)
        board.request()
        seen = False
        for place in cut_places(board):
            device = board.copy()
            device.power_on(cut=(place, "done"))
            seen = seen or has_bare_key(device, OLD, NEW)
        assert seen is not save_enctlv


def test_scratch_carries_the_keys_of_images_at_the_trailer() -> None:
    """The largest images share a page with the trailer, so the scratch area holds the status and the keys for a while."""
    size = 8 * PAGE_SIZE - 1000
    old, new = build("1.0.0", encrypted=True, size=size), build("2.0.0", encrypted=True, size=size)
    board = board_with(Mode.SWAP_SCRATCH, old=old, new=new.sent, save_enctlv=False)
    board.request(permanent=True)
    for place in cut_places(board):
        device = board.copy()
        device.power_on(cut=(place, "lost"))
        assert device.boots(2)[-1] == "2.0.0"
        assert leaks(device, old, new) == []
        assert not has_bare_key(device, old, new)


@dataclass
class CountingCpu(InstantCpu):
    """Refuses a third write of a word between two erases, over several lives; what power interrupts does not count."""

    writes: Counter[int] = field(default_factory=Counter)

    def _apply(self, op: Op) -> None:
        if op.data:
            words = range(op.address, op.address + len(op.data), WORD_SIZE)
            self.writes.update(words)
            assert max(self.writes[word] for word in words) <= self.part.writes_per_word, f"at 0x{op.address:x}"
        else:
            for word in range(op.address, op.address + PAGE_SIZE, WORD_SIZE):
                self.writes.pop(word, None)
        super()._apply(op)


@pytest.mark.parametrize("mode", SWAP_MODES)
def test_overwriting_the_keys_never_writes_a_word_too_often(mode: Mode) -> None:
    board = board_with(mode, save_enctlv=False)
    board.request()
    total = board.copy().power_on().count
    for place in range(total - 20, total):
        for kind in KINDS:
            flash, writes = board.flash.copy(), Counter[int]()
            with pytest.raises(PowerCut):
                cold_boot(board.bootloader, CountingCpu(flash, cut=(place, kind), writes=writes))
            for _ in range(3):  # goes on, reverts, stays
                cold_boot(board.bootloader, CountingCpu(flash, writes=writes))


def test_an_encrypted_image_goes_into_a_blank_primary_slot() -> None:
    """Only the scratch mode installs over nothing.  Erased flash must not be taken for the header of an encrypted image."""
    board = board_with(Mode.SWAP_SCRATCH)
    board.flash.poke(board.memory.primary.start, b"\xff" * len(OLD.clear))
    board.request(permanent=True)
    assert board.boots() == ["2.0.0"]


# -------------------------------------------------------------------------------------------------------------- defects
@pytest.mark.parametrize("mode", ALL_MODES)
def test_defect_plaintext_accepted(mode: Mode) -> None:
    for defects, runs in (((), "1.0.0"), ((Defect.PLAINTEXT_ACCEPTED,), "2.0.0")):
        board = board_with(mode, new=PLAIN_NEW.sent, defects=frozenset(defects))
        board.request()
        assert board.boots() == [runs]


@pytest.mark.parametrize("mode", ALL_MODES)
def test_defect_false_encryption_accepted(mode: Mode) -> None:
    for defects, runs in (((), "1.0.0"), ((Defect.FALSE_ENCRYPTION_ACCEPTED,), "2.0.0")):
        board = board_with(mode, new=NEW.clear, defects=frozenset(defects))
        board.request()
        assert board.boots() == [runs]
    honest = board_with(mode, defects=frozenset({Defect.FALSE_ENCRYPTION_ACCEPTED}))
    honest.request()
    assert honest.boots() == ["2.0.0"], "really encrypted images are installed all the same"


@pytest.mark.parametrize("mode", SWAP_MODES)
def test_defect_old_image_in_clear(mode: Mode) -> None:
    bad = board_with(mode, defects=frozenset({Defect.OLD_IMAGE_IN_CLEAR}))
    bad.request()
    assert bad.boots() == ["2.0.0"]
    assert len(leaks(bad, OLD)) == len(probes(OLD))
    assert leaks(bad, NEW) == []
    assert bad.boots() == ["1.0.0"], "it can still go back"


@pytest.mark.parametrize("mode", SWAP_MODES)
def test_defect_swap_key_left(mode: Mode) -> None:
    bad = board_with(mode, save_enctlv=False, defects=frozenset({Defect.SWAP_KEY_LEFT}))
    bad.request()
    assert bad.boots() == ["2.0.0"]
    assert has_bare_key(bad, OLD)
    assert has_bare_key(bad, NEW)
