"""A system bus of its own, which everything in this process is made to use through the environment.

Needs `dbus-daemon`, which comes with every D-Bus.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

_LIMIT_S = 10.0
_CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><listen>unix:path={socket}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy></busconfig>
"""


@dataclass(frozen=True, kw_only=True)
class PrivateBus:
    """A bus that runs; `kill` ends it with everybody still on it."""

    address: str
    kill: Callable[[], None]


@contextlib.asynccontextmanager
async def private_bus() -> AsyncIterator[PrivateBus]:
    """A new system bus."""
    with tempfile.TemporaryDirectory(prefix="rig-") as name:
        socket, config = Path(name) / "bus", Path(name) / "bus.conf"
        config.write_text(_CONFIG.format(socket=socket))
        arguments = ("--nofork", "--nopidfile", "--print-address", f"--config-file={config}")
        daemon = await asyncio.create_subprocess_exec(
            "dbus-daemon", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
        assert daemon.stdout is not None
        before = os.environ.get("DBUS_SYSTEM_BUS_ADDRESS")
        try:
            async with asyncio.timeout(_LIMIT_S):
                address = (await daemon.stdout.readline()).decode().strip()  # printed once it takes connections
            os.environ["DBUS_SYSTEM_BUS_ADDRESS"] = address
            yield PrivateBus(address=address, kill=daemon.kill)
        finally:
            if before is None:
                os.environ.pop("DBUS_SYSTEM_BUS_ADDRESS", None)
            else:
                os.environ["DBUS_SYSTEM_BUS_ADDRESS"] = before
            with contextlib.suppress(ProcessLookupError):
                daemon.terminate()
            await daemon.wait()
