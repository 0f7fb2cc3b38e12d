"""Runs a probe's vendor library in a process of its own, so that one that hangs or crashes costs a call and not the campaign.

Every call has a limit.  A call that exceeds it, or that is given up by whoever waits for it, ends the process: nobody can know what a
library does that was interrupted.  From then on the probe is lost, and says why, until it is opened again.

Starting the process takes about 0.2 s plus the import of the library; a call costs well under a millisecond on top of its own work.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping
from contextlib import suppress
from typing import IO, Any

import cbor2

from rig.drivers.probe_worker import frame
from rig.errors import InstrumentError

_MAIN = "from rig.drivers.probe_worker import main; main()"
_START_LIMIT_S = 30.0
"""Importing pyOCD takes 1 s on a quick machine, and every worker of a campaign may start one at the same time."""
_END_LIMIT_S = 5.0

_HUNG_HINT = "unplug and re-plug the probe's USB cable; if it hangs again, update the J-Link software and the probe's firmware"
_DIED_HINT = "unplug and re-plug the probe's USB cable, then run `rig doctor`"


class NoTargetVoltage(InstrumentError):
    """The probe works, but the SoC at its end does not answer, for want of voltage as it seems."""


class ProbeProcess:
    """One vendor library's session, in its own process.

    Args:
        session: ``module:class`` of the session, which runs over there and raises `rig.drivers.probe_worker.ProbeFault`.
        owner: the instrument's name in errors.
        options: keyword arguments of the session: numbers, text, bytes.
    """

    def __init__(self, session: str, *, owner: str, options: Mapping[str, Any]) -> None:
        self._session, self._owner, self._options = session, owner, dict(options)
        self._process: Process | None = None
        self._words: IO[bytes] | None = None
        self._turn = asyncio.Lock()
        self._lost: InstrumentError | None = None

    async def start(self) -> None:
        """Start the process and build its session.  Raises `InstrumentError` when the library is missing or does not load."""
        self._lost = None
        self._words = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `stop`; a pipe that nobody empties would block a talkative library
        try:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-c",
                _MAIN,
                stdin=PIPE,
                stdout=PIPE,
                stderr=self._words,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
                start_new_session=True,  # an interrupt from the keyboard is the campaign's business
            )
            await self._exchange([self._session, self._options], "loading", _START_LIMIT_S)
        except OSError as error:
            await self.stop()
            raise InstrumentError(self._owner, f"no process for the probe can be started: {error.strerror or error}") from error
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """End the process; what the session had open is closed by a call before, if at all."""
        process, self._process = self._process, None
        if process is not None:
            if process.stdin is not None:
                process.stdin.close()
            await _ended(process)
        if self._words is not None:
            self._words.close()
            self._words = None

    async def call(self, method: str, *arguments: Any, limit_s: float) -> Any:
        """Call a method of the session.

        Raises:
            NoTargetVoltage: the SoC does not answer for want of voltage.
            InstrumentError: the library complains, has not answered within `limit_s`, or has crashed.
        """
        async with self._turn:
            if self._lost is not None:
                raise self._lost
            if self._process is None:
                raise InstrumentError(self._owner, "the probe is not open")
            return await self._exchange([method, list(arguments)], method.replace("_", " "), limit_s)

    async def _exchange(self, request: Any, doing: str, limit_s: float) -> Any:
        process = self._process
        assert process is not None and process.stdin is not None and process.stdout is not None  # noqa: PT018
        try:
            async with asyncio.timeout(limit_s):
                process.stdin.write(frame(request))
                size = int.from_bytes(await process.stdout.readexactly(4), "big")
                answer = cbor2.loads(await process.stdout.readexactly(size))
        except TimeoutError:
            reason = f"the probe has not answered within {limit_s:g} s ({doing}); its process was ended"
            raise await self._lose(InstrumentError(self._owner, reason, hint=_HUNG_HINT)) from None
        except (asyncio.IncompleteReadError, ConnectionError):
            code = await _ended(process)
            reason = f"the probe's library crashed ({doing}, exit status {code}){self._last_words()}"
            raise await self._lose(InstrumentError(self._owner, reason, hint=_DIED_HINT)) from None
        except BaseException:
            await self._lose(InstrumentError(self._owner, f"a call to the probe was given up ({doing})", hint="open the probe again"))
            raise
        return self._value(answer, doing)

    def _value(self, answer: list[Any], doing: str) -> Any:
        kind, *rest = answer
        if kind == "ok":
            return rest[0]
        if kind == "fault":
            reason, hint, powerless = rest
            raise (NoTargetVoltage if powerless else InstrumentError)(self._owner, reason, hint=hint)
        raise InstrumentError(self._owner, f"the probe's library failed ({doing}): {rest[0]}", hint=_DIED_HINT)

    async def _lose(self, why: InstrumentError) -> InstrumentError:
        self._lost = why
        if self._process is not None:
            kill_all(self._process)
            await _ended(self._process)
        return why

    def _last_words(self) -> str:
        if self._words is None:
            return ""
        self._words.seek(0)
        lines = self._words.read().decode(errors="replace").strip().splitlines()
        return f": {lines[-1][:200]}" if lines else ""


async def _ended(process: Process) -> int | None:
    """The exit status; a process that does not end by itself is killed."""
    try:
        async with asyncio.timeout(_END_LIMIT_S):
            return await process.wait()
    except TimeoutError:
        kill_all(process)
        return None


def kill_all(process: Process) -> None:
    """Kill `process`, which was started in a session of its own, and the helpers that it has started."""
    with suppress(ProcessLookupError):
        if os.name == "posix":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
