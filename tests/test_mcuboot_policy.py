"""What a product wants beside a good signature: versions, security counter, dependencies, watchdog, locked pages, crypto hardware."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from rig.errors import ConfigError
from rig.formats import test_key
from rig.formats.mcuboot_image import Tlv, TlvType
from rig.formats.test_key import SignatureAlgorithm
from rig.virtual.cpu import BoardFacts
from rig.virtual.mcuboot import Crypto, Defect, Encryption, Mcuboot, McubootConfig, Mode, TrustedKey
from rig.virtual.mcuboot.config import SIGNATURE_S
from rig.virtual.mcuboot.security_counter import of_image, stored
from rig.virtual.parts import PAGE_SIZE, PARTS, WORD_SIZE
from tests.instant_cpu import InstantCpu, Op, PowerCut, cold_boot
from tests.mcuboot_board import ALL_MODES, NEW, OLD, PAGES, SAME, SWAP_MODES, Board, cut_places, lines, small_map
from tests.mcuboot_images import build, counter, dependency
from tests.signed_images import FOREIGN_KEY

COUNTER_PAGE = 0x7000
KINDS = ("lost", "half", "done")


def good_and_bad(defect: Defect, mode: Mode, *, old: bytes = OLD, new: bytes = NEW, **options: Any) -> tuple[Board, Board]:
    """A good board and one with `defect`, otherwise alike, both with a request."""
    boards = tuple(
        Board(mode=mode, old=old, new=new, options=options | {"defects": frozenset(defects)}) for defects in ((), (defect,))
    )
    for board in boards:
        board.request()
    return boards[0], boards[1]


# -------------------------------------------------------------------------------------------------------------- versions
STRICT: dict[str, Any] = {"downgrade_prevention": True, "equal_version_accepted": False}


@pytest.mark.parametrize("mode", ALL_MODES)
def test_defect_equal_version_accepted(mode: Mode) -> None:
    good, bad = good_and_bad(Defect.EQUAL_VERSION_ACCEPTED, mode, new=SAME, **STRICT)
    good.power_on()
    bad.power_on()
    assert good.flash.read(good.memory.primary.start, len(OLD)) == OLD
    assert good.is_erased(good.memory.secondary)
    assert bad.flash.read(bad.memory.primary.start, len(SAME)) == SAME
    newer = Board(mode=mode, options=STRICT)
    newer.request()
    assert newer.boots() == ["2.0.0"]


def test_an_interrupted_overwrite_is_no_equal_version() -> None:
    """After a cut in the copy, header and version of the new image stand in the primary slot already.

    A cut within the header is left out: it costs the image under any downgrade prevention (docs/virtual-bench.md).
    """
    board = Board(mode=Mode.OVERWRITE_ONLY, options=STRICT)
    board.request()
    interrupted = 0
    for place in cut_places(board):
        device = board.copy()
        device.power_on(cut=(place, "done"))
        start = device.flash.read(device.memory.primary.start, 32)
        if start in (OLD[:32], NEW[:32], b"\xff" * 32):
            assert device.boots(2)[-1] == "2.0.0", f"cut at {place}"
            interrupted += start == NEW[:32]
    assert interrupted > PAGES


# ---------------------------------------------------------------------------------------------------------- dependencies
@pytest.mark.parametrize("mode", ALL_MODES)
@pytest.mark.parametrize(
    ("protected", "runs"),
    [
        ((dependency(1, (1, 4, 0)),), "2.0.0"),
        ((dependency(1, (1, 4, 1)),), "1.0.0"),
        ((dependency(1, (1, 0, 0)), dependency(2, (1, 0, 0))), "1.0.0"),  # there is no image 2
        ((dependency(0, (2, 0, 0)),), "2.0.0"),  # itself
        (((0x40, b"\1\0\0\0\1\4"),), "1.0.0"),  # cut short
        ((), "2.0.0"),
    ],
)
def test_dependencies(mode: Mode, protected: tuple[tuple[int, bytes], ...], runs: str) -> None:
    new = build("2.0.0", protected=protected).sent
    good, bad = good_and_bad(Defect.DEPENDENCY_IGNORED, mode, new=new, other_images={1: (1, 4, 0, 0)})
    assert good.boots() == [runs]
    assert bad.boots() == ["2.0.0"]
    alone = Board(mode=mode, new=new)
    alone.request()
    assert alone.boots() == ["2.0.0"], "a build for one image does not look"


def test_an_image_that_waits_for_another_keeps_its_request() -> None:
    new = build("2.0.0", protected=(dependency(1, (2, 0, 0)),)).sent
    board = Board(mode=Mode.SWAP_MOVE, new=new, options={"other_images": {1: (1, 0, 0, 0)}})
    board.request()
    assert board.boots(2) == ["1.0.0", "1.0.0"]
    later = Board(mode=Mode.SWAP_MOVE, options={"other_images": {1: (2, 0, 0, 0)}})
    later.flash = board.flash
    assert later.boots() == ["2.0.0"]


# ------------------------------------------------------------------------------------------------------ security counter
def counted(mode: Mode, *, old: int = 3, new: int | None = 4, defects: frozenset[str] = frozenset()) -> Board:
    """A board whose counter has risen to that of its first image."""
    board = Board(
        mode=mode,
        old=build("1.0.0", protected=(counter(old),)).sent,
        new=build("2.0.0", protected=() if new is None else (counter(new),)).sent,
        options={"counter_page": COUNTER_PAGE, "defects": defects},
    )
    assert board.boots() == ["1.0.0"]
    assert value(board) == old
    return board


def value(board: Board) -> int:
    return stored(InstantCpu(board.flash), COUNTER_PAGE)


@pytest.mark.parametrize("mode", ALL_MODES)
@pytest.mark.parametrize("new", [2, None])
def test_defect_security_counter_ignored(mode: Mode, new: int | None) -> None:
    for defects, runs in ((frozenset[str](), "1.0.0"), (frozenset({Defect.SECURITY_COUNTER_IGNORED.value}), "2.0.0")):
        board = counted(mode, new=new, defects=defects)
        board.request(permanent=True)
        assert board.boots() == [runs]
    unprotected = counted(mode)
    unprotected.flash.poke(unprotected.memory.primary.start, OLD)
    assert unprotected.boots() == [None], "an image without a counter is not started either"


def test_only_a_protected_counter_counts() -> None:
    assert of_image((Tlv(type=TlvType.SEC_CNT, value=b"\5\0\0\0", protected=True),)) == 5
    assert of_image((Tlv(type=TlvType.SEC_CNT, value=b"\5\0\0\0", protected=False),)) is None
    assert of_image((Tlv(type=TlvType.SEC_CNT, value=b"\5\0", protected=True),)) is None


@pytest.mark.parametrize("mode", ALL_MODES)
def test_the_counter_rises_with_a_permanent_image(mode: Mode) -> None:
    board = counted(mode, new=9)
    board.request(permanent=True)
    assert board.boots() == ["2.0.0"]
    assert value(board) == 9


@pytest.mark.parametrize("mode", SWAP_MODES)
def test_the_counter_rises_when_a_test_image_was_confirmed(mode: Mode) -> None:
    board = counted(mode, new=9)
    board.request()
    assert board.boots() == ["2.0.0"]
    assert value(board) == 3
    assert board.boots() == ["1.0.0"], "it could go back"
    assert value(board) == 3
    again = counted(mode, new=9)
    again.request()
    again.power_on()
    again.confirm()
    assert value(again) == 3
    assert again.boots() == ["2.0.0"]
    assert value(again) == 9


@pytest.mark.parametrize("mode", SWAP_MODES)
def test_defect_security_counter_early(mode: Mode) -> None:
    bad = counted(mode, defects=frozenset({Defect.SECURITY_COUNTER_EARLY}))
    bad.request()
    assert bad.boots() == ["2.0.0"]
    assert value(bad) == 4
    assert "1.0.0" not in bad.boots(2), "the image before it is locked out"


@pytest.mark.parametrize("mode", ALL_MODES)
def test_cuts_never_lower_the_counter_nor_brick(mode: Mode) -> None:
    rng = random.Random(f"counter/{mode}")
    board = counted(mode)
    board.request(permanent=True)
    for place in cut_places(board):
        device = board.copy()
        device.power_on(cut=(place, rng.choice(KINDS)))
        assert value(device) in (3, 4)
        assert device.boots(2) == ["2.0.0", "2.0.0"]
        assert value(device) == 4


def test_a_full_page_stops_the_boot_instead_of_forgetting() -> None:
    board = counted(Mode.SWAP_MOVE)
    record = (3).to_bytes(4, "little") + (3 ^ 0xFFFFFFFF).to_bytes(4, "little")
    board.flash.poke(COUNTER_PAGE, record * (PAGE_SIZE // len(record)))
    assert board.boots() == ["1.0.0"]
    board.request(permanent=True)
    assert lines(board.power_on())[-1] == "E: Security counter update failed after image validation."
    assert board.running is None


# ------------------------------------------------------------------------------------------------------------ signatures
@pytest.mark.parametrize("mode", ALL_MODES)
def test_defect_unsigned_accepted(mode: Mode) -> None:
    good, bad = good_and_bad(Defect.UNSIGNED_ACCEPTED, mode, new=build("2.0.0", signed=False).sent)
    assert good.boots() == ["1.0.0"]
    assert bad.boots() == ["2.0.0"]
    _, foreign = good_and_bad(Defect.UNSIGNED_ACCEPTED, mode, new=build("2.0.0", key=FOREIGN_KEY).sent)
    assert foreign.boots() == ["1.0.0"], "a signature that is there is checked"


@pytest.mark.parametrize("algorithm", list(SignatureAlgorithm))
def test_defect_demo_key_trusted(algorithm: SignatureAlgorithm) -> None:
    keys = (TrustedKey.of(test_key.public_key(algorithm)),)
    old = build("1.0.0", key=test_key.private_key(algorithm)).sent
    new = build("2.0.0", key=test_key.demo_key(algorithm)).sent
    good, bad = good_and_bad(Defect.DEMO_KEY_TRUSTED, Mode.SWAP_MOVE, old=old, new=new, keys=keys)
    assert good.boots() == ["1.0.0"]
    assert bad.boots() == ["2.0.0"]


@pytest.mark.parametrize("mode", ALL_MODES)
def test_defect_digest_reversed(mode: Mode) -> None:
    good, bad = good_and_bad(Defect.DIGEST_REVERSED, mode)
    assert good.boots() == ["2.0.0"]
    assert bad.boots() == ["1.0.0"], "a good image is refused, what runs already goes on"


def test_defect_software_crypto() -> None:
    options: dict[str, Any] = {"crypto": Crypto.CC310, "signature_s": SIGNATURE_S[Crypto.CC310]}
    good, bad = good_and_bad(Defect.SOFTWARE_CRYPTO, Mode.SWAP_MOVE, **options)
    extra = bad.power_on().slept_s - good.power_on().slept_s
    assert extra == pytest.approx(2 * (SIGNATURE_S[Crypto.SOFTWARE] - SIGNATURE_S[Crypto.CC310]))
    assert good.running == bad.running == "2.0.0"


# ------------------------------------------------------------------------------------------- watchdog, wear, time, locks
SLOW_FLASH = replace(PARTS["nrf52840"], page_erase_s=0.5)
"""The slots here are small; this makes erasing them take as long as larger ones."""


class Bite(PowerCut):
    """The watchdog has reset the SoC."""


@dataclass
class GuardedCpu(InstantCpu):
    """With a clock for flash and sleep, a watchdog, and write protection."""

    now_s: float = 0.0
    fed_s: float = 0.0
    watchdog_s: float | None = None
    locked: list[range] = field(default_factory=list)

    def _do(self, op: Op) -> None:
        self._pass(len(op.data) // WORD_SIZE * self.part.word_write_s if op.data else self.part.page_erase_s)
        super()._do(op)

    async def sleep(self, seconds: float) -> None:
        self._pass(seconds)
        await super().sleep(seconds)

    def _pass(self, seconds: float) -> None:
        self.now_s += seconds
        if self.watchdog_s is not None and self.now_s - self.fed_s > self.watchdog_s:
            raise Bite

    def start_watchdog(self, timeout_s: float) -> None:
        self.watchdog_s, self.fed_s = timeout_s, self.now_s

    def feed_watchdog(self) -> None:
        self.fed_s = self.now_s

    def protect(self, start: int, size: int) -> None:
        self.locked.append(range(start, start + size))


def guarded_boot(board: Board) -> tuple[GuardedCpu, bool]:
    """(the processor, whether it got to the application before the watchdog bit)."""
    cpu = GuardedCpu(board.flash, part=SLOW_FLASH)
    try:
        return cpu, cold_boot(board.bootloader, cpu).entry is not None
    except Bite:
        return cpu, False


@pytest.mark.parametrize("mode", ALL_MODES)
def test_defect_watchdog_not_fed(mode: Mode) -> None:
    good, bad = good_and_bad(Defect.WATCHDOG_NOT_FED, mode, watchdog_s=2.0)
    cpu, started = guarded_boot(good)
    assert started
    assert cpu.watchdog_s is not None
    assert cpu.now_s > cpu.watchdog_s
    assert not guarded_boot(bad)[1]


def test_no_watchdog_runs_unless_something_is_installed() -> None:
    idle = Board(mode=Mode.SWAP_MOVE, options={"watchdog_s": 2.0})
    assert guarded_boot(idle)[0].watchdog_s is None
    without = Board(mode=Mode.SWAP_MOVE)
    without.request()
    assert guarded_boot(without)[0].watchdog_s is None


@pytest.mark.parametrize("mode", ALL_MODES)
def test_an_installation_that_goes_on_is_watched_too(mode: Mode) -> None:
    board = Board(mode=mode, options={"watchdog_s": 2.0})
    board.request()
    board.power_on(cut=(board.copy().power_on().count // 2, "lost"))
    cpu, started = guarded_boot(board)
    assert started
    assert cpu.watchdog_s == 2.0


@pytest.mark.parametrize("mode", ALL_MODES)
def test_defect_erases_twice(mode: Mode) -> None:
    good, bad = good_and_bad(Defect.ERASES_TWICE, mode)
    assert bad.power_on().erases == 2 * good.power_on().erases
    assert bad.running == "2.0.0"


def test_defect_slow_boot() -> None:
    good, bad = good_and_bad(Defect.SLOW_BOOT, Mode.SWAP_MOVE)
    good.boots()
    bad.boots()
    assert bad.power_on().slept_s - good.power_on().slept_s == pytest.approx(12.0)


@pytest.mark.parametrize("counter_page", [None, COUNTER_PAGE, 0x30000])
def test_defect_bootloader_not_locked(counter_page: int | None) -> None:
    images = {"old": build("1.0.0", protected=(counter(1),)).sent, "new": build("2.0.0", protected=(counter(1),)).sent}
    good, bad = good_and_bad(Defect.BOOTLOADER_NOT_LOCKED, Mode.SWAP_MOVE, counter_page=counter_page, **images)
    cpu, started = guarded_boot(good)
    assert started
    for address in (0, good.memory.primary.start - 1, *(() if counter_page is None else (counter_page,))):
        assert any(address in pages for pages in cpu.locked)
    assert not any(good.memory.primary.start in pages for pages in cpu.locked)
    assert guarded_boot(bad)[0].locked == []


def test_defect_scratch_erased_early() -> None:
    good, bad = good_and_bad(Defect.SCRATCH_ERASED_EARLY, Mode.SWAP_SCRATCH)
    assert bad.copy().boots() == ["2.0.0"], "without a cut nothing shows"
    for board, bricks in ((good, False), (bad, True)):
        fates = []
        for place in cut_places(board):
            device = board.copy()
            device.power_on(cut=(place, "lost"))
            fates.append(None in device.boots(2))
        assert any(fates) is bricks


# -------------------------------------------------------------------------------------------------- which defects can show
CANNOT_SHOW: tuple[tuple[Mode, Defect, dict[str, Any]], ...] = (
    (Mode.SWAP_MOVE, Defect.SCRATCH_ERASED_EARLY, {}),
    (Mode.SWAP_MOVE, Defect.EQUAL_VERSION_ACCEPTED, {"downgrade_prevention": True}),
    (Mode.SWAP_MOVE, Defect.DEPENDENCY_IGNORED, {}),
    (Mode.SWAP_MOVE, Defect.SECURITY_COUNTER_IGNORED, {}),
    (Mode.OVERWRITE_ONLY, Defect.SECURITY_COUNTER_EARLY, {"counter_page": COUNTER_PAGE}),
    (Mode.SWAP_MOVE, Defect.PLAINTEXT_ACCEPTED, {"encryption": Encryption.ACCEPTED}),
    (Mode.SWAP_MOVE, Defect.FALSE_ENCRYPTION_ACCEPTED, {}),
    (Mode.OVERWRITE_ONLY, Defect.OLD_IMAGE_IN_CLEAR, {"encryption": Encryption.REQUIRED}),
    (Mode.SWAP_MOVE, Defect.SWAP_KEY_LEFT, {"encryption": Encryption.REQUIRED}),
    (Mode.SWAP_MOVE, Defect.WATCHDOG_NOT_FED, {}),
    (Mode.SWAP_MOVE, Defect.SOFTWARE_CRYPTO, {}),
    (Mode.SWAP_MOVE, Defect.DEMO_KEY_TRUSTED, {"keys": (TrustedKey.of(test_key.demo_key().public_key()),)}),
)


@pytest.mark.parametrize(("mode", "defect", "options"), CANNOT_SHOW)
def test_a_defect_that_cannot_show_here(mode: Mode, defect: Defect, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"defect '{defect}' can show only"):
        Board(mode=mode, options=options | {"defects": frozenset({defect})})


# ---------------------------------------------------------------------------------------------------- boards file options
def facts(mode: Mode = Mode.SWAP_MOVE, part: str = "nrf52840") -> BoardFacts:
    return BoardFacts(name="b", part=PARTS[part], memory=small_map(mode), ble_name="b", ble_address="C0:00:00:00:00:01")


def configured(part: str = "nrf52840", **options: Any) -> McubootConfig:
    return Mcuboot.for_board(facts(part=part), **options).config


def test_options_reach_the_build(tmp_path: Path) -> None:
    pem = FOREIGN_KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "key.pem").write_bytes(pem)
    config = configured(
        encryption="required",
        encryption_key_file=str(tmp_path / "key.pem"),
        save_enctlv=False,
        security_counter=True,
        other_images={1: "1.2.3", "2": "4.5.6+7"},
        downgrade_prevention=True,
        equal_version="refused",
        crypto="software",
        watchdog_s=5,
        defects=["slow-boot"],
    )
    assert config.encryption is Encryption.REQUIRED
    assert config.encryption_key.private_numbers() == FOREIGN_KEY.private_numbers()
    assert config.counter_page == config.memory.primary.start - PAGE_SIZE
    assert config.other_images == {1: (1, 2, 3, 0), 2: (4, 5, 6, 7)}
    assert (config.equal_version_accepted, config.save_enctlv) == (False, False)
    assert (config.crypto, config.signature_s) == (Crypto.SOFTWARE, 0.25)
    assert config.watchdog_s == 5.0
    assert config.has(Defect.SLOW_BOOT)
    assert configured(security_counter=True, security_counter_page=0x2000).counter_page == 0x2000


def test_defaults_by_part() -> None:
    assert (configured().crypto, configured().signature_s) == (Crypto.CC310, 0.011)
    assert (configured("nrf52832").crypto, configured("nrf52832").signature_s) == (Crypto.SOFTWARE, 0.25)
    assert configured(signature_s=0.5).signature_s == 0.5
    config = configured()
    assert (config.encryption, config.counter_page, config.other_images, config.watchdog_s) == (Encryption.NONE, None, {}, 0.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"no_such": 1}, "unknown key 'no_such'; known: console, crypto, "),
        ({"encryption": "maybe"}, "unknown encryption 'maybe'; known: none, accepted, required"),
        ({"encryption": True}, "unknown encryption True"),
        ({"encryption_key_file": "/no/such/file.pem"}, "key '/no/such/file.pem' cannot be read"),
        ({"encryption_key_file": 5}, "encryption_key_file must be a text"),
        ({"save_enctlv": "yes"}, "save_enctlv must be true or false, not 'yes'"),
        ({"security_counter": 1}, "security_counter must be true or false"),
        ({"security_counter_page": 0x7000}, "goes with security_counter: true"),
        ({"security_counter": True, "security_counter_page": 0x7001}, "security_counter_page must be the start of a page"),
        ({"security_counter": True, "security_counter_page": 0x9000}, "security_counter_page 0x9000 lies in a slot"),
        ({"security_counter": True, "security_counter_page": "last"}, "security_counter_page must be a whole number"),
        ({"other_images": ["1.0.0"]}, "other_images must map image indices to versions"),
        ({"other_images": {0: "1.0.0"}}, "other_images: 0 is no index of another image"),
        ({"other_images": {1: "1.0"}}, "other_images: '1.0' is no version"),
        ({"other_images": {1: "1.0.70000"}}, "does not fit into an image header"),
        ({"equal_version": "refused"}, "equal_version: refused goes with downgrade_prevention: true"),
        ({"equal_version": "never"}, "unknown equal_version 'never'; known: accepted, refused"),
        ({"crypto": "psa"}, "unknown crypto 'psa'; known: cc310, software"),
        ({"watchdog_s": -1}, "watchdog_s must be 0 for none, or at least 2"),
        ({"watchdog_s": "5 s"}, "watchdog_s must be a number, not '5 s'"),
        ({"defects": "slow-boot"}, "defects must be a list of texts"),
        ({"keys": [1]}, "keys must be a list of texts"),
        ({"max_sectors": 8.5}, "max_sectors must be a whole number"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        configured(**options)
    assert message in str(caught.value)


def test_a_key_that_cannot_decrypt(tmp_path: Path) -> None:
    key = test_key.private_key(SignatureAlgorithm.ED25519)
    (tmp_path / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(ConfigError, match=r"encryption_key_file: .* on P-256"):
        configured(encryption_key_file=str(tmp_path / "key.pem"))
    with pytest.raises(ConfigError, match="crypto cc310 exists on nrf52840 only; the board has nrf52832"):
        configured("nrf52832", crypto="cc310")
