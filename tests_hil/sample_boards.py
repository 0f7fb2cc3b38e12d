"""One virtual board with a sample application on it, for tests that talk to the application themselves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rig import drivers
from rig.config.load import load_boards
from rig.formats import update_service as wire
from rig.formats.dfu_settings import factory_page
from rig.images import dfu
from rig.images.sample_app import build_signed
from rig.images.sample_package import build_package
from rig.model import Board, ImageFile, Protocol
from rig.ota.smp import SmpSession
from rig.ports import GattLink, PowerSupply, Probe, Radio
from rig.scenario import ImageBuild
from rig.virtual.clock import loop_factory
from rig.virtual.world import CURRENT_WORLD, VirtualBench, VirtualBoard
from tests_hil.campaigns import boards_file

LIMIT_S = 900.0


@dataclass(frozen=True, kw_only=True)
class Desk:
    """The board, powered and running, and the instruments around it."""

    board: Board
    probe: Probe
    supply: PowerSupply
    radio: Radio
    console: list[bytes]
    folder: Path

    @property
    def virtual(self) -> VirtualBoard:
        return CURRENT_WORLD.get().board(self.board.name, user="test")

    @property
    def text(self) -> str:
        """What the board has printed so far."""
        return b"".join(self.console).decode()

    async def connect(self, *, secured: bool = True, timeout_s: float = 5.0) -> GattLink:
        found = await self.radio.find(lambda seen: seen.name == self.board.ble_name, timeout_s=timeout_s)
        services = [wire.SERVICE, *_SERVICES[self.board.protocol]]
        return await self.radio.connect(found, services=services, timeout_s=20.0, secured=secured)

    async def power_cycle(self, *, run_s: float = 1.0) -> None:
        await self.supply.off()
        await asyncio.sleep(0.5)
        await self.supply.on()
        await asyncio.sleep(run_s)

    def image(self, version: str, **build: Any) -> ImageFile:
        choice = ImageBuild(version=version, **{"size": 8192, **build})
        make = build_signed if self.board.protocol is Protocol.SMP else build_package
        return make(choice, soc=self.board.soc, memory=self.board.memory, folder=self.folder)

    async def upload(self, session: SmpSession, image: ImageFile) -> None:
        async for _offset in session.upload(content(image)):
            pass

    async def log(self) -> list[str]:
        """The update log as the air shows it."""
        link = await self.connect()
        value = await link.read(wire.LOG)
        await link.disconnect()
        return [str(entry) for entry in wire.decode_log(value)]


def content(image: ImageFile) -> bytes:
    """The bytes that travel."""
    return Path(image.path).read_bytes()


_SERVICES = {
    Protocol.SMP: ["8d53dc1d-1db7-4cd3-868b-8a527460aa84"],
    Protocol.SECURE_DFU: ["0000fe59-0000-1000-8000-00805f9b34fb", "0000180a-0000-1000-8000-00805f9b34fb"],
}
Story = Callable[[Desk], Awaitable[Any]]


def at_desk(
    folder: Path,
    story: Story,
    *,
    protocol: str = "smp",
    radio: Mapping[str, Any] | None = None,
    image: Mapping[str, Any] | None = None,
    **model: Any,
) -> Any:
    """Run `story` with a board of this model that has run `image` (options of `ImageBuild`, version 1.0.0) for a second."""
    (board,) = load_boards(boards_file(folder, only="nrf52840", protocol=protocol, **model)).boards

    async def main() -> Any:
        async with asyncio.timeout(LIMIT_S), _desk(board, folder, dict(radio or {}), dict(image or {})) as desk:
            return await story(desk)

    with asyncio.Runner(loop_factory=loop_factory("virtual")) as runner:
        return runner.run(main())


@asynccontextmanager
async def _desk(board: Board, folder: Path, radio: dict[str, Any], image: dict[str, Any]) -> AsyncIterator[Desk]:
    console_bytes: list[bytes] = []
    radio_spec = type(board.radio)(driver=board.radio.driver, options={**board.radio.options, **radio})
    async with (
        VirtualBench([board], trial_seed=1),
        drivers.load("supply", board.supply, owner=board.name) as supply,
        drivers.load("console", board.console, owner=board.name) as console,
        drivers.load("probe", board.probe, owner=board.name) as probe,
        drivers.load("radio", radio_spec, owner=board.name) as central,
    ):
        console.attach(lambda _when_s, data: console_bytes.append(data))
        desk = Desk(board=board, probe=probe, supply=supply, radio=central, console=console_bytes, folder=folder)
        _produce(desk, desk.image(**{"version": "1.0.0", **image}))
        await supply.on()
        await asyncio.sleep(1.0)
        yield desk


def _produce(desk: Desk, image: ImageFile) -> None:
    """What production puts into the flash, also of a board whose debug port is closed by now."""
    memory, flash = desk.board.memory, desk.virtual.soc.flash
    if desk.board.protocol is Protocol.SMP:
        flash.poke(memory.primary.start, content(image))
        return
    assert memory.settings is not None
    assert memory.settings_backup is not None
    (application,) = dfu.read(image.path).images
    flash.poke(memory.primary.start, application.firmware)
    page = factory_page(application=application.firmware, app_version=application.packet.command.fw_version or 0, bootloader_version=1)
    flash.poke(memory.settings.start, page)
    flash.poke(memory.settings_backup.start, page)
