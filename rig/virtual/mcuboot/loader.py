"""The boot itself: finish what was interrupted, install what is requested, check what will run, jump.

Source: MCUboot `boot/bootutil/src/loader.c`, one image pair, without bootstrap and serial recovery.  The lines on the
console and the flash operations between them are those that were measured (`tests/golden/mcuboot`).
"""

from __future__ import annotations

from typing import Any, Self

from rig.formats.mcuboot_image import MAGIC
from rig.virtual.cpu import BoardFacts, Cpu, Entry
from rig.virtual.mcuboot.algorithm import Algorithm
from rig.virtual.mcuboot.config import Console, Defect, McubootConfig, Mode
from rig.virtual.mcuboot.header import ERASED_MAGIC, Header, read_tlvs
from rig.virtual.mcuboot.move import SwapMove
from rig.virtual.mcuboot.offset import SwapOffset
from rig.virtual.mcuboot.options import config_from_options
from rig.virtual.mcuboot.overwrite import Overwrite
from rig.virtual.mcuboot.policy import lacks_dependency, refuses_plaintext, refuses_version
from rig.virtual.mcuboot.scratch import SwapScratch
from rig.virtual.mcuboot.security_counter import CounterFull, of_image, raise_to
from rig.virtual.mcuboot.session import Halt, Progress, Session, Slot
from rig.virtual.mcuboot.trailer import Flag, Magic, SwapState, SwapType, requested_swap
from rig.virtual.mcuboot.validate import is_valid
from rig.virtual.parts import PAGE_SIZE

_ALGORITHMS: dict[Mode, Algorithm] = {
    Mode.SWAP_OFFSET: SwapOffset(),
    Mode.SWAP_MOVE: SwapMove(),
    Mode.SWAP_SCRATCH: SwapScratch(),
    Mode.OVERWRITE_ONLY: Overwrite(),
}
_UPDATING = (SwapType.TEST, SwapType.PERMANENT)
_INSTALLING = (*_UPDATING, SwapType.REVERT)
_NOTHING_REQUESTED = SwapState(magic=Magic.UNSET, swap_type=SwapType.NONE, copy_done=Flag.UNSET, image_ok=Flag.UNSET)
_SLOW_BOOT_S = 12.0
"""As long as a build with USB DFU waits for a host."""
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
    def for_board(cls, facts: BoardFacts, **options: Any) -> Self:
        """Build one from the ``bootloader:`` options of a boards file, see `config_from_options`.  Raises `ConfigError`."""
        return cls(config_from_options(facts, options))

    async def boot(self, cpu: Cpu) -> Entry | None:
        """Return where to jump, or None when there is nothing to start."""
        session = Session(cpu=cpu, config=self.config)
        cpu.feed_watchdog()
        for line in _GREETING[self.config.console]:
            await cpu.print(line)
        if self.config.has(Defect.SLOW_BOOT):
            await cpu.sleep(_SLOW_BOOT_S)
        try:
            bootable = await self._prepare(session)
            if bootable:
                await self._count_up(session)
        except Halt:
            return None
        if not bootable:
            await session.error("Unable to find bootable image")
            return None
        self._tell(cpu, upgrading=False)
        entry = await self._jump(session)
        self._lock(cpu)
        return entry

    async def _prepare(self, session: Session) -> bool:
        """Leave the right image in the primary slot; whether it may be started."""
        if self.config.has(Defect.HANG_WITHOUT_IMAGE):
            session.read_header(Slot.PRIMARY, session.config.memory.primary)
            if not await is_valid(session, self._algorithm, Slot.PRIMARY):
                raise Halt
        swap_type, progress = await self._find_work(session)
        if swap_type in _UPDATING and (self._lacks_dependency(session) or await self._refuses_downgrade(session)):
            swap_type = SwapType.NONE
        if swap_type in _INSTALLING:
            progress.swap_type = swap_type
            self._tell(session.cpu, upgrading=True)
            await self._install(session, progress)
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

    def _tell(self, cpu: Cpu, *, upgrading: bool) -> None:
        """What a product's status hook makes of MCUBOOT_STATUS_UPGRADING and MCUBOOT_STATUS_BOOTABLE_IMAGE_FOUND.

        The first comes before a new installation only: a swap that was interrupted has been completed by then.
        """
        if self.config.upgrading_pin is not None:
            cpu.drive_pin(self.config.upgrading_pin, high=upgrading)

    async def _install(self, session: Session, progress: Progress) -> None:
        if self.config.watchdog_s:
            session.cpu.start_watchdog(self.config.watchdog_s)
        await self._algorithm.install(session, progress)

    async def _find_work(self, session: Session) -> tuple[int, Progress]:
        """Complete an interrupted swap, or find out which one is to be started."""
        await self._algorithm.read_headers(session, None)
        progress = await self._algorithm.read_progress(session)
        if self.config.mode.swaps and not await self._algorithm.read_headers(session, progress):
            await session.warn("Failed reading image headers; Image=0")
            return SwapType.NONE, progress
        if not progress.is_fresh:
            await self._install(session, progress)
            await session.finish(progress.swap_type)
            await self._algorithm.read_headers(session, None)
            return SwapType.NONE, progress
        if progress.swap_type != SwapType.NONE:
            started = await self._check_secondary(session, progress, progress.swap_type)
            return progress.swap_type if started else SwapType.FAIL, progress
        swap_type = await session.decide()
        if swap_type in _INSTALLING and not await self._check_secondary(session, progress, swap_type):
            swap_type = SwapType.NONE
        return swap_type, progress

    async def _check_secondary(self, session: Session, progress: Progress, requested: int) -> bool:
        """Whether the secondary slot holds an image to install.  What is not one is erased, so that it is not tried again."""
        header, area = session.headers[Slot.SECONDARY], session.config.memory.secondary
        if header.is_absent:
            await self._clear_request(session, progress)
            return False
        if self._is_misplaced(session, progress, requested):
            await session.error("Secondary header magic detected in first sector, wrong upload address?")
        elif await self._refuses_overwrite(session):
            await session.error("Insufficient version in secondary slot")
            await session.erase(area, 0, area.size)
            return False
        elif not self._is_forbidden_plaintext(header, requested) and await is_valid(
            session, self._algorithm, Slot.SECONDARY, requested
        ):
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

    def _is_forbidden_plaintext(self, header: Header, requested: int) -> bool:
        """An image in clear where only encrypted ones may be installed; one that comes back was accepted before."""
        return requested in _UPDATING and refuses_plaintext(self.config, header)

    def _lacks_dependency(self, session: Session) -> bool:
        """Whether the image to install has to wait for another one.  It keeps its request and is looked at again at the next boot."""
        header = session.headers[Slot.SECONDARY]
        tlvs = read_tlvs(header, session.image_reader(Slot.SECONDARY)) or ()
        return lacks_dependency(self.config, header, tlvs)

    def _is_misplaced(self, session: Session, progress: Progress, requested: int) -> bool:
        """Offset mode: an image at the very start of the secondary slot was uploaded to the wrong address."""
        if self.config.mode is not Mode.SWAP_OFFSET or progress.swap_type != SwapType.NONE or requested not in _UPDATING:
            return False
        return int.from_bytes(session.cpu.read(self.config.memory.secondary.start, 4), "little") == MAGIC

    async def _refuses_overwrite(self, session: Session) -> bool:
        """Overwriting looks at the version before it looks at the image.

        Beyond MCUboot: an equal version is held against an image only when the running one is whole, since an interrupted copy of
        this very image would look the same.
        """
        if self.config.mode.swaps:
            return False
        primary, secondary = session.headers[Slot.PRIMARY], session.headers[Slot.SECONDARY]
        if primary.magic == ERASED_MAGIC or not refuses_version(self.config, secondary, primary):
            return False
        return secondary.version[:3] != primary.version[:3] or await is_valid(session, self._algorithm, Slot.PRIMARY)

    async def _refuses_downgrade(self, session: Session) -> bool:
        if not self.config.mode.swaps:
            return False
        if not refuses_version(self.config, session.headers[Slot.SECONDARY], session.headers[Slot.PRIMARY]):
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

    async def _count_up(self, session: Session) -> None:
        """Raise the security counter to that of the image that will run, unless that may still be reverted."""
        page = self.config.counter_page
        if page is None:
            return
        primary = session.state(self.config.memory.primary)
        on_trial = requested_swap(primary, _NOTHING_REQUESTED, by_offset=False) is SwapType.REVERT
        if on_trial and not self.config.has(Defect.SECURITY_COUNTER_EARLY):
            return
        tlvs = read_tlvs(session.headers[Slot.PRIMARY], session.image_reader(Slot.PRIMARY)) or ()
        try:
            await raise_to(session.cpu, page, of_image(tlvs) or 0)
        except CounterFull:
            await session.error("Security counter update failed after image validation.")
            raise Halt from None

    def _lock(self, cpu: Cpu) -> None:
        """Nobody but the bootloader writes its pages and its counter."""
        if self.config.has(Defect.BOOTLOADER_NOT_LOCKED):
            return
        start, page = self.config.memory.primary.start, self.config.counter_page
        cpu.protect(0, start)
        if page is not None and page >= start:
            cpu.protect(page, PAGE_SIZE)

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
