"""A small board with a virtual MCUboot, for tests that look at one thing at a time."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from rig.model import MemoryMap, Region
from rig.virtual.mcuboot import Console, Mcuboot, McubootConfig, Mode, TrustedKey, confirm, read_state, set_pending
from rig.virtual.mcuboot.header import HEADER_SIZE, Header
from rig.virtual.mcuboot.request import ImageState
from rig.virtual.mcuboot.trailer import MAGIC_BYTES
from rig.virtual.parts import PAGE_SIZE
from tests.instant_cpu import Flash, InstantCpu, PowerCut, cold_boot, run
from tests.signed_images import FOREIGN_KEY, KEY, flip, signed_image

PAGES = 8
"""Per slot: small enough to try a cut at every operation."""
IMAGE_SIZE = 3 * PAGE_SIZE + 500
OLD = signed_image("1.0.0", header_size=32, image_size=IMAGE_SIZE)
NEW = signed_image("2.0.0", header_size=32, image_size=IMAGE_SIZE - PAGE_SIZE)
OLDER = signed_image("0.9.0", header_size=32, image_size=IMAGE_SIZE)
SAME = signed_image("1.0.0", header_size=32, image_size=IMAGE_SIZE, seed=1)
"""As new as the old image, but another one."""
USER_DATA = b"what the user has stored"
MARKER_AT = 100
ALL_MODES = list(Mode)
SWAP_MODES = [mode for mode in Mode if mode.swaps]


def small_map(mode: Mode) -> MemoryMap:
    """Slots of `PAGES` pages from 0x8000 on; a scratch area of two pages where the mode wants one."""
    slot = PAGES * PAGE_SIZE
    secondary = Region(start=0x8000 + slot, size=slot)
    return MemoryMap(
        primary=Region(start=0x8000, size=slot),
        secondary=secondary,
        user_data=Region(start=secondary.end + 4 * PAGE_SIZE, size=2 * PAGE_SIZE),
        scratch=Region(start=secondary.end, size=2 * PAGE_SIZE) if mode is Mode.SWAP_SCRATCH else None,
        upload_offset=PAGE_SIZE if mode is Mode.SWAP_OFFSET else 0,
    )


@dataclass(kw_only=True)
class Board:
    """Flash that lasts from boot to boot; old image in the primary slot, new one where an upload would put it, both replaceable."""

    mode: Mode
    old: bytes = OLD
    new: bytes = NEW
    options: dict[str, Any] = field(default_factory=dict)
    memory: MemoryMap = field(init=False)
    flash: Flash = field(init=False)
    bootloader: Mcuboot = field(init=False)

    def __post_init__(self) -> None:
        self.memory = small_map(self.mode)
        self.flash = Flash(1024 * 1024)
        self.flash.poke(self.memory.primary.start, self.old)
        self.flash.poke(self.upload_address, self.new)
        self.flash.poke(self.memory.user_data.start + MARKER_AT, USER_DATA)
        options = {"keys": (TrustedKey.of(KEY.public_key()),), "console": Console.BARE_METAL} | self.options
        self.bootloader = Mcuboot(McubootConfig(mode=self.mode, memory=self.memory, **options))

    def copy(self) -> Board:
        """The same board with flash of its own."""
        other = replace(self)
        other.flash = self.flash.copy()
        return other

    @property
    def upload_address(self) -> int:
        return self.memory.secondary.start + self.memory.upload_offset

    def request(self, *, permanent: bool = False) -> bool:
        """As the application does after an upload."""
        return run(set_pending(InstantCpu(self.flash), self.memory, permanent=permanent))

    def pad(self, slot: Region, *, image_ok: bool = False, copy_done: bool = False, magic: bytes = MAGIC_BYTES) -> None:
        """Trailer fields as a signing tool or a probe leaves them."""
        self.flash.poke(slot.end - 16, magic)
        if image_ok:
            self.flash.poke(slot.end - 24, b"\x01")
        if copy_done:
            self.flash.poke(slot.end - 32, b"\x01")

    def confirm(self) -> bool:
        return run(confirm(InstantCpu(self.flash), self.memory))

    def state(self) -> ImageState:
        return read_state(InstantCpu(self.flash), self.memory)

    def power_on(self, cut: tuple[int, str] | None = None) -> InstantCpu:
        """Boot; `running` tells what came of it.  A cut ends the boot early."""
        cpu = InstantCpu(self.flash, cut=cut)
        try:
            entry = cold_boot(self.bootloader, cpu).entry
        except PowerCut:
            entry = None
        self._entry = entry
        return cpu

    @property
    def running(self) -> str | None:
        """Version of the image that the last boot jumped to, None when it stopped."""
        if self._entry is None:
            return None
        return str(Header.parse(self.flash.read(self.memory.primary.start, HEADER_SIZE))).removeprefix("v")

    def boots(self, count: int = 1) -> list[str | None]:
        """Versions that run in the next boots."""
        versions = []
        for _ in range(count):
            self.power_on()
            versions.append(self.running)
        return versions

    @property
    def marker(self) -> bytes:
        """What the user data region holds now."""
        return self.flash.read(self.memory.user_data.start + MARKER_AT, len(USER_DATA))

    def is_erased(self, area: Region) -> bool:
        return self.flash.read(area.start, area.size).count(0xFF) == area.size


def lines(cpu: InstantCpu) -> list[str]:
    return [line for line, _ in cpu.console]


def cut_places(board: Board) -> list[int]:
    """Every erase, every single word, and the first, a middle and the last word of each page copied."""
    places: list[int] = []
    at = 0
    for op in board.copy().power_on().ops:
        places.extend(at + offset for offset in sorted({0, op.count // 2, op.count - 1}))
        at += op.count
    return places


def wrong_hash() -> bytes:
    return flip(NEW, 1000)


def foreign_key() -> bytes:
    return signed_image("2.0.0", header_size=32, image_size=IMAGE_SIZE, key=FOREIGN_KEY)
