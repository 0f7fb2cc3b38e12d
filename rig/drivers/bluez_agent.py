"""The user whom BlueZ asks when a device pairs: org.bluez.Agent1, registered as the default agent.

bleak has none.  BlueZ asks the agent of the program that pairs, which bleak does on a connection of its own to the bus, and else the
default agent; so while the rig has a radio open, it answers for every device that pairs with this computer.  Without a passkey pairing
is Just Works.  BlueZ doc/org.bluez.Agent.rst and doc/org.bluez.AgentManager.rst.
"""

# No `from __future__ import annotations` here: dbus-fast reads D-Bus signatures out of the annotations.

import contextlib
from types import TracebackType
from typing import Any, Self

from dbus_fast import BusType, DBusError, Message, MessageType
from dbus_fast.aio import MessageBus
from dbus_fast.annotations import DBusObjectPath, DBusUInt32
from dbus_fast.service import ServiceInterface, dbus_method

_BLUEZ, _MANAGER_PATH, _MANAGER = "org.bluez", "/org/bluez", "org.bluez.AgentManager1"
_PATH = "/rig/agent"


class _User(ServiceInterface):
    """Types in what the device shows."""

    def __init__(self, passkey: int | None) -> None:
        super().__init__("org.bluez.Agent1")
        self._passkey = passkey

    @dbus_method()
    def Release(self) -> None:  # noqa: N802 - a D-Bus name, here and below
        """BlueZ does not need the agent any more."""

    @dbus_method()
    def Cancel(self) -> None:  # noqa: N802
        """BlueZ does not need the answer any more."""

    @dbus_method()
    def RequestPasskey(self, device: DBusObjectPath) -> DBusUInt32:  # noqa: N802
        """What `device` shows."""
        if self._passkey is None:
            raise DBusError("org.bluez.Error.Rejected", f"nobody knows what {device} shows")
        return self._passkey


class BluezAgent:
    """The agent while it is entered.

    Args:
        passkey: what the device shows when it pairs, 0 to 999999; None where nobody could type it in.
    """

    def __init__(self, passkey: int | None) -> None:
        self._user = _User(passkey)
        self._capability = "NoInputNoOutput" if passkey is None else "KeyboardOnly"
        self._bus: MessageBus | None = None

    async def __aenter__(self) -> Self:
        """Register.  Raises `OSError` when there is no bus, or BlueZ does not take the agent."""
        self._bus = MessageBus(bus_type=BusType.SYSTEM)
        try:
            await self._bus.connect()
            self._bus.export(_PATH, self._user)
            await self._ask("RegisterAgent", "os", [_PATH, self._capability])
            await self._ask("RequestDefaultAgent", "o", [_PATH])
        except BaseException:
            self._bus.disconnect()
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Let go of the bus, which ends the agent's registration."""
        bus, self._bus = self._bus, None
        if bus is not None:
            bus.disconnect()
            with contextlib.suppress(OSError, EOFError):  # a bus that has died has let go as well
                await bus.wait_for_disconnect()  # type: ignore[no-untyped-call]

    async def _ask(self, member: str, signature: str, body: list[Any]) -> None:
        assert self._bus is not None
        question = Message(
            destination=_BLUEZ, path=_MANAGER_PATH, interface=_MANAGER, member=member, signature=signature, body=body
        )
        answer = await self._bus.call(question)
        if answer.message_type is MessageType.ERROR:
            raise OSError(f"BlueZ does not take the pairing agent: {answer.error_name}: {' '.join(map(str, answer.body))}")
