"""The boot itself: finish what was interrupted, install what is requested, check what will run, jump.

Source: MCUboot `boot/bootutil/src/loader.c`, one image pair, without encryption, bootstrap and serial recovery.  The lines on the
console and the flash operations between them are those that were measured (`tests/golden/mcuboot`).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Self, TypeVar

from rig.errors import ConfigError
from rig.formats.mcuboot_image import MAGIC
from rig.formats.test_key import SignatureAlgorithm, public_key
from rig.model import MemoryMap
from rig.virtual.cpu import BoardFacts, Cpu, Entry
from rig.virtual.mcuboot.algorithm import Algorithm
from rig.virtual.mcuboot.config import HASH_BYTES_PER_S, SIGNATURE_S, Console, Defect, McubootConfig, Mode
from rig.virtual.mcuboot.header import ERASED_MAGIC
from rig.virtual.mcuboot.keys import TrustedKey
from rig.virtual.mcuboot.move import SwapMove
from rig.virtual.mcuboot.offset import SwapOffset
from rig.virtual.mcuboot.overwrite import Overwrite
from rig.virtual.mcuboot.scratch import SwapScratch
from rig.virtual.mcuboot.session import Halt, Progress, Session, Slot
from rig.virtual.mcuboot.trailer import SwapType
from rig.virtual.mcuboot.validate import downgrades, is_valid

_ALGORITHMS: dict[Mode, Algorithm] = {
    Mode.SWAP_OFFSET: SwapOffset(),
    Mode.SWAP_MOVE: SwapMove(),
    Mode.SWAP_SCRATCH: SwapScratch(),
    Mode.OVERWRITE_ONLY: Overwrite(),
}
_Choice = TypeVar("_Choice", Mode, Console, SignatureAlgorithm)
_INSTALLING = (SwapType.TEST, SwapType.PERMANENT, SwapType.REVERT)
_GREETING = {
    Console.ZEPHYR: ("*** Booting MCUboot v2.4.0 ***", "*** Using Zephyr OS build v4.4.0 ***", "I: Starting bootloader"),
    Console.BARE_METAL: ("*** MCUboot",),
}


class Mcuboot:
    """A `rig.virtual.cpu.Bootloader`.  It keeps nothing from one boot to the next but its configuration."""

    def __init__(self, config: McubootConfig) -> None:
        self.config = config
        self._algorithm = _ALGORITHMS[config.mode]

    @classmethod
    def for_board(
        cls,
        facts: BoardFacts,
        *,
        mode: str | None = None,
        signature: str = SignatureAlgorithm.ECDSA_P256,
        keys: Iterable[str] = (),
        validate_slot0: bool = True,
        downgrade_prevention: bool = False,
        max_sectors: int | None = None,
        console: str = Console.ZEPHYR,
        hash_bytes_per_s: float = HASH_BYTES_PER_S,
        signature_s: float | None = None,
        defects: Iterable[str] = (),
    ) -> Self:
        """Build one from the ``bootloader:`` options of a boards file.  Raises `ConfigError`.

        `mode` None follows from the memory map: an upload offset means swap-offset, a scratch area swap-scratch, else swap-move.
        `keys` are paths of PEM files; without any, the bootloader trusts the public test key of the kind `signature`.
        """
        return cls(
            McubootConfig(
                mode=_mode(facts.memory) if mode is None else _choice(Mode, "mode", mode),
                memory=facts.memory,
                keys=_keys(keys, _choice(SignatureAlgorithm, "signature", signature)),
                validate_slot0=validate_slot0,
                downgrade_prevention=downgrade_prevention,
                max_sectors=max_sectors,
                console=_choice(Console, "console", console),
                hash_bytes_per_s=hash_bytes_per_s,
                signature_s=SIGNATURE_S[facts.part.name] if signature_s is None else signature_s,
                defects=frozenset(defects),
            )
        )

    async def boot(self, cpu: Cpu) -> Entry | None:
        """Return where to jump, or None when there is nothing to start."""
        session = Session(cpu=cpu, config=self.config)
        cpu.feed_watchdog()
        for line in _GREETING[self.config.console]:
            await cpu.print(line)
        try:
            bootable = await self._prepare(session)
        except Halt:
            return None
        if not bootable:
            await session.error("Unable to find bootable image")
            return None
        return await self._jump(session)

    async def _prepare(self, session: Session) -> bool:
        """Leave the right image in the primary slot; whether it may be started."""
        if self.config.has(Defect.HANG_WITHOUT_IMAGE):
            session.read_header(Slot.PRIMARY, session.config.memory.primary)
            if not await is_valid(session, self._algorithm, Slot.PRIMARY):
                raise Halt
        swap_type, progress = await self._find_work(session)
        if swap_type in (SwapType.TEST, SwapType.PERMANENT) and await self._refuses_downgrade(session):
            swap_type = SwapType.NONE
        if swap_type in _INSTALLING:
            progress.swap_type = swap_type
            await self._algorithm.install(session, progress)
            if self.config.mode.swaps:
                await session.finish(swap_type)
        elif swap_type == SwapType.FAIL:
            if self.config.mode.swaps:
                await session.confirm_primary()
        elif swap_type != SwapType.NONE:
            await session.error("panic!")
            raise Halt
        if swap_type != SwapType.NONE:
            await self._algorithm.read_headers(session, None)
        return await self._check_primary(session)

    async def _find_work(self, session: Session) -> tuple[int, Progress]:
        """Complete an interrupted swap, or find out which one is to be started."""
        await self._algorithm.read_headers(session, None)
        progress = await self._algorithm.read_progress(session)
        if self.config.mode.swaps and not await self._algorithm.read_headers(session, progress):
            await session.warn("Failed reading image headers; Image=0")
            return SwapType.NONE, progress
        if not progress.is_fresh:
            await self._algorithm.install(session, progress)
            await session.finish(progress.swap_type)
            await self._algorithm.read_headers(session, None)
            return SwapType.NONE, progress
        if progress.swap_type != SwapType.NONE:
            started = await self._check_secondary(session, progress, SwapType.NONE)
            return progress.swap_type if started else SwapType.FAIL, progress
        swap_type = await session.decide()
        if swap_type in _INSTALLING and not await self._check_secondary(session, progress, swap_type):
            swap_type = SwapType.NONE
        return swap_type, progress

    async def _check_secondary(self, session: Session, progress: Progress, requested: SwapType) -> bool:
        """Whether the secondary slot holds an image to install.  What is not one is erased, so that it is not tried again."""
        header, area = session.headers[Slot.SECONDARY], session.config.memory.secondary
        if header.is_absent:
            await self._clear_request(session, progress)
            return False
        if self._is_misplaced(session, progress, requested):
            await session.error("Secondary header magic detected in first sector, wrong upload address?")
        elif self._is_older_overwrite(session):
            await session.error("Insufficient version in secondary slot")
            await session.erase(area, 0, area.size)
            return False
        elif await is_valid(session, self._algorithm, Slot.SECONDARY):
            return True
        await session.error("Image in the secondary slot is not valid!")
        await session.erase(area, 0, area.size)
        return False

    async def _clear_request(self, session: Session, progress: Progress) -> None:
        """A trailer without an image would keep new uploads from being accepted."""
        if not self.config.mode.swaps:
            return
        memory = self.config.memory
        await session.erase_trailer(memory.secondary)
        if self.config.mode is not Mode.SWAP_MOVE:
            return
        if progress.swap_type == SwapType.REVERT or await session.decide() is SwapType.REVERT:
            await session.erase_trailer(memory.primary)
            await session.info("Cleared image 0 primary slot trailer due to stuck revert")

    def _is_misplaced(self, session: Session, progress: Progress, requested: SwapType) -> bool:
        """Offset mode: an image at the very start of the secondary slot was uploaded to the wrong address."""
        if self.config.mode is not Mode.SWAP_OFFSET or not progress.is_fresh:
            return False
        if requested not in (SwapType.TEST, SwapType.PERMANENT):
            return False
        return int.from_bytes(session.cpu.read(self.config.memory.secondary.start, 4), "little") == MAGIC

    def _prevents_downgrade(self) -> bool:
        return self.config.downgrade_prevention and not self.config.has(Defect.DOWNGRADE_ACCEPTED)

    def _is_older_overwrite(self, session: Session) -> bool:
        """Overwriting looks at the version before it looks at the image."""
        if self.config.mode.swaps or not self._prevents_downgrade():
            return False
        primary, secondary = session.headers[Slot.PRIMARY], session.headers[Slot.SECONDARY]
        return primary.magic != ERASED_MAGIC and downgrades(secondary, primary)

    async def _refuses_downgrade(self, session: Session) -> bool:
        if not self.config.mode.swaps or not self._prevents_downgrade():
            return False
        if not downgrades(session.headers[Slot.SECONDARY], session.headers[Slot.PRIMARY]):
            return False
        await session.info("Image 0 in slot 1 erased due to downgrade prevention")
        secondary = self.config.memory.secondary
        await session.erase(secondary, 0, secondary.size)
        return True

    async def _check_primary(self, session: Session) -> bool:
        header = session.headers[Slot.PRIMARY]
        if not self.config.validates_slot0:
            if not header.has_magic:
                await session.error(f"Bad image magic 0x{header.magic:x}; Image=0")
            return header.has_magic
        if header.is_absent:
            return False
        if await is_valid(session, self._algorithm, Slot.PRIMARY):
            return True
        await session.error("Image in the primary slot is not valid!")
        return False

    async def _jump(self, session: Session) -> Entry:
        start, header = self.config.memory.primary.start, session.headers[Slot.PRIMARY]
        entry = Entry(vector_table=start + header.header_size)
        if self.config.console is Console.BARE_METAL:
            await session.info(f"jump 0x{entry.vector_table:x}")
        else:
            await session.info(f"Bootloader chainload address offset: 0x{start:x}")
            await session.info(f"Image version: {header}")
            await session.info("Jumping to the first image slot")
        return entry


def _mode(memory: MemoryMap) -> Mode:
    if memory.upload_offset:
        return Mode.SWAP_OFFSET
    return Mode.SWAP_SCRATCH if memory.scratch else Mode.SWAP_MOVE


def _choice(kind: type[_Choice], option: str, value: str) -> _Choice:
    try:
        return kind(value)
    except ValueError:
        raise ConfigError(f"unknown {option} {value!r}; known: {', '.join(kind)}") from None


def _keys(paths: Iterable[str], algorithm: SignatureAlgorithm) -> tuple[TrustedKey, ...]:
    keys = []
    for path in paths:
        try:
            keys.append(TrustedKey.from_pem(Path(path).read_bytes()))
        except OSError as error:
            raise ConfigError(f"key {path!r} cannot be read: {error.strerror}") from None
    return tuple(keys) or (TrustedKey.of(public_key(algorithm)),)
