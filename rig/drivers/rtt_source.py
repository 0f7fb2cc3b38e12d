"""How an RTT console finds the probe of its board: a probe has one owner, so the console listens through the probe that is open."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Protocol, Self
from weakref import WeakKeyDictionary

from rig.drivers.nrf52_debug import Nrf52Probe
from rig.drivers.probe_session import SessionAccess


class RttSource(Protocol):
    """A probe that can look into the RTT buffer of the firmware that runs."""

    async def read_rtt(self) -> bytes:
        """What has come through channel 0 since the last call; nothing while the probe holds the core, or is closed.

        Raises:
            NoTargetVoltage: the SoC does not answer for want of voltage.
            InstrumentError: the probe does not answer.
        """
        ...


_LISTENERS: WeakKeyDictionary[asyncio.AbstractEventLoop, set[str]] = WeakKeyDictionary()
"""The boards whose buffer a console empties, by event loop: a second one would get every other byte."""
_SOURCES: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, RttSource]] = WeakKeyDictionary()
"""By event loop, because each trial has one of its own, and by board."""


def source_of(board: str) -> RttSource | None:
    """The open probe of `board`, None while none is open that carries RTT."""
    return _SOURCES.get(asyncio.get_running_loop(), {}).get(board)


def claim(board: str) -> bool:
    """Take the board's buffer for one console; False while another one has it."""
    claimed = _LISTENERS.setdefault(asyncio.get_running_loop(), set())
    is_free = board not in claimed
    claimed.add(board)
    return is_free


def release(board: str) -> None:
    """Give the board's buffer back; nothing happens where nobody has it."""
    _LISTENERS.get(asyncio.get_running_loop(), set()).discard(board)


class RttProbe(Nrf52Probe):
    """A probe on a vendor's library that carries RTT as well."""

    def __init__(self, owner: str, access: SessionAccess) -> None:
        super().__init__(f"{owner}.probe", access)
        self._owner, self._session = owner, access

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        _SOURCES.setdefault(asyncio.get_running_loop(), {})[self._owner] = self
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _SOURCES.get(asyncio.get_running_loop(), {}).pop(self._owner, None)
        await super().__aexit__(kind, error, trace)

    async def read_rtt(self) -> bytes:
        async with self._turn:
            return await self._session.read_rtt() if self._is_open and not self._touched else b""
