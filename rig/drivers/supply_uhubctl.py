"""Power of a USB hub's port through the command-line tool uhubctl: for recovery only.

A switching takes a good part of a second and nobody knows when within it the power really goes, so nothing can be aimed.  The hub's
word is all there is: many hubs take the command, report the port as off and leave VBUS on, which only the board itself can tell.
Output format: uhubctl 2.1 to 2.6 (github.com/mvp/uhubctl).
"""

from __future__ import annotations

import asyncio
import re
import subprocess

from rig.drivers.outlet import Outlet
from rig.errors import InstrumentError

_PROGRAM = "uhubctl"
_LIMIT_S = 10.0
"""For one run: the tool walks over every USB device, and a hub that hangs takes seconds per request."""

_HUB = re.compile(r"(Current|New) status for hub (\S+)")
_PORT = re.compile(r"\s+Port (\d+): ([0-9a-fA-F]{4})\b([^\[]*)")

_HUB_HINT = "run uhubctl by hand: it lists the hubs that can switch their ports, and their locations"
_RIGHTS_HINT = "run uhubctl by hand as this user; if it cannot reach the hub, add a udev rule for it"
_VBUS_HINT = "many hubs cannot switch VBUS; choose one from the list of uhubctl's documentation, or another supply"


def parse_status(output: str, port: int) -> dict[str, bool]:
    """Whether `port` has power, by hub, from the newest status in uhubctl's output.

    A USB 3 hub appears as two, one for each of its speeds.  Hubs without such a port are left out.
    """
    found: dict[str, bool] = {}
    hub = ""
    for line in output.splitlines():
        if heading := _HUB.match(line):
            hub = heading[2]
        elif hub and (row := _PORT.match(line)) and int(row[1]) == port:
            found[hub] = "power" in row[3].split()
    return found


class UhubctlSupply(Outlet):
    """`rig.ports.PowerSupply` on one port of a USB hub.

    `on` returns the moment before the tool was started and `off` the moment after it had ended, so that a boot never seems to come
    before its power nor a sign of life after its cut.  Entering and leaving switch the port off.

    Args:
        owner: the board that the port feeds.
        location: the hub as uhubctl names it, for instance ``1-1.4``.
        port: number of the port on that hub, from 1.
    """

    passes_on = "the port of a USB hub has 5 V or nothing"

    def __init__(self, *, owner: str, location: str, port: int) -> None:
        super().__init__(owner=owner)
        self._location, self._port = location, port

    async def _switch(self, *, on: bool) -> None:
        wanted = "on" if on else "off"
        await self._run("-a", wanted)
        output = await self._run()
        states = parse_status(output, self._port)
        if not states:
            reason = f"uhubctl shows no port {self._port} on hub {self._location}"
            raise InstrumentError(self._name, reason, hint=_HUB_HINT)
        wrong = [hub for hub, powered in states.items() if powered is not on]
        if wrong:
            reason = f"port {self._port} of hub {', '.join(wrong)} is still {'off' if on else 'on'} after the command to switch it {wanted}"
            raise InstrumentError(self._name, reason, hint=_RIGHTS_HINT if on else _VBUS_HINT)

    async def _run(self, *action: str) -> str:
        """Run the tool on this port; returns what it printed."""
        command = [_PROGRAM, "-l", self._location, "-p", str(self._port), *action]
        shown = " ".join(command)
        try:
            result = await asyncio.to_thread(
                subprocess.run, command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_LIMIT_S, check=False
            )
        except FileNotFoundError:
            raise InstrumentError(self._name, f"the program {_PROGRAM} is not installed", hint="install it, or add it to PATH") from None
        except subprocess.TimeoutExpired:
            reason = f"{shown!r} has not ended within {_LIMIT_S:g} s and was stopped"
            raise InstrumentError(self._name, reason, hint="re-plug the hub; it may hang") from None
        except OSError as error:
            raise InstrumentError(self._name, f"{shown!r} cannot be run: {error.strerror or error}", hint=_RIGHTS_HINT) from error
        output = result.stdout.decode(errors="replace")
        if result.returncode != 0:
            said = (result.stderr.decode(errors="replace") + output).strip().splitlines()
            reason = f"{shown!r} failed with exit code {result.returncode}: {said[0][:200] if said else 'it says nothing'}"
            raise InstrumentError(self._name, reason, hint=_RIGHTS_HINT if "permission" in " ".join(said).lower() else _HUB_HINT)
        return output
