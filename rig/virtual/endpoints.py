"""Instruments of the virtual bench that are reached over HTTP: by name, and without a socket.

A socket would tie virtual time to the wall clock, so that a request to ``virtual:<name>`` goes straight to the instrument, on either
clock; it takes the time that a request takes in a local network.  What travels is the same, the path of a GET and the body of the
answer, and tests put the same instruments behind a web server.
"""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import Protocol

from rig.errors import InstrumentError

REQUEST_S = 5e-3
"""From a request to its answer, seconds; a model choice."""


class Endpoint(Protocol):
    """An instrument that answers GET requests."""

    def answer(self, path: str) -> tuple[int, bytes]:
        """Status and body for a GET of `path`."""
        ...


CURRENT_ENDPOINTS: ContextVar[dict[str, Endpoint]] = ContextVar("rig.virtual.endpoints")


async def get_from(name: str, path: str, *, owner: str) -> tuple[int, bytes]:
    """GET `path` from the instrument called `name` on the virtual bench that is running.

    Raises:
        InstrumentError: no virtual bench is running, or it has no such instrument.
    """
    try:
        endpoints = CURRENT_ENDPOINTS.get()
    except LookupError:
        hint = "set bench: {driver: virtual} in the boards file"
        raise InstrumentError(owner, f"host 'virtual:{name}' needs a virtual bench, and none is running", hint=hint) from None
    if name not in endpoints:
        known = ", ".join(sorted(endpoints)) or "none"
        raise InstrumentError(owner, f"the virtual bench has no instrument {name!r}", hint=f"those with an address are: {known}")
    await asyncio.sleep(REQUEST_S / 2)
    answered = endpoints[name].answer(path)
    await asyncio.sleep(REQUEST_S / 2)
    return answered
