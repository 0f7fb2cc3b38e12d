"""Listens for devices that offer an update."""

from __future__ import annotations

import asyncio
import contextlib

from rig import drivers
from rig.errors import NotFound
from rig.model import InstrumentSpec, Protocol
from rig.ota.secure_dfu import DFU_SERVICE
from rig.ota.smp_transport import SMP_SERVICE
from rig.ports import Advertisement
from rig.run.single import CLOCKS

_PROTOCOLS = {SMP_SERVICE: Protocol.SMP, DFU_SERVICE: Protocol.SECURE_DFU}


def listen(adapter: str | None, *, for_s: float) -> list[tuple[Advertisement, Protocol]]:
    """Each device that advertises an update service within `for_s` seconds, with its protocol, as it was heard last.

    `adapter` is an adapter of this host, the first one when None.

    Raises:
        InstrumentError: the adapter cannot be used.
    """
    with asyncio.Runner(loop_factory=drivers.resolve(CLOCKS["wall"])) as runner:
        return runner.run(hear(InstrumentSpec(driver="bleak", options={"adapter": adapter} if adapter else {}), for_s=for_s))


async def hear(radio: InstrumentSpec, *, for_s: float) -> list[tuple[Advertisement, Protocol]]:
    """As `listen`, with any radio; for use on a running loop."""
    heard: dict[str, tuple[Advertisement, Protocol]] = {}

    def note(seen: Advertisement) -> bool:
        protocol = next((protocol for uuid, protocol in _PROTOCOLS.items() if uuid in seen.service_uuids), None)
        if protocol is not None:
            heard[seen.address] = (seen, protocol)
        return False

    async with drivers.load("radio", radio, owner="discover") as central:
        with contextlib.suppress(NotFound):
            await central.find(note, timeout_s=for_s)
    return list(heard.values())
