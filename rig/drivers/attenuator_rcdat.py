"""A programmable attenuator of Mini-Circuits' RCDAT family over HTTP (models with an Ethernet port).

Wiring: between the board's antenna connector and the combiner in front of the central; board and central each in a shielded enclosure,
else what leaks past it outweighs what goes through it.  The insertion loss, some dB, comes on top.  A setting takes effect within
milliseconds of its answer; the network adds what it adds, so nothing can be aimed to better than that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from rig.drivers import resolve
from rig.drivers.http_get import NotHttp, get, split_host
from rig.errors import ConfigError, InstrumentError
from rig.formats import rcdat
from rig.formats.rcdat import SetAnswer

ENDPOINTS = {"virtual": "rig.virtual.endpoints:get_from"}
"""Schemes of `host` by name: a coroutine function of (rest, path, owner=), loaded when it is first needed."""

_LIMIT_S = 3.0
"""For one request, from the connection to the last byte."""
_REACH_HINT = "check the attenuator's address and its network; open it in a browser"
_KIND_HINT = "check that the host is an attenuator of the RCDAT family, and the channel"

Get = Callable[[str], Awaitable[tuple[int, bytes]]]


class RcdatAttenuator:
    """`rig.ports.Attenuator` on a Mini-Circuits RCDAT.

    Args:
        owner: the board in whose antenna path it is.
        host: name or address, with ``:port`` when it is not 80, or ``virtual:<endpoint>``.
        channel: which channel, 1 to 8; None for a model with one.
        rest_db: what it is set to when nobody uses it, dB.

    Raises:
        ConfigError: the port is no port, or `rest_db` cannot be set.
    """

    def __init__(self, *, owner: str, host: str, channel: int | None = None, rest_db: float = 0.0) -> None:
        self._name = f"{owner}.attenuator"
        try:
            rcdat.set_path(rest_db, channel)
        except ValueError as error:
            raise ConfigError(f"{self._name}: rest_db: {error}") from error
        self._host, self._channel, self._rest_db = host, channel, rest_db
        self._get = self._getter(host)
        self._is_open = False

    def _getter(self, host: str) -> Get:
        """How to reach `host`: over the network, or by a scheme."""
        scheme, colon, rest = host.partition(":")
        if colon and scheme in ENDPOINTS:
            return lambda path: resolve(ENDPOINTS[scheme])(rest, path, owner=self._name)
        name, port = split_host(host, owner=self._name)
        return lambda path: get(name, port, path, limit_s=_LIMIT_S)

    async def __aenter__(self) -> Self:
        self._is_open = True
        try:
            await self.set(self._rest_db)
        except BaseException:
            self._is_open = False
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self.set(self._rest_db)
        except InstrumentError:
            if error is None:
                raise
        finally:
            self._is_open = False

    async def set(self, db: float) -> float:
        """Set the attenuation in steps of 0.25 dB, and read it back.

        Raises:
            InstrumentError: the attenuator cannot be set to that, does not answer, or answers something else.
        """
        if not self._is_open:
            raise InstrumentError(self._name, "is not open", hint="enter the attenuator before using it")
        try:
            path = rcdat.set_path(db, self._channel)
        except ValueError as error:
            raise InstrumentError(self._name, str(error)) from error
        answer = await self._ask(path)
        if answer == str(int(SetAnswer.CLIPPED)):
            raise InstrumentError(self._name, f"cannot do {db:g} dB and has set its own limit instead", hint="see the range of the model")
        if answer != str(int(SetAnswer.DONE)):
            raise InstrumentError(self._name, f"answers {answer[:64]!r} to {path}", hint=_KIND_HINT)
        shown = rcdat.attenuation(await self._ask(rcdat.query_path(self._channel)))
        if shown is None or abs(shown - db) > rcdat.STEP_DB / 2:
            reason = f"shows {'no attenuation' if shown is None else f'{shown:g} dB'} after {db:g} dB was set"
            raise InstrumentError(self._name, reason, hint="somebody else may be using it")
        return asyncio.get_running_loop().time()

    async def _ask(self, path: str) -> str:
        try:
            status, body = await self._get(path)
        except TimeoutError:
            raise InstrumentError(self._name, f"{self._host} has not answered {path} within {_LIMIT_S:g} s", hint=_REACH_HINT) from None
        except OSError as error:
            raise InstrumentError(self._name, f"{self._host} cannot be reached: {error.strerror or error}", hint=_REACH_HINT) from error
        except NotHttp as error:
            reason = f"{self._host} does not answer {path} as a web server does: {error}"
            raise InstrumentError(self._name, reason, hint=_KIND_HINT) from error
        if status != 200:
            raise InstrumentError(self._name, f"{self._host} refuses {path} with HTTP status {status}", hint=_KIND_HINT)
        return body.decode("ascii", errors="replace").strip()
