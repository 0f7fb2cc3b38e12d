"""An update over MCUmgr's Simple Management Protocol: the image and os groups, as a client sees them.

    async with SmpSession(link) as session:
        async for offset in session.upload(image):
            ...
        await session.request(image_hash, permanent=False)
        await session.reset()

A session serves one link; open another for the next one.  The device's own errors are `Refused` (group and code as in Zephyr, group
`MGMT_ERR_GROUP` for those of SMP itself), silence is `NoReply`, a lost link `LinkLost`, and an answer without sense `DutError`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from types import TracebackType
from typing import Any, Self

import cbor2
from smp.exceptions import SMPException
from smp.image_management import ImageState as WireImageState
from smp.message import ResponseType
from smpclient import SMPClient
from smpclient.exceptions import SMPClientException
from smpclient.requests.image_management import ImageErase, ImageStatesRead, ImageStatesWrite, ImageUploadWrite
from smpclient.requests.os_management import MCUMgrParametersRead, ResetWrite

from rig.errors import DutError, LinkLost, NoReply, Refused
from rig.ota.disorder import Disorder, Noticed, Sending
from rig.ota.smp_transport import (
    HEADER_SIZE,
    IMAGE_GROUP,
    MGMT_ERR_GROUP,
    SMP_CHARACTERISTIC,
    SMP_SERVICE,
    LinkTransport,
    error_name,
    offset_in,
)
from rig.ports import GattLink

__all__ = [
    "IMAGE_GROUP",
    "MGMT_ERR_GROUP",
    "SMP_CHARACTERISTIC",
    "SMP_SERVICE",
    "ImageState",
    "Parameters",
    "SmpSession",
    "error_name",
]

_MAX_FRAME = 0xFFFF
_MIN_FRAME = 64
"""A buffer smaller than this is a mistake of the device's; the longest write is used instead."""
_IMAGE_HEADER = 32
"""The first chunk must hold the whole MCUboot image header."""
_MAX_RETREATS = 8
"""How often an upload may be told an offset that it has already passed, before it is going round in circles."""


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """MCUmgr's buffers: the longest frame in bytes, and how many of them there are."""

    buf_size: int
    buf_count: int


@dataclass(frozen=True, kw_only=True)
class ImageState:
    """One slot as the device reports it.  `hash` is MCUboot's SHA-256 TLV, empty where the device does not tell it."""

    image: int
    slot: int
    version: str
    hash: bytes
    bootable: bool
    pending: bool
    confirmed: bool
    active: bool
    permanent: bool


class SmpSession:
    """Requests, one at a time.  Entering subscribes and asks for the buffer size; leaving does not touch the link.

    Args:
        link: where the device's SMP service is.
        request_s: how long an ordinary request may take, in seconds.
        first_chunk_s: how long the first chunk of an upload, or an erase, may take: the device may erase the whole slot.
        reassembles: False for a device without CONFIG_MCUMGR_TRANSPORT_BT_REASSEMBLY, whose requests must fit into one write.
        sending: how the parts of an image are sent, where that is to be disturbed.
    """

    def __init__(
        self,
        link: GattLink,
        *,
        request_s: float = 10.0,
        first_chunk_s: float = 40.0,
        reassembles: bool = True,
        sending: Sending | None = None,
    ) -> None:
        self._link = link
        self._request_s, self._first_chunk_s = request_s, first_chunk_s
        self._reassembles = reassembles
        self._sending = sending or Sending(lambda _noticed: None)
        self._transport = LinkTransport(link)
        self._client = SMPClient(self._transport, address="")
        self._max_frame = link.max_write
        self._sequence = 0

    async def __aenter__(self) -> Self:
        await self._transport.open()
        try:
            await self._adopt_buffer_size()
        except BaseException:
            await self._transport.close()
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._transport.close()

    async def _adopt_buffer_size(self) -> None:
        """Fill the device's buffers, if it tells their size; many bootloaders do not know the question."""
        try:
            parameters = await self.params()
        except (Refused, NoReply):
            return
        if self._reassembles and parameters.buf_size >= _MIN_FRAME:
            self._max_frame = min(parameters.buf_size, _MAX_FRAME)

    # --------------------------------------------------------------------------------------------------------- requests
    async def params(self) -> Parameters:
        """Read the device's buffer size and count."""
        answer = await self._ask("os params", MCUMgrParametersRead(sequence=self._next()), self._request_s)
        return Parameters(buf_size=answer.buf_size, buf_count=answer.buf_count)

    async def read_state(self) -> tuple[ImageState, ...]:
        """Read the image list."""
        answer = await self._ask("image state", ImageStatesRead(sequence=self._next()), self._request_s)
        return tuple(_image_state(image) for image in answer.images)

    async def request(self, image_hash: bytes, *, permanent: bool) -> tuple[ImageState, ...]:
        """Ask the bootloader for the image with this hash at the next boot: to test it, or for good.  Returns the image list."""
        what = "image permanent" if permanent else "image test"
        request = ImageStatesWrite(sequence=self._next(), hash=image_hash, confirm=permanent)
        answer = await self._ask(what, request, self._request_s)
        return tuple(_image_state(image) for image in answer.images)

    async def confirm(self) -> tuple[ImageState, ...]:
        """Confirm the running image.  Returns the image list."""
        answer = await self._ask("image confirm", ImageStatesWrite(sequence=self._next(), confirm=True), self._request_s)
        return tuple(_image_state(image) for image in answer.images)

    async def erase(self, slot: int | None = None) -> None:
        """Erase a slot, by default the one that is not active.  Takes seconds."""
        await self._ask("image erase", ImageErase(sequence=self._next(), slot=slot), self._first_chunk_s)

    async def reset(self) -> None:
        """Ask for a reset.  A link that ends before the answer has arrived is what was asked for."""
        try:
            await self._ask("os reset", ResetWrite(sequence=self._next()), self._request_s)
        except LinkLost:
            return

    async def wait_lost(self) -> int | None:
        """Wait for the end of the link; returns the HCI reason, None where it is unknown."""
        return await self._link.wait_lost()

    # ----------------------------------------------------------------------------------------------------------- upload
    async def upload(self, image: bytes, *, image_number: int = 0) -> AsyncIterator[int]:
        """Send `image` to the slot that is not active; yields the offset that the device acknowledges, after every chunk.

        The file's SHA-256 goes with the first chunk, so that a device that still holds a part of the same upload goes on from there.
        Whatever offset the device answers is where the next chunk comes from.  Chunks are as long as buffers allow.

        Raises `DutError` when the device goes round in circles, names an offset outside the image, or in the end says that the
        image does not match its SHA-256; and as every request does.
        """
        offset, retreats, digest = 0, 0, sha256(image).digest()
        while True:
            fields = self._chunk(image, offset, digest, image_number)
            async with self._disordered(image, offset + len(fields["data"])):
                limit = self._first_chunk_s if offset == 0 else self._request_s
                answer = await self._ask("image upload", ImageUploadWrite(sequence=self._next(), **fields), limit)
            acknowledged = answer.off
            if acknowledged is None or not 0 <= acknowledged <= len(image):
                raise DutError(f"the device acknowledges offset {acknowledged} of an image of {len(image)} bytes")
            if acknowledged <= offset:
                retreats += 1
                if retreats > _MAX_RETREATS:
                    raise DutError(f"the upload makes no progress: the device asked {retreats} times for what it had been sent")
            offset = acknowledged
            if offset == len(image) and answer.match is False:
                raise DutError("the device says that the uploaded image does not match its SHA-256")
            yield offset
            if offset == len(image):
                return

    @asynccontextmanager
    async def _disordered(self, image: bytes, after: int) -> AsyncIterator[None]:
        """Around a chunk: send it twice, or the one from offset `after` on before it, while the client is to do so."""
        disorder = self._sending.disorder
        if disorder is Disorder.REORDER and after < len(image):
            early = ImageUploadWrite(sequence=self._next(), **self._chunk(image, after))
            await self._transport.send_extra(early.BYTES, self._on_early_answer)
        if disorder is Disorder.REPEAT:
            self._transport.repeat = self._on_second_answer
        try:
            yield
        finally:
            self._transport.repeat = None

    def _on_second_answer(self, frame: bytes) -> None:
        self._sending.tell(Noticed(disorder=Disorder.REPEAT, offset=offset_in(frame)))

    def _on_early_answer(self, frame: bytes) -> None:
        if self._transport.is_waiting:  # else the chunk that was due has been answered first: nobody can tell the order
            self._sending.tell(Noticed(disorder=Disorder.REORDER, offset=offset_in(frame)))

    def _chunk(self, image: bytes, offset: int, digest: bytes = b"", image_number: int = 0) -> dict[str, Any]:
        """The fields of the longest upload request from `offset` on; digest and number go with the first."""
        fields: dict[str, Any] = {"off": offset}
        if offset == 0:
            fields |= {"len": len(image), "image": image_number, "sha": digest}
            if self._room(fields) < min(_IMAGE_HEADER, len(image)):
                del fields["sha"]  # a small MTU: without resuming, but with the whole image header
        room = self._room(fields)
        if room < 1:
            raise DutError(f"no upload fits into frames of {self._max_frame} bytes: the device's ATT_MTU is too small")
        return {**fields, "data": image[offset : offset + room]}

    def _room(self, fields: dict[str, Any]) -> int:
        """How many bytes of data fit into a frame with these fields; CBOR needs more for a longer length (RFC 8949 3)."""
        free = self._max_frame - HEADER_SIZE - len(cbor2.dumps({**fields, "data": b""}))
        return max(min(free, 23), min(free - 1, 0xFF), min(free - 2, 0xFFFF))

    # ----------------------------------------------------------------------------------------------------------- common
    def _next(self) -> int:
        """A sequence number of our own: smpclient's counts over the whole process, which would differ from run to run."""
        self._sequence = (self._sequence + 1) % 256
        return self._sequence

    async def _ask(self, name: str, request: Any, limit_s: float) -> Any:
        self._transport.request = name
        try:
            answer = await self._client.request(request, timeout_s=limit_s)
        except TimeoutError:
            raise NoReply(name, limit_s) from None
        except (SMPClientException, SMPException, ValueError, TypeError) as error:
            raise DutError(f"the answer to {name} makes no sense: {_first_line(error)}") from error
        if answer.RESPONSE_TYPE is not ResponseType.SUCCESS:
            raise DutError(f"the answer to {name} is an error that says neither group nor code")
        return answer


def _image_state(state: WireImageState) -> ImageState:
    return ImageState(
        image=state.image or 0,
        slot=state.slot,
        version=state.version,
        hash=bytes(state.hash or b""),
        bootable=bool(state.bootable),
        pending=bool(state.pending),
        confirmed=bool(state.confirmed),
        active=bool(state.active),
        permanent=bool(state.permanent),
    )


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
