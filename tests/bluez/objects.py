"""The objects of a D-Bus service with their properties, and the signals that tell of them."""

from __future__ import annotations

from dbus_fast import Message, MessageType, Variant
from dbus_fast.aio import MessageBus

_OBJECT_MANAGER = "org.freedesktop.DBus.ObjectManager"
_PROPERTIES = "org.freedesktop.DBus.Properties"

Properties = dict[str, Variant]


class ObjectTree:
    """Objects by path, each with its interfaces and their properties; every change is signalled on the bus."""

    def __init__(self, bus: MessageBus) -> None:
        self._bus = bus
        self.objects: dict[str, dict[str, Properties]] = {}

    def add(self, path: str, interface: str, properties: Properties) -> None:
        self.objects.setdefault(path, {})[interface] = properties
        self._signal("/", _OBJECT_MANAGER, "InterfacesAdded", "oa{sa{sv}}", [path, {interface: properties}])

    def remove(self, path: str) -> None:
        """Remove the object and what lies below it, the innermost first; nothing happens when it is not there."""
        for name in sorted(self.objects, reverse=True):
            if name == path or name.startswith(f"{path}/"):
                self._signal("/", _OBJECT_MANAGER, "InterfacesRemoved", "oas", [name, list(self.objects.pop(name))])

    def change(self, path: str, interface: str, **properties: Variant) -> None:
        """Set properties of an object that is there; an object that has gone has none."""
        if path in self.objects:
            self.objects[path][interface].update(properties)
            self._signal(path, _PROPERTIES, "PropertiesChanged", "sa{sv}as", [interface, properties, []])

    def take(self, path: str, interface: str, name: str) -> None:
        """Take a property away."""
        if self.objects[path][interface].pop(name, None) is not None:
            self._signal(path, _PROPERTIES, "PropertiesChanged", "sa{sv}as", [interface, {}, [name]])

    def value(self, path: str, interface: str, name: str) -> object:
        return self.objects[path][interface][name].value

    def below(self, path: str) -> list[str]:
        return [name for name in self.objects if name.startswith(f"{path}/")]

    def _signal(self, path: str, interface: str, member: str, signature: str, body: list[object]) -> None:
        message = Message(
            message_type=MessageType.SIGNAL, path=path, interface=interface, member=member, signature=signature, body=body
        )
        if self._bus.connected:
            self._bus.send(message)
