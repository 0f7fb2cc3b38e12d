"""A plug or relay in the local network that is switched over HTTP, Shelly or Tasmota: for recovery only.

Between the command and the power lie a network, a small computer, a relay and the board's own power adapter with its capacitors:
some hundred milliseconds that nobody can predict, so nothing can be aimed.  Sources: Shelly's documentation of the first generation
(``/relay/N``) and of the second (``Switch.Set``, ``Switch.GetStatus``), Tasmota's command reference (``Power<x>``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from rig.drivers.http_get import NotHttp, get, split_host
from rig.drivers.outlet import Outlet
from rig.errors import ConfigError, InstrumentError

_LIMIT_S = 5.0
"""For one request, from the connection to the last byte."""

_REACH_HINT = "check the plug's address and its network; open it in a browser"
_KIND_HINT = "check kind and channel in the boards file"
_PASSWORD_HINT = "remove the plug's password, and keep it in a network of its own"


@dataclass(frozen=True, kw_only=True)
class _Dialect:
    """What one kind of plug understands: paths by channel, and how its state is read out of the answer."""

    switch: Callable[[int, bool], str]
    query: Callable[[int], str]
    state: Callable[[Mapping[str, Any], int], object]


def _tasmota(channel: int, argument: str = "") -> str:
    """The plain `Power` is the first output on every Tasmota, also on one with a single relay."""
    return "/cm?cmnd=" + quote(f"Power{channel + 1 if channel else ''}{argument}")


def _tasmota_state(answer: Mapping[str, Any], channel: int) -> object:
    shown = answer.get(f"POWER{channel + 1}", None if channel else answer.get("POWER"))
    return {"ON": True, "OFF": False}.get(shown) if isinstance(shown, str) else None


DIALECTS = {
    "shelly-gen1": _Dialect(
        switch=lambda channel, on: f"/relay/{channel}?turn={'on' if on else 'off'}",
        query=lambda channel: f"/relay/{channel}",
        state=lambda answer, _: answer.get("ison"),
    ),
    "shelly-gen2": _Dialect(
        switch=lambda channel, on: f"/rpc/Switch.Set?id={channel}&on={'true' if on else 'false'}",
        query=lambda channel: f"/rpc/Switch.GetStatus?id={channel}",
        state=lambda answer, _: answer.get("output"),
    ),
    "tasmota": _Dialect(
        switch=lambda channel, on: _tasmota(channel, " On" if on else " Off"),
        query=_tasmota,
        state=_tasmota_state,
    ),
}


class HttpPlugSupply(Outlet):
    """`rig.ports.PowerSupply` on one output of a plug.

    Args:
        owner: the board that the plug feeds.
        kind: ``shelly-gen1``, ``shelly-gen2`` or ``tasmota``.
        host: name or address, with ``:port`` when it is not 80.
        channel: which output, from 0.

    Raises:
        ConfigError: no such kind, or the port is no port.
    """

    passes_on = "a plug switches whatever it is plugged into"

    def __init__(self, *, owner: str, kind: str, host: str, channel: int = 0) -> None:
        super().__init__(owner=owner)
        if kind not in DIALECTS:
            raise ConfigError(f"{self._name}: no kind {kind!r}; known: {', '.join(DIALECTS)}")
        self._address = split_host(host, owner=self._name)
        self._dialect = DIALECTS[kind]
        self._kind, self._host, self._channel = kind, host, channel

    async def _switch(self, *, on: bool) -> None:
        await self._get(self._dialect.switch(self._channel, on))
        path = self._dialect.query(self._channel)
        answer = await self._get(path)
        state = self._dialect.state(answer, self._channel)
        if not isinstance(state, bool):
            reason = f"{self._host} does not say in its answer to {path} whether output {self._channel} is on: {json.dumps(answer)[:200]}"
            raise InstrumentError(self._name, reason, hint=_PASSWORD_HINT if "password" in str(answer) else _KIND_HINT)
        if state is not on:
            reason = f"output {self._channel} of {self._host} is still {'on' if state else 'off'} after the command to switch it {'on' if on else 'off'}"
            raise InstrumentError(self._name, reason, hint="look for a timer, a schedule or an interlock in the plug's settings")

    async def _get(self, path: str) -> Mapping[str, Any]:
        """The JSON object that the plug answers to a GET of `path`."""
        status, body = await self._request(path)
        if status in (401, 403):
            raise InstrumentError(self._name, f"{self._host} wants a password (HTTP status {status})", hint=_PASSWORD_HINT)
        if status != 200:
            reason = f"{self._host} refuses {path} with HTTP status {status}: {body[:200].decode(errors='replace')!r}"
            raise InstrumentError(self._name, reason, hint=_KIND_HINT)
        try:
            answer = json.loads(body)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            reason = f"{self._host} answers {body[:64]!r} to {path}, which is not what a {self._kind} says"
            raise InstrumentError(self._name, reason, hint=_KIND_HINT)
        return answer

    async def _request(self, path: str) -> tuple[int, bytes]:
        try:
            return await get(*self._address, path, limit_s=_LIMIT_S)
        except TimeoutError:
            reason = f"{self._host} has not answered {path} within {_LIMIT_S:g} s"
            raise InstrumentError(self._name, reason, hint=_REACH_HINT) from None
        except OSError as error:
            reason = f"{self._host} cannot be reached: {error.strerror or error}"
            raise InstrumentError(self._name, reason, hint=_REACH_HINT) from error
        except NotHttp as error:
            reason = f"{self._host} does not answer {path} as a web server does: {error}"
            raise InstrumentError(self._name, reason, hint=_KIND_HINT) from error
