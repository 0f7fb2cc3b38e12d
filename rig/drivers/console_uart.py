"""The device's console on a serial port: the J-Link's virtual COM port of a DK, or any USB-to-UART bridge."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rig.drivers.byte_stream import open_stream
from rig.errors import ConfigError, InstrumentError
from rig.ports import ByteStream

_REOPEN_LIMIT_S = 10.0
_REOPEN_EVERY_S = 0.1

Listener = Callable[[float, bytes], None]


class UartConsole:
    """`rig.ports.Console` on a serial port.

    The port stays open over every reset and power cut of the device, so no byte is lost around them.  When the port itself vanishes
    (USB re-enumeration) it is opened again for up to 10 s; after that `check`, `attach` and leaving raise `InstrumentError`.

    Args:
        owner: the board that the console belongs to.
        port: path, COM name or ``virtual:<wire>``.
        baudrate: bits per second.

    Raises:
        ConfigError: the baud rate is not a positive whole number.
    """

    def __init__(self, *, owner: str, port: str, baudrate: int = 115200) -> None:
        self._name = f"{owner}.console"
        if not isinstance(baudrate, int) or baudrate <= 0:
            raise ConfigError(f"{self._name}: baudrate must be a positive whole number, not {baudrate!r}")
        self._port, self._baudrate = port, baudrate
        self._listeners: list[Listener] = []
        self._stream: ByteStream | None = None
        self._reopening: asyncio.Task[None] | None = None
        self._failure: InstrumentError | None = None

    async def __aenter__(self) -> Self:
        await self._open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._reopening is not None:
            self._reopening.cancel()
            await asyncio.gather(self._reopening, return_exceptions=True)
        if self._stream is not None:
            await self._stream.close()
            self._stream = None
        if error is None:
            self.check()

    def attach(self, listener: Listener) -> Callable[[], None]:
        """Add a listener; returns the function that removes it.

        Raises:
            InstrumentError: the port has gone for good.
        """
        self.check()
        self._listeners.append(listener)

        def remove() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return remove

    def check(self) -> None:
        """Raise `InstrumentError` when nobody listens, for good or at this moment: silence says nothing about the device then."""
        if self._failure is not None:
            raise self._failure
        if self._reopening is not None and not self._reopening.done():
            raise InstrumentError(self._name, "the port has vanished and is not back yet", hint="check the cable and the hub")

    async def _open(self) -> None:
        self._stream = await open_stream(self._port, baudrate=self._baudrate, owner=self._name)
        self._stream.listen(self._receive)

    def _receive(self, t: float, data: bytes) -> None:
        if not data:
            self._reopening = asyncio.get_running_loop().create_task(self._reopen(), name=f"reopen {self._name}")
            return
        for listener in tuple(self._listeners):
            listener(t, data)

    async def _reopen(self) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _REOPEN_LIMIT_S
        while True:
            try:
                await self._open()
            except InstrumentError as error:
                if loop.time() >= deadline:
                    reason = f"the port vanished and did not come back within {_REOPEN_LIMIT_S:g} s ({error.reason})"
                    self._failure = InstrumentError(self._name, reason, hint="check the cable and the hub")
                    return
                await asyncio.sleep(_REOPEN_EVERY_S)
            else:
                return
