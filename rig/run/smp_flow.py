"""The update client's flow over SMP: look at what the device runs, and do the next thing that brings it to the new image."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from rig.errors import DutError, NoReply
from rig.model import ImageFile, Phase, Request
from rig.ota.smp import SMP_SERVICE, ImageState, SmpSession
from rig.ports import Advertisement
from rig.run.flow import Flow, Running


@dataclass(frozen=True, kw_only=True)
class _State(Running):
    """What the device says of itself over SMP; `other` is the image in the other slot, if any."""

    other: ImageState | None


class SmpFlow(Flow):
    """Drives one board with an SMP server and MCUboot."""

    # ------------------------------------------------------------------------------------------------------ connecting
    async def find(self) -> Advertisement:
        """Scan until the board advertises its update service; raises `NotFound`."""
        return await self._find(lambda seen: self._is_named_or_addressed(seen) and SMP_SERVICE in seen.service_uuids)

    @asynccontextmanager
    async def connected(self, advertisement: Advertisement, *, watched: bool = False) -> AsyncIterator[SmpSession]:
        """A session on a new link; the link is closed, or its loss recorded, when the block ends."""
        async with AsyncExitStack() as stack:
            with self._recorder.phase(Phase.CONNECT):
                link = await stack.enter_async_context(self.linked(advertisement, SMP_SERVICE))
            if watched:
                await stack.enter_async_context(self._watched(link))
            limits = self._limits
            session = SmpSession(link, request_s=limits.request_s, first_chunk_s=limits.first_chunk_s, sending=self.sending)
            await stack.enter_async_context(session)
            self._emit("radio", "radio.subscribed")
            yield session

    # ----------------------------------------------------------------------------------------------------------- steps
    async def state(self, session: SmpSession) -> _State:
        """Read and record the image state."""
        images = await session.read_state()
        active = next((image for image in images if image.active), None)
        if active is None:
            raise DutError("the device reports no active image")
        other = next((image for image in images if not image.active), None)
        self._emit(
            "dut",
            "dut.state",
            running_version=active.version,
            running_hash=active.hash.hex(),
            confirmed=active.confirmed,
            images=[
                {"slot": image.slot, "version": image.version, "hash": image.hash.hex(), "pending": image.pending} for image in images
            ],
        )
        return _State(version=active.version, image_hash=active.hash.hex(), confirmed=active.confirmed, other=other)

    async def upload(self, session: SmpSession, image: bytes) -> None:
        """Send `image`, one event per acknowledged chunk."""
        with self._recorder.phase(Phase.UPLOAD), self._uploading():
            try:
                async with asyncio.timeout(self._limits.upload_s):
                    async for offset in session.upload(image):
                        self._emit("dut", "upload.chunk", offset=offset, total=len(image))
                        await self._pace()
            except TimeoutError:
                raise NoReply("upload: the whole image", self._limits.upload_s) from None

    async def mark(self, session: SmpSession, image_hash: bytes, request: Request) -> None:
        """Ask the bootloader for the image in the other slot."""
        with self._recorder.phase(Phase.MARK):
            await session.request(image_hash, permanent=request is Request.PERMANENT)

    async def confirm(self, session: SmpSession) -> _State:
        """Confirm the running image and read back that it is."""
        with self._recorder.phase(Phase.CONFIRM):
            await session.confirm()
            return await self.state(session)

    async def reset_and_install(self, session: SmpSession) -> None:
        """Reset, and wait for the application to serve again, whatever the bootloader does meanwhile.

        The reset shows as the first console line after the request, or as the end of the link, which comes only with the
        supervision timeout.
        """
        ready = asyncio.ensure_future(self._console.wait_ready())
        gone = [asyncio.ensure_future(self._console.wait_line()), asyncio.ensure_future(session.wait_lost())]
        try:
            with self._recorder.phase(Phase.RESET):
                await session.reset()
                await asyncio.wait(gone, timeout=self._limits.request_s, return_when=asyncio.FIRST_COMPLETED)
                if not any(sign.done() for sign in gone):
                    raise NoReply("os reset: the device stayed as it was", self._limits.request_s)
            with self._recorder.phase(Phase.INSTALL):
                await asyncio.wait((ready,), timeout=self._limits.install_s)
                if not ready.done():
                    raise NoReply("install: the application did not come back", self._limits.install_s)
        finally:
            for sign in (ready, *gone):
                sign.cancel()

    # ------------------------------------------------------------------------------------------------------ one attempt
    async def advance(self, image: ImageFile, request: Request, *, confirm: bool, after_install: bool) -> bool:
        with self._recorder.phase(Phase.BOOT_NEW if after_install else Phase.DISCOVER):
            advertisement = await self.find()
        async with self.connected(advertisement, watched=True) as session:
            running = await self.state(session)
            if running.runs(image):
                if not confirm or running.confirmed:
                    return True
                return (await self.confirm(session)).confirmed
            target = bytes.fromhex(image.image_hash)
            staged = running.other is not None and running.other.hash == target
            if not staged:
                await self.upload(session, self._image_path(image).read_bytes())
            if not (staged and running.other is not None and running.other.pending):
                await self.mark(session, target, request)
            await self.reset_and_install(session)
        return False

    async def reboot(self) -> Running:
        async with self.connected(await self.find()) as session:
            await self.reset_and_install(session)
        return await self.look()

    async def look(self) -> Running:
        async with self.connected(await self.find()) as session:
            return await self.state(session)
