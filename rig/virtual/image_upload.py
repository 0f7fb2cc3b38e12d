"""The image group's upload on the device: RAM-only session, offsets, erase on the first chunk, block-buffered flash writes.

Facts: Zephyr `img_mgmt` (`img_mgmt.c`, `zephyr_img_mgmt.c`) without CONFIG_IMG_ERASE_PROGRESSIVELY and with
CONFIG_IMG_ENABLE_IMAGE_CHECK.  A wrong offset is not an error: the answer names the offset that the server expects.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rig.model import MemoryMap
from rig.virtual.cpu import Cpu
from rig.virtual.parts import PAGE_SIZE, WORD_SIZE
from rig.virtual.smp_codec import ImageError, RequestRefused

IMAGE_MAGIC = 0x96F3B83D
_HEADER_SIZE = 32
_VERSION = struct.Struct("<BBHI")
_BLOCK_SIZE = 512
"""CONFIG_IMG_BLOCK_BUF_SIZE: bytes gathered in RAM before a flash write."""


@dataclass(kw_only=True)
class _Session:
    """One upload in progress.  Lives in RAM, so that a reset forgets it."""

    length: int
    sha: bytes | None
    received: int = 0
    pending: bytearray = field(default_factory=bytearray)
    """Bytes received and not yet in flash."""

    @property
    def written(self) -> int:
        return self.received - len(self.pending)


class ImageUpload:
    """Serves upload requests into the secondary slot of `memory`.

    `on_accepted` is called when a new upload has been accepted, before anything is erased for it.  The two switches are defects:
    `resumes_too_far` skips a chunk when an interrupted upload goes on, `erases_whole_slot` erases also what is blank.
    """

    def __init__(
        self,
        cpu: Cpu,
        memory: MemoryMap,
        *,
        on_accepted: Callable[[], None],
        resumes_too_far: bool = False,
        erases_whole_slot: bool = False,
    ) -> None:
        self._cpu = cpu
        self._memory = memory
        self._on_accepted = on_accepted
        self._resumes_too_far = resumes_too_far
        self._erases_whole_slot = erases_whole_slot
        self._session: _Session | None = None
        self.percent = 0
        """How much of the image has arrived."""

    async def handle(self, payload: dict[str, Any], *, running_version: bytes, slot_free: bool) -> dict[str, Any]:
        """Answer one upload request.  Raises `RequestRefused`."""
        offset, data = payload.get("off"), payload.get("data", b"")
        if not isinstance(offset, int) or not isinstance(data, bytes):
            raise RequestRefused(ImageError.UNKNOWN)
        if offset == 0:
            resumed = await self._begin(payload, data, running_version=running_version, slot_free=slot_free)
            if resumed is not None:
                return {"off": resumed, "match": True} if self._session is None else {"off": resumed}
        session = self._session
        if session is None or offset != session.received:
            return {"off": session.received if session else 0}
        if offset + len(data) > session.length:
            self._session = None
            raise RequestRefused(ImageError.DATA_OVERRUN)
        await self._store(session, data)
        self.percent = 100 * session.received // session.length
        return {"off": session.received} | self._finish(session)

    def forget(self) -> None:
        """Drop the session, as an erase request does."""
        self._session = None

    async def _begin(self, payload: dict[str, Any], data: bytes, *, running_version: bytes, slot_free: bool) -> int | None:
        """Open a session, or return the offset at which an interrupted one of the same file goes on."""
        length, sha = payload.get("len"), payload.get("sha")
        if not isinstance(length, int) or length <= 0:
            raise RequestRefused(ImageError.INVALID_LENGTH)
        if len(data) < _HEADER_SIZE:
            raise RequestRefused(ImageError.INVALID_IMAGE_HEADER)
        if int.from_bytes(data[:4], "little") != IMAGE_MAGIC:
            raise RequestRefused(ImageError.BAD_MAGIC)
        if self._session and sha and self._session.sha == sha and self._session.length == length:
            if self._resumes_too_far:
                self._skip(self._session, len(data))
            return self._session.received
        if sha and self._holds(length, sha):
            self._session = None
            return length
        if length > self._memory.secondary.size - self._memory.upload_offset - PAGE_SIZE:
            raise RequestRefused(ImageError.IMAGE_TOO_LARGE)
        if not slot_free:
            raise RequestRefused(ImageError.NO_FREE_SLOT)
        if payload.get("upgrade") and _sort_key(data[20:28]) <= _sort_key(running_version):
            raise RequestRefused(ImageError.CURRENT_VERSION_IS_NEWER)
        self._session = None
        self._on_accepted()
        await self.erase(None if self._erases_whole_slot else self._memory.upload_offset + length)
        self._session = _Session(length=length, sha=sha)
        return None

    async def erase(self, length: int | None = None) -> None:
        """Erase what is not blank of the first `length` bytes (None: all) of the slot, then its last page, the trailer."""
        slot = self._memory.secondary
        end = slot.size if length is None else length
        pages = list(range(slot.start, slot.start + end, PAGE_SIZE))
        trailer = slot.end - PAGE_SIZE
        for page in pages if trailer in pages else [*pages, trailer]:
            if self._erases_whole_slot or self._cpu.read(page, PAGE_SIZE).count(0xFF) != PAGE_SIZE:
                await self._cpu.erase_page(page)

    def _holds(self, length: int, sha: bytes) -> bool:
        """Whether the slot already contains exactly this file."""
        slot, offset = self._memory.secondary, self._memory.upload_offset
        return length <= slot.size - offset and hashlib.sha256(self._cpu.read(slot.start + offset, length)).digest() == sha

    def _skip(self, session: _Session, length: int) -> None:
        """Count bytes as received that have never come."""
        skipped = min(length, session.length - session.received)
        session.pending += b"\xff" * skipped
        session.received += skipped

    async def _store(self, session: _Session, data: bytes) -> None:
        start = self._memory.secondary.start + self._memory.upload_offset
        session.pending += data
        session.received += len(data)
        last = session.received == session.length
        while len(session.pending) >= _BLOCK_SIZE or (last and session.pending):
            block = bytes(session.pending[:_BLOCK_SIZE])
            address = start + session.written
            padding = -len(block) % WORD_SIZE
            await self._cpu.write(address, block + b"\xff" * padding)
            del session.pending[: len(block)]

    def _finish(self, session: _Session) -> dict[str, Any]:
        if session.received != session.length:
            return {}
        self._session = None
        if session.sha is None:
            return {}
        return {"match": self._holds(session.length, session.sha)}


def _sort_key(version: bytes) -> tuple[int, int, int]:
    """Major, minor, revision; the build number does not count in an upgrade check."""
    major, minor, revision, _build = _VERSION.unpack(version)
    return major, minor, revision
