"""The bonding data that the application of a bonded product hands over to the bootloader, and that the bootloader encrypts with.

    0x00  identity key of the central (16)    0x18  long-term key (16)          0x2A  EDIV (2), Rand (8): zero for LE Secure Connections
    0x10  its address: type (1), value (6)    0x28  flags and key length (1)    0x34  system attributes (8)

Everything is little-endian, bytes not named are padding.  The central has no identity key here, as pairing on the virtual bench
distributes none; the bootloader then advertises to everybody, and the missing key alone keeps strangers out.

Source: nRF5 SDK 17.0.2, `bootloader/dfu/nrf_dfu_types.h` (nrf_dfu_peer_data_t), SoftDevice headers `ble_gap.h`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from rig.virtual.air import DeviceAddress
from rig.virtual.pairing import Bond

_LAYOUT = struct.Struct("<16sB6sx16sBxH8s8s")
_PUBLIC, _RANDOM_STATIC = 0, 1
_SECURE_CONNECTIONS, _AUTHENTICATED = 1 << 0, 1 << 1
_KEY_SIZE_SHIFT = 2
_KEY_SIZE = 16


@dataclass(frozen=True, kw_only=True)
class PeerData:
    """The address of a central, written as `BlePeripheral` writes it, and the bond with it."""

    peer: str
    bond: Bond

    def encode(self) -> bytes:
        """The 60 bytes."""
        address = DeviceAddress.parse(self.peer)
        kind = _PUBLIC if address.public else _RANDOM_STATIC
        flags = _SECURE_CONNECTIONS | (_AUTHENTICATED if self.bond.authenticated else 0) | _KEY_SIZE << _KEY_SIZE_SHIFT
        return _LAYOUT.pack(bytes(16), kind << 1, address.octets[::-1], self.bond.key, flags, 0, bytes(8), bytes(8))

    @classmethod
    def decode(cls, content: bytes) -> PeerData:
        """From the 60 bytes; whatever they are, they decode, because nothing but the CRC before them says that they are right."""
        _irk, kind, address, key, flags, _ediv, _rand, _attributes = _LAYOUT.unpack(content)
        peer = DeviceAddress(address[::-1], kind >> 1 == _PUBLIC)
        return cls(peer=str(peer), bond=Bond(key=key, authenticated=bool(flags & _AUTHENTICATED)))
