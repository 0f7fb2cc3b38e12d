"""org.bluez.AgentManager1: who answers for the user when a device pairs."""

from __future__ import annotations

from dataclasses import dataclass

from bumble.device import Connection
from bumble.pairing import PairingConfig, PairingDelegate
from dbus_fast import Message, MessageType
from dbus_fast.aio import MessageBus

from tests.bluez.errors import BluezFault

PATH = "/org/bluez"
INTERFACE = "org.bluez.AgentManager1"
_CAPABILITIES = {
    "": PairingDelegate.DISPLAY_OUTPUT_AND_KEYBOARD_INPUT,
    "DisplayOnly": PairingDelegate.DISPLAY_OUTPUT_ONLY,
    "DisplayYesNo": PairingDelegate.DISPLAY_OUTPUT_AND_YES_NO_INPUT,
    "KeyboardOnly": PairingDelegate.KEYBOARD_INPUT_ONLY,
    "NoInputNoOutput": PairingDelegate.NO_OUTPUT_NO_INPUT,
    "KeyboardDisplay": PairingDelegate.DISPLAY_OUTPUT_AND_KEYBOARD_INPUT,
}


@dataclass(frozen=True, kw_only=True)
class Agent:
    """A program that has registered: its name on the bus, its object, what its user can do."""

    owner: str
    path: str
    capability: str


class _AskedUser(PairingDelegate):
    """Asks the default agent, as bluetoothd does; nobody is there without one, and pairing is Just Works."""

    def __init__(self, bus: MessageBus, agent: Agent | None, device: str) -> None:
        super().__init__(_CAPABILITIES[agent.capability if agent is not None else "NoInputNoOutput"])
        self._bus, self._agent, self._device = bus, agent, device

    async def get_number(self) -> int | None:
        assert self._agent is not None, "without an agent no passkey is asked for"
        question = Message(
            destination=self._agent.owner, path=self._agent.path, interface="org.bluez.Agent1", member="RequestPasskey",
            signature="o", body=[self._device],
        )  # fmt: skip
        answer = await self._bus.call(question)
        return answer.body[0] if answer.message_type is MessageType.METHOD_RETURN else None


class Agents:
    """The agents that have registered.  The one that asked last to be the default is it."""

    def __init__(self, bus: MessageBus) -> None:
        self._bus = bus
        self.registered: dict[str, Agent] = {}
        self.default: Agent | None = None

    async def register(self, message: Message) -> None:
        path, capability = message.body
        if message.sender in self.registered:
            raise BluezFault("AlreadyExists", "Already Exists")
        if capability not in _CAPABILITIES:
            raise BluezFault("InvalidArguments", "Invalid arguments in method call")
        self.registered[message.sender] = Agent(owner=message.sender, path=path, capability=capability)

    async def request_default(self, message: Message) -> None:
        self.default = self._of(message)

    def left(self, name: str) -> bool:
        """A program has left the bus; its agent goes with it.  False when it had none."""
        agent = self.registered.pop(name, None)
        if agent is not None and self.default is agent:
            self.default = None
        return agent is not None

    def _of(self, message: Message) -> Agent:
        agent = self.registered.get(message.sender)
        if agent is None or agent.path != message.body[0]:
            raise BluezFault("DoesNotExist", "Does Not Exist")
        return agent

    def pairing(self, device: str) -> PairingConfig:
        """How to pair with the device of that path now."""
        user = _AskedUser(self._bus, self.default, device)
        mitm = user.io_capability != PairingDelegate.NO_OUTPUT_NO_INPUT
        return PairingConfig(sc=True, mitm=mitm, bonding=True, delegate=user)


def address_of(connection: Connection) -> str:
    return connection.peer_address.to_string(with_type_qualifier=False).upper()
