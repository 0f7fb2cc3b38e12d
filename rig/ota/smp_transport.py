"""SMP frames over one `GattLink`: the transport under smpclient's `SMPClient`, and what the device's error answers mean.

smpclient's own BLE transport loses its lock when a request times out, after which no request completes; this one keeps no lock.  It
also passes on nothing that is not the well-formed answer to the request under way: late, repeated and foreign frames are skipped,
errors are raised as `Refused`, and everything else as `DutError`.  One object serves one connection.

Framing: raw SMP bytes cut at the link's longest write; put together by the length in the header (Zephyr, `smp_bt.c`).
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Mapping
from typing import Any

import cbor2
from smpclient.transport import SMPTransport

from rig.errors import DutError, LinkLost, Refused, RigError
from rig.ports import GattLink

SMP_SERVICE = "8d53dc1d-1db7-4cd3-868b-8a527460aa84"
SMP_CHARACTERISTIC = "da2e7828-fbce-4e01-ae9e-261174997c48"

MGMT_ERR_GROUP = -2
"""`Refused.group` for an error code of SMP itself (``rc`` without a group)."""
IMAGE_GROUP = 1
HEADER_SIZE = 8
_MAX_NESTING = 16
"""Levels of CBOR that an answer may have; real ones have three."""

MGMT_ERRORS = (
    "ok", "unknown error", "no memory", "invalid value", "timeout", "no such entry", "bad state", "response too large",
    "not supported", "corrupt", "busy", "access denied", "protocol version too old", "protocol version too new",
)  # fmt: skip
"""MGMT_ERR by number (Zephyr, `mgmt_defines.h`); from 256 on they are the user's."""

IMAGE_ERRORS = (
    "ok", "unknown error", "flash configuration unknown", "no image", "no TLVs", "invalid TLV", "several hash TLVs",
    "invalid TLV size", "hash not found", "no free slot", "flash cannot be opened", "flash cannot be read",
    "flash cannot be written", "flash cannot be erased", "invalid slot", "no memory", "flash context already set",
    "flash context not set", "flash device is missing", "invalid page offset", "offset missing", "length missing",
    "invalid image header", "invalid image magic", "invalid hash", "invalid flash address", "version unknown",
    "the running version is newer", "an image is already pending", "invalid vector table", "image too large",
    "more data than announced", "confirmation denied", "the active image cannot be tested",
)  # fmt: skip
"""Errors of the image group by number (Zephyr, `img_mgmt.h`)."""


class LinkTransport(SMPTransport):
    """`smpclient`'s transport on a link that its owner opens and closes.  `request` names the next request in errors.

    `repeat`, where it is set, has every request sent twice: it gets the second answer, while the first one is returned.
    """

    def __init__(self, link: GattLink) -> None:
        self.request = ""
        self.repeat: Callable[[bytes], None] | None = None
        self._link = link
        self._buffer = bytearray()
        self._expected: bytes | None = None
        self._answer: asyncio.Future[bytes] | None = None
        self._extra: dict[bytes, Callable[[bytes], None]] = {}
        """Marks of an answer that nobody waits for → who wants to hear of it all the same."""
        self._watch: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Subscribe to the device's answers.  Raises `LinkLost` and `Refused`."""
        await self._link.subscribe(SMP_CHARACTERISTIC, self._on_notification)
        self._watch = asyncio.create_task(self._watch_link(), name="smp: link watch")

    async def close(self) -> None:
        """Stop listening; the link stays as it is."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait((self._watch,))
            self._watch = None

    async def _watch_link(self) -> None:
        self._settle(LinkLost(await self._link.wait_lost()))

    # ----------------------------------------------------------------------------------------------------- SMPTransport
    async def connect(self, address: str, timeout_s: float) -> None:
        pass  # the link is connected

    async def disconnect(self) -> None:
        pass  # the link belongs to its owner

    @property
    def mtu(self) -> int:
        return self._link.max_write

    async def send(self, data: bytes) -> None:
        """Send one request frame."""
        step = self._link.max_write
        for start in range(0, len(data), step):
            await self._link.write(SMP_CHARACTERISTIC, data[start : start + step], response=False)

    @property
    def is_waiting(self) -> bool:
        """Whether a request is under way that has not been answered."""
        return self._answer is not None and not self._answer.done()

    async def receive(self) -> bytes:
        raise NotImplementedError("an answer has meaning only for its request: use send_and_receive")

    async def send_extra(self, data: bytes, heard: Callable[[bytes], None]) -> None:
        """Send a request whose answer nobody waits for; `heard` gets it when it comes before 256 others have been asked for."""
        self._extra[_answer_to(data)] = heard
        await self.send(data)

    async def send_and_receive(self, data: bytes) -> bytes:
        """Send one request and return the frame that answers it.

        With `repeat` set the request is sent twice, and `repeat` gets the second answer.
        Raises `LinkLost`, `Refused`, and `DutError` for an answer that makes no sense.
        """
        if not self._link.is_up:
            raise LinkLost(self._link.lost_reason)
        self._buffer.clear()
        self._expected = _answer_to(data)
        self._extra.pop(self._expected, None)
        self._answer = asyncio.get_running_loop().create_future()
        try:
            await self.send(data)
            if self.repeat is not None:
                await self.send_extra(data, self.repeat)
            return _checked(await self._answer, self.request)
        finally:
            self._expected = self._answer = None

    # ---------------------------------------------------------------------------------------------------------- answers
    def _on_notification(self, data: bytes) -> None:
        if self._expected is None and not self._extra:
            return  # too late, or a repetition
        if _marks(data) == self._expected:
            self._buffer.clear()  # whatever came before was cut off
        self._buffer += data
        while len(self._buffer) >= HEADER_SIZE:
            end = HEADER_SIZE + int.from_bytes(self._buffer[2:4], "big")
            if len(self._buffer) < end:
                return
            frame = bytes(self._buffer[:end])
            del self._buffer[:end]
            self._take(frame)

    def _take(self, frame: bytes) -> None:
        marks = _marks(frame)
        if marks == self._expected and self.is_waiting:
            self._settle(frame)
        elif marks in self._extra:
            self._extra.pop(marks)(frame)

    def _settle(self, outcome: bytes | RigError) -> None:
        if self._answer is None or self._answer.done():
            return
        if isinstance(outcome, bytes):
            self._answer.set_result(outcome)
        else:
            self._answer.set_exception(outcome)


def _marks(frame: bytes) -> bytes | None:
    """What an answer has in common with its request: operation, group, sequence number and command."""
    return bytes([frame[0] & 0b111]) + frame[4:HEADER_SIZE] if len(frame) >= HEADER_SIZE else None


def _answer_to(request: bytes) -> bytes:
    """The marks of the answer to `request`: its operation is one higher."""
    return bytes([(request[0] & 0b111) + 1]) + request[4:HEADER_SIZE]


def _checked(frame: bytes, request: str) -> bytes:
    """`frame`, if it is a success; without the ``rc: 0`` that older servers add to every success."""
    payload = _decode(frame[HEADER_SIZE:])
    match payload:
        case {"err": {"group": int(group), "rc": int(code)}}:
            raise Refused(request, group=group, code=code, name=error_name(group, code))
        case {"rc": int(code)} if code != 0:
            name, reason = error_name(MGMT_ERR_GROUP, code), payload.get("rsn")
            raise Refused(request, group=MGMT_ERR_GROUP, code=code, name=f"{name}: {reason}" if isinstance(reason, str) else name)
        case {"rc": 0}:
            rest = cbor2.dumps({key: value for key, value in payload.items() if key != "rc"})
            return frame[:2] + struct.pack(">H", len(rest)) + frame[4:HEADER_SIZE] + rest
    return frame


def _decode(payload: bytes) -> Mapping[str, Any]:
    """The CBOR map of an answer.  Raises `DutError`."""
    try:
        value = cbor2.loads(payload, max_depth=_MAX_NESTING)
    except (cbor2.CBORError, ValueError, OverflowError, RecursionError, MemoryError) as error:
        raise DutError(f"an SMP answer is not CBOR: {error}") from error
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise DutError("an SMP answer is not a CBOR map with text keys")
    return value


def offset_in(frame: bytes) -> int | None:
    """The offset that an answer to an upload request names; None for an error and for anything else."""
    try:
        payload = _decode(frame[HEADER_SIZE:])
    except DutError:
        return None
    offset = payload.get("off")
    return offset if isinstance(offset, int) else None


def error_name(group: int, code: int) -> str:
    """The text of an error code: of SMP itself (`MGMT_ERR_GROUP`) or of a management group."""
    names = {MGMT_ERR_GROUP: MGMT_ERRORS, IMAGE_GROUP: IMAGE_ERRORS}.get(group, ())
    return names[code] if 0 <= code < len(names) else "unknown code"
