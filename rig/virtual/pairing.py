"""Pairing as a virtual board does it: LE Secure Connections, responder (Core Specification Vol 3 Part H 2.3 and 3.5).

A board that shows a passkey is authenticated by it, when the central can type it in; otherwise pairing is Just Works, which encrypts
but proves nothing.  LE legacy pairing is refused, and no identity keys are exchanged.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

from bumble import crypto
from bumble.crypto.cryptography import EccKey

from rig.virtual.air import DeviceAddress

_BONDING, _MITM, _SECURE_CONNECTIONS = 0x01, 0x04, 0x08
_DISPLAY_ONLY, _KEYBOARD_ONLY, _NO_INPUT_NO_OUTPUT, _KEYBOARD_DISPLAY = 0, 2, 3, 4
_PASSKEY_BITS = 20
_MAX_KEY_OCTETS = 16


class _Code(IntEnum):
    """SMP commands (3.3)."""

    PAIRING_REQUEST = 0x01
    PAIRING_RESPONSE = 0x02
    PAIRING_CONFIRM = 0x03
    PAIRING_RANDOM = 0x04
    PAIRING_FAILED = 0x05
    PAIRING_PUBLIC_KEY = 0x0C
    PAIRING_DHKEY_CHECK = 0x0D


class _Failure(IntEnum):
    """Reasons of Pairing Failed (3.5.5)."""

    AUTHENTICATION_REQUIREMENTS = 0x03
    CONFIRM_VALUE_FAILED = 0x04
    PAIRING_NOT_SUPPORTED = 0x05
    COMMAND_NOT_SUPPORTED = 0x07
    INVALID_PARAMETERS = 0x0A
    DHKEY_CHECK_FAILED = 0x0B


class _Refused(Exception):
    def __init__(self, reason: _Failure) -> None:
        self.reason = reason
        super().__init__(reason.name)


@dataclass(frozen=True, kw_only=True)
class Bond:
    """What a board keeps of a pairing."""

    key: bytes
    authenticated: bool


class PairingResponder:
    """One connection's pairing.  `on_bond` is called when the peer has proved the key; encryption with it comes next.

    `passkey` (0 to 999999) is what the board shows; None for a board without a display.  `allowed` False refuses to pair.
    """

    def __init__(
        self,
        *,
        own: DeviceAddress,
        peer: DeviceAddress,
        luck: random.Random,
        passkey: int | None,
        allowed: bool,
        send: Callable[[bytes], None],
        on_bond: Callable[[Bond], None],
    ) -> None:
        self._own, self._peer = _address_octets(own), _address_octets(peer)
        self._luck = luck
        self._passkey = passkey
        self._allowed = allowed
        self._send = send
        self._on_bond = on_bond
        self._expected: _Code = _Code.PAIRING_REQUEST
        self._request = self._response = b""
        self._uses_passkey = False
        self._round = 0
        self._nonce = b""
        self._peer_nonce = b""
        self._peer_confirm = b""
        self._peer_x = b""
        self._key: EccKey | None = None
        self._shared = b""

    def on_pdu(self, pdu: bytes) -> None:
        """Take one command from the initiator."""
        try:
            code = _Code(pdu[0])
        except (IndexError, ValueError):
            return self._fail(_Failure.COMMAND_NOT_SUPPORTED)
        if code is _Code.PAIRING_FAILED:
            self._expected = _Code.PAIRING_REQUEST
            return None
        if code not in (self._expected, _Code.PAIRING_REQUEST):
            return self._fail(_Failure.INVALID_PARAMETERS)
        try:
            self._HANDLERS[code](self, pdu[1:])
        except _Refused as refusal:
            self._fail(refusal.reason)

    def _fail(self, reason: _Failure) -> None:
        self._expected = _Code.PAIRING_REQUEST
        self._send(bytes([_Code.PAIRING_FAILED, reason]))

    def _say(self, code: _Code, payload: bytes) -> None:
        self._send(bytes([code]) + payload)

    # ---------------------------------------------------------------------------------------------------------- phase 1
    def _on_request(self, payload: bytes) -> None:
        if not self._allowed:
            raise _Refused(_Failure.PAIRING_NOT_SUPPORTED)
        if len(payload) != 6:
            raise _Refused(_Failure.INVALID_PARAMETERS)
        io_capability, authentication = payload[0], payload[2]
        if not authentication & _SECURE_CONNECTIONS:
            raise _Refused(_Failure.AUTHENTICATION_REQUIREMENTS)
        shows = self._passkey is not None
        self._uses_passkey = shows and io_capability in (_KEYBOARD_ONLY, _KEYBOARD_DISPLAY)
        wants = (_MITM if shows else 0) | _BONDING | _SECURE_CONNECTIONS
        self._request = payload
        self._response = bytes([_DISPLAY_ONLY if shows else _NO_INPUT_NO_OUTPUT, 0, wants, _MAX_KEY_OCTETS, 0, 0])
        self._round = 0
        self._expected = _Code.PAIRING_PUBLIC_KEY
        self._say(_Code.PAIRING_RESPONSE, self._response)

    # ---------------------------------------------------------------------------------------------------------- phase 2
    def _on_public_key(self, payload: bytes) -> None:
        self._key = EccKey.from_private_key_bytes(b"\x00" + self._luck.randbytes(31))
        self._peer_x = payload[:32]
        try:
            self._shared = self._key.dh(payload[31::-1], payload[:31:-1])[::-1]
        except ValueError:  # not a point on the curve
            raise _Refused(_Failure.DHKEY_CHECK_FAILED) from None
        self._say(_Code.PAIRING_PUBLIC_KEY, self._key.x[::-1] + self._key.y[::-1])
        if self._uses_passkey:
            self._expected = _Code.PAIRING_CONFIRM
        else:
            self._expected = _Code.PAIRING_RANDOM
            self._commit()

    def _commit(self) -> None:
        assert self._key is not None
        self._nonce = self._luck.randbytes(16)
        self._say(_Code.PAIRING_CONFIRM, crypto.f4(self._key.x[::-1], self._peer_x, self._nonce, self._bit()))

    def _bit(self) -> bytes:
        """What a commitment adds: nothing for Just Works, else one bit of the passkey (2.3.5.6.3)."""
        if not self._uses_passkey:
            return b"\x00"
        assert self._passkey is not None
        return bytes([0x80 | (self._passkey >> self._round) & 1])

    def _on_confirm(self, payload: bytes) -> None:
        self._peer_confirm = payload
        self._expected = _Code.PAIRING_RANDOM
        self._commit()

    def _on_random(self, payload: bytes) -> None:
        assert self._key is not None
        self._peer_nonce = payload
        if self._uses_passkey:
            if crypto.f4(self._peer_x, self._key.x[::-1], payload, self._bit()) != self._peer_confirm:
                raise _Refused(_Failure.CONFIRM_VALUE_FAILED)
            self._round += 1
        self._say(_Code.PAIRING_RANDOM, self._nonce)
        done = not self._uses_passkey or self._round == _PASSKEY_BITS
        self._expected = _Code.PAIRING_DHKEY_CHECK if done else _Code.PAIRING_CONFIRM

    def _on_dhkey_check(self, payload: bytes) -> None:
        mac_key, long_term_key = crypto.f5(self._shared, self._peer_nonce, self._nonce, self._peer, self._own)
        secret = (self._passkey or 0 if self._uses_passkey else 0).to_bytes(16, "little")
        nonces, addresses = (self._peer_nonce, self._nonce), (self._peer, self._own)
        if crypto.f6(mac_key, *nonces, secret, self._request[:3], *addresses) != payload:
            raise _Refused(_Failure.DHKEY_CHECK_FAILED)
        self._expected = _Code.PAIRING_REQUEST
        self._on_bond(Bond(key=long_term_key, authenticated=self._uses_passkey))
        self._say(_Code.PAIRING_DHKEY_CHECK, crypto.f6(mac_key, *nonces[::-1], secret, self._response[:3], *addresses[::-1]))

    _HANDLERS: ClassVar[dict[_Code, Callable[[PairingResponder, bytes], None]]] = {
        _Code.PAIRING_REQUEST: _on_request,
        _Code.PAIRING_PUBLIC_KEY: _on_public_key,
        _Code.PAIRING_CONFIRM: _on_confirm,
        _Code.PAIRING_RANDOM: _on_random,
        _Code.PAIRING_DHKEY_CHECK: _on_dhkey_check,
    }


def _address_octets(address: DeviceAddress) -> bytes:
    """The 56-bit form that f5 and f6 take, least significant octet first (2.2.7)."""
    return address.octets[::-1] + bytes([not address.public])
