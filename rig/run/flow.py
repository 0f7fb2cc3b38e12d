"""What every update protocol's flow has in common: finding the board, and the three things that a trial asks of it.

A flow keeps no state of its own between attempts; after a fault it starts again from what the device says, as a phone would.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rig.bench import Dut
from rig.errors import PAIRING_GROUP, NotFound, Refused
from rig.model import ImageFile, Request, Trial
from rig.ota.disorder import Noticed, Sending
from rig.ports import Advertisement, GattLink
from rig.run.record import ConsoleLines, Recorder


@dataclass(frozen=True, kw_only=True)
class Running:
    """What the device says of itself.  `image_hash` is None where the protocol does not tell it."""

    version: str
    image_hash: str | None
    confirmed: bool

    def runs(self, image: ImageFile) -> bool:
        """Whether this is `image`: by hash where it is known, else by version."""
        return self.image_hash == image.image_hash if self.image_hash is not None else self.version == image.version


class UpdateFlow(Protocol):
    """One update protocol as a trial sees it.  Every method raises `DutError` when the device does not play along."""

    async def advance(self, image: ImageFile, request: Request, *, confirm: bool, after_install: bool) -> bool:
        """Connect once and do the next thing; True when the device runs `image`, confirmed when `confirm`."""
        ...

    async def reboot(self) -> Running:
        """Reset the device without a request pending and read its state: an unconfirmed image must be gone after this."""
        ...

    async def look(self) -> Running:
        """Connect, read the state, disconnect."""
        ...

    async def is_absent(self, for_s: float) -> bool:
        """Whether nobody advertises as the board, be it application or bootloader, for `for_s` seconds."""
        ...


class Flow:
    """The parts that flows share."""

    def __init__(
        self, trial: Trial, dut: Dut, recorder: Recorder, console: ConsoleLines, image_path: Callable[[ImageFile], Path]
    ) -> None:
        self._trial = trial
        self._dut = dut
        self._recorder = recorder
        self._emit = recorder.journal.emit
        self._console = console
        self._image_path = image_path
        self._limits = trial.limits
        self.link: GattLink | None = None
        """The connection that is up, or was the last."""
        self.is_uploading = False
        self.stalled_until_s = 0.0
        """Before this time of the loop's clock no further part of an image is sent."""
        self.sending = Sending(self._on_noticed)
        """In which order, and how often, the parts of an image are sent."""
        self.watch: Callable[[GattLink], AbstractAsyncContextManager[None]] | None = None
        """Brackets every link over which an update makes progress, for whoever wants to see more of it."""

    async def _find(self, accept: Callable[[Advertisement], bool]) -> Advertisement:
        """Scan until `accept` likes an advertisement; raises `NotFound`."""
        found = await self._dut.radio.find(accept, timeout_s=self._limits.discover_s)
        self._emit("radio", "radio.found", address=found.address, name=found.name, rssi_dbm=found.rssi_dbm)
        return found

    def _is_named_or_addressed(self, seen: Advertisement) -> bool:
        """Whether `seen` is the board's application: by address where the boards file gives it, else by name."""
        board = self._dut.board
        if board.ble_address is not None:
            return seen.address.upper() == board.ble_address.upper()
        return seen.name == board.ble_name

    async def is_absent(self, for_s: float) -> bool:
        """Whether nobody advertises as the board for `for_s` seconds."""
        try:
            await self._dut.radio.find(self._is_board, timeout_s=for_s)
        except NotFound:
            return True
        return False

    def _is_board(self, seen: Advertisement) -> bool:
        """Whether `seen` is the board in any of its states."""
        return self._is_named_or_addressed(seen)

    @asynccontextmanager
    async def linked(self, advertisement: Advertisement, *services: str, secured: bool = True) -> AsyncIterator[GattLink]:
        """A link to the board, and to the product's own update service; its loss is recorded when the block ends."""
        wanted = (*services, *self._own_services)
        radio, whose = self._dut.radio, {"address": advertisement.address, "own_address": self._dut.radio.own_address}
        try:
            link = await radio.connect(advertisement, services=wanted, timeout_s=self._limits.connect_s, secured=secured)
        except Refused as refusal:
            if refusal.group == PAIRING_GROUP:
                self._emit("radio", "radio.refused", reason=refusal.code, **whose)
            raise
        self._emit("radio", "radio.connected", mtu=link.max_write + 3, **whose)
        self.link = link
        try:
            yield link
        finally:
            await self._close(link)

    @asynccontextmanager
    async def visit(self, *services: str, secured: bool = True) -> AsyncIterator[GattLink]:
        """A link to the application for something that is no step of the update."""
        found = await self._find(self._is_named_or_addressed)
        async with self.linked(found, *services, secured=secured) as link:
            yield link

    @asynccontextmanager
    async def _watched(self, link: GattLink) -> AsyncIterator[None]:
        if self.watch is None:
            yield
            return
        async with self.watch(link):
            yield

    @property
    def _own_services(self) -> tuple[str, ...]:
        product = self._trial.product
        return (product.signals.service,) if product is not None and product.signals.service else ()

    @contextmanager
    def _uploading(self) -> Iterator[None]:
        """Brackets what a fault can hold up or put into disorder."""
        self.is_uploading = True
        try:
            yield
        finally:
            self.is_uploading = False

    def _on_noticed(self, noticed: Noticed) -> None:
        self._emit("dut", "upload.disorder", disorder=noticed.disorder.value, offset=noticed.offset)

    async def _pace(self) -> None:
        """Between two parts of an image: wait as long as the client is to stall."""
        left_s = self.stalled_until_s - asyncio.get_running_loop().time()
        if left_s > 0:
            await asyncio.sleep(left_s)

    async def _close(self, link: GattLink) -> None:
        if link.is_up:
            await link.disconnect()
        self._emit("radio", "radio.lost", reason=link.lost_reason)
