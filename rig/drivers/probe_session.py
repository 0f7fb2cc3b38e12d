"""`rig.drivers.nrf52_debug.DebugAccess` on a vendor's library in a process of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from rig.drivers.probe_process import ProbeProcess
from rig.errors import InstrumentError
from rig.formats.soc import PAGE_SIZE

_LIMIT_S = 15.0
"""For a call that moves little: a J-Link that negotiates with a silent SoC takes seconds."""
_OPEN_LIMIT_S = 60.0
"""A J-Link whose firmware is older than the library is updated first, and must not be interrupted in that."""
_RECOVER_LIMIT_S = 60.0
"""Nordic gives 30 s for a protected chip (nrfjprogdll.h, NRFJPROG_recover)."""
_PAGE_LIMIT_S = 0.5
"""To erase a page takes at most 90 ms (Product Specifications), to write one over SWD less."""
_BYTES_PER_SECOND = 20_000
"""The slowest reading that is still waited for; a J-Link OB manages some 100 kB/s."""


class SessionAccess:
    """The accesses of the session ``module:class``, each with its limit."""

    def __init__(self, session: str, *, owner: str, options: Mapping[str, Any]) -> None:
        self._process = ProbeProcess(session, owner=owner, options=options)

    async def open(self) -> None:
        await self._process.start()
        try:
            await self._process.call("open", limit_s=_OPEN_LIMIT_S)
        except BaseException:
            await self._process.stop()
            raise

    async def close(self) -> None:
        with suppress(InstrumentError):  # a probe that is lost has been reported where it was lost
            await self._process.call("close", limit_s=_LIMIT_S)
        await self._process.stop()

    async def is_protected(self) -> bool:
        return bool(await self._process.call("is_protected", limit_s=_LIMIT_S))

    async def hold(self) -> None:
        await self._process.call("hold", limit_s=_LIMIT_S)

    async def read(self, address: int, length: int) -> bytes:
        data: bytes = await self._process.call("read", address, length, limit_s=_LIMIT_S + length / _BYTES_PER_SECOND)
        return data

    async def program(self, address: int, pages: bytes) -> None:
        await self._process.call("program", address, pages, limit_s=_LIMIT_S + 2 * _PAGE_LIMIT_S * len(pages) / PAGE_SIZE)

    async def erase(self, address: int, length: int) -> None:
        await self._process.call("erase", address, length, limit_s=_LIMIT_S + _PAGE_LIMIT_S * length / PAGE_SIZE)

    async def glance(self, registers: Sequence[int]) -> Sequence[int]:
        words: Sequence[int] = await self._process.call("glance", list(registers), limit_s=_LIMIT_S)
        return words

    async def pin_reset(self) -> None:
        await self._process.call("pin_reset", limit_s=_LIMIT_S)

    async def recover(self) -> None:
        await self._process.call("recover", limit_s=_RECOVER_LIMIT_S)

    async def write_uicr(self, address: int, word: int) -> None:
        await self._process.call("write_uicr", address, word, limit_s=_LIMIT_S)

    async def read_rtt(self) -> bytes:
        """What has come through RTT channel 0 since the last call; the core runs on."""
        data: bytes = await self._process.call("read_rtt", limit_s=_LIMIT_S)
        return data
