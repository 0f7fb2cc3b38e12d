"""One HTTP GET to an instrument in the local network, made by a thread and ended on time by the loop."""

from __future__ import annotations

import asyncio
import http.client
import socket
from contextlib import closing, suppress

from rig.errors import ConfigError

_MAX_ANSWER = 65536
_HTTP_PORT = 80


class NotHttp(Exception):
    """What answers is no web server; the text says how that showed."""


def split_host(host: str, *, owner: str) -> tuple[str, int]:
    """Name and port of ``name`` or ``name:port``.

    Raises:
        ConfigError: the port is no port.
    """
    name, _, port = host.partition(":")
    if port and not (port.isdecimal() and 0 < int(port) < 65536):
        raise ConfigError(f"{owner}: {port!r} in host is no port; 1 to 65535 are")
    return name, int(port or _HTTP_PORT)


async def get(name: str, port: int, path: str, *, limit_s: float) -> tuple[int, bytes]:
    """GET `path`; returns the status and at most 64 KiB of the answer, within `limit_s` from the connection to the last byte.

    Raises:
        TimeoutError: it took longer.
        OSError: there is nobody.
        NotHttp: somebody answers, but not in HTTP.
    """
    exchange = _Exchange((name, port), path, limit_s)
    try:
        async with asyncio.timeout(limit_s):
            return await asyncio.to_thread(exchange.run)
    except http.client.HTTPException as error:
        raise NotHttp(f"{type(error).__name__} {error}".rstrip()) from error
    finally:
        exchange.hang_up()


class _Exchange:
    """One GET request.  Each of the thread's reads has a limit of its own, but all of them together have none."""

    def __init__(self, address: tuple[str, int], path: str, limit_s: float) -> None:
        self._address, self._path, self._limit_s = address, path, limit_s
        self._socket: socket.socket | None = None

    def run(self) -> tuple[int, bytes]:
        """Body of the thread: the status and the first bytes of the answer."""
        with closing(http.client.HTTPConnection(*self._address, timeout=self._limit_s)) as connection:
            connection.connect()
            self._socket = connection.sock
            connection.request("GET", self._path, headers={"Connection": "close"})
            with connection.getresponse() as response:
                return response.status, response.read(_MAX_ANSWER)

    def hang_up(self) -> None:
        """Make a thread that still waits for bytes see the end of the connection."""
        if self._socket is not None:
            with suppress(OSError):  # it has ended by itself
                self._socket.shutdown(socket.SHUT_RDWR)
