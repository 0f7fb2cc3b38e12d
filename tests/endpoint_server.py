"""A web server on this machine in front of an instrument of the virtual bench, or of answers that a test wants to see handled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

Answer = Callable[[str], tuple[int, bytes] | None]
"""Status and body for a path; None for silence."""


@asynccontextmanager
async def serve(answer: Answer) -> AsyncIterator[str]:
    """Yields host:port."""
    tasks: set[asyncio.Task[None] | None] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())
        with suppress(asyncio.CancelledError, ConnectionError):  # the test is over, or the rig has hung up
            await _handle(reader, writer, answer)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in tasks:
            if task is not None:
                task.cancel()
        await asyncio.gather(*(task for task in tasks if task is not None), return_exceptions=True)


async def _handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: Answer) -> None:
    request = await reader.readuntil(b"\r\n\r\n")
    answered = answer(request.split(b" ")[1].decode())
    if answered is None:
        await asyncio.Event().wait()
        return
    status, body = answered
    writer.write(b"HTTP/1.1 %d x\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (status, len(body), body))
    await writer.drain()
