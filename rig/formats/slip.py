"""SLIP: frames on a byte stream (RFC 1055), as Nordic's serial DFU uses it.

A frame ends with END (0xC0).  Inside a frame END is sent as DB DC and ESC (0xDB) as DB DD.  There is no checksum: what the decoder
cannot make sense of is reported as damage, and the next END starts afresh.
"""

from __future__ import annotations

from dataclasses import dataclass

END = 0xC0
ESC = 0xDB
ESC_END = 0xDC
ESC_ESC = 0xDD

_UNESCAPED = {ESC_END: END, ESC_ESC: ESC}


@dataclass(frozen=True, kw_only=True)
class Frame:
    """What stood between two ENDs.  `damage` is empty for a good frame; otherwise `data` holds the bytes as they were received."""

    data: bytes
    damage: str = ""


def encode(data: bytes) -> bytes:
    """`data` as one frame, at most 2 · len(data) + 1 bytes.

    No END goes in front: Nordic's receiver would take it for an empty request.
    """
    # ESC first, or the ESC of an escaped END would be escaped again.
    escaped = data.replace(bytes((ESC,)), bytes((ESC, ESC_ESC))).replace(bytes((END,)), bytes((ESC, ESC_END)))
    return escaped + bytes((END,))


class Decoder:
    """Finds frames in a stream of any chunking.  It never holds more than `limit` bytes of a frame, whatever arrives."""

    def __init__(self, *, limit: int = 4096) -> None:
        self._limit = limit
        self._raw = bytearray()
        self._overflow = False

    def feed(self, chunk: bytes) -> list[Frame]:
        """Take `chunk` and return the frames that it completes, oldest first.  Empty frames (END after END) are skipped."""
        *complete, rest = chunk.split(bytes((END,)))
        frames = []
        for piece in complete:
            self._hold(piece)
            if self._raw:
                frames.append(self._frame())
            self._raw.clear()
            self._overflow = False
        self._hold(rest)
        return frames

    def _hold(self, piece: bytes) -> None:
        room = self._limit - len(self._raw)
        self._overflow |= len(piece) > room
        self._raw += piece[:room]

    def _frame(self) -> Frame:
        raw = bytes(self._raw)
        if self._overflow:
            return Frame(data=raw, damage=f"longer than {self._limit} bytes; only these were kept")
        head, *tails = raw.split(bytes((ESC,)))
        data = bytearray(head)
        for tail in tails:
            if not tail or tail[0] not in _UNESCAPED:
                return Frame(data=raw, damage="ESC is followed by neither DC nor DD")
            data.append(_UNESCAPED[tail[0]])
            data += tail[1:]
        return Frame(data=bytes(data))
