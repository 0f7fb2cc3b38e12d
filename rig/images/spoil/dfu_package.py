"""A good Secure DFU package in the hands of somebody who will spoil it.

One image is spoiled, the one that is sent last (the application, where there is one); the others and the manifest say what they said.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from cryptography.hazmat.primitives.asymmetric import ec

from rig.errors import ConfigError
from rig.formats import init_packet as wire
from rig.formats.test_key import PrivateKey, private_key
from rig.images import dfu
from rig.images.dfu import DfuImage, DfuPackage


@dataclass(frozen=True, kw_only=True)
class GoodPackage:
    """A package without any mistake.

    `key` is its owner's; None means the public test key.  `other` is another good package, for the kinds that mix two.
    """

    package: DfuPackage
    key: PrivateKey | None = field(repr=False, default=None)
    other: DfuPackage | None = None

    @classmethod
    def of(cls, path: Path, key: PrivateKey | None, other: Path | None = None) -> Self:
        """The package at `path`.  Raises `ConfigError` when anything about it, or about the one at `other`, is wrong."""
        return cls(package=dfu.read(path), key=key, other=dfu.read(other) if other else None)

    @property
    def image(self) -> DfuImage:
        """The image that is spoiled."""
        return self.package.images[-1]

    @property
    def other_image(self) -> DfuImage:
        """The last image of the other package.  Raises `ConfigError` when there is none."""
        if self.other is None:
            raise ConfigError("this takes a second good package; give it with --other")
        return self.other.images[-1]

    @property
    def other_firmware(self) -> bytes:
        """The firmware of the other image, cut or padded to the size of this one's.  Raises `ConfigError` when it is the same."""
        size = len(self.image.firmware)
        firmware = self.other_image.firmware[:size].ljust(size, b"\xff")
        if firmware == self.image.firmware:
            raise ConfigError("the other package has the same firmware")
        return firmware

    @property
    def signature(self) -> bytes:
        """The signature over the init command.  Raises `ConfigError` when there is none."""
        signature = self.image.packet.signature
        if signature is None:
            raise ConfigError("the init packet is not signed, so this cannot be done to it")
        return signature

    @property
    def owner(self) -> ec.EllipticCurvePrivateKey:
        """The key that the package is signed with.  Raises `ConfigError` when that is neither `key` nor the test key."""
        key = self.key or private_key()
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ConfigError("Secure DFU packages are signed with ECDSA-P256; the key given is of another kind")
        if not wire.verify(self.image.packet.signed, self.signature, key.public_key()):
            blame = "the key given" if self.key else "the public test key; give its own with --key"
            raise ConfigError(f"the package is not signed with {blame}: signed anew, it would be refused for its key and nothing else")
        return key

    def declaring(self, **changes: Any) -> bytes:
        """The init packet with these fields of the init command changed, signed anew by the owner."""
        init = wire.encode_init_command(replace(self.image.packet.command, **changes))
        return wire.signed_packet(init, wire.sign(init, self.owner))

    def flipped(self, part: bytes, at: int) -> bytes:
        """The init packet with the lowest bit of byte `at` of `part`, a piece of it, turned over."""
        packet = bytearray(self.image.init_packet)
        packet[self.image.init_packet.index(part) + at] ^= 1
        return bytes(packet)

    def packed(self, *, init_packet: bytes | None = None, firmware: bytes | None = None) -> bytes:
        """The package as a file, with another init packet, another firmware, or both."""
        image = self.image
        spoiled = replace(
            image,
            init_packet=image.init_packet if init_packet is None else init_packet,
            firmware=image.firmware if firmware is None else firmware,
        )
        return dfu.to_zip(replace(self.package, images=(*self.package.images[:-1], spoiled)))
