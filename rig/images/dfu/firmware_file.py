"""Firmware as toolchains leave it: raw binary, or Intel HEX (Intel Hexadecimal Object File Format Specification, rev. A)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rig.errors import ConfigError, Problem
from rig.images.dfu.archive import content_of
from rig.images.dfu.package import MAX_INTERNAL, ImageKind

_DATA, _END, _SEGMENT, _LINEAR = 0, 1, 2, 4
_STARTS = (3, 5)  # where execution begins: of no use here
_MBR_SIZE = 0x1000
_FLASH_END = 0x1000_0000
"""From here on lie FICR and UICR, which an update cannot write."""
_WORD = 4
_ERASED = b"\xff"


def load_firmware(path: str | Path, kind: ImageKind) -> bytes:
    """The firmware in the file at `path`: Intel HEX when the name ends in .hex, else the bytes as they are.

    Of a HEX file the flash is taken, from the first byte to the last; gaps are filled with 0xFF, the end up to a whole word.  UICR
    values are left out, and so is the MBR in front of a SoftDevice: both are no part of an update.  Raises `ConfigError`.
    """
    content = content_of(path)
    if Path(path).suffix.lower() != ".hex":
        return content
    first = _MBR_SIZE if kind is ImageKind.SOFTDEVICE else 0
    pieces = [(address, data) for address, data in _pieces(path, content) if first <= address < _FLASH_END]
    if not pieces:
        raise _error(path, "there is nothing for the flash in it")
    start = min(address for address, _ in pieces)
    size = max(address + len(data) for address, data in pieces) - start
    if size > MAX_INTERNAL:
        raise _error(path, f"it spans {size} bytes, more than the flash of any SoC ({MAX_INTERNAL})")
    image = bytearray(_ERASED * (-(-size // _WORD) * _WORD))
    written = bytearray(len(image))
    for address, data in pieces:
        at = slice(address - start, address - start + len(data))
        if any(written[at]):
            raise _error(path, f"address 0x{address:x} is given twice")
        image[at] = data
        written[at] = bytes((1,)) * len(data)
    return bytes(image)


def _pieces(path: str | Path, content: bytes) -> Iterator[tuple[int, bytes]]:
    """Address and bytes of every data record."""
    base = 0
    number = 0
    for number, line in enumerate(content.splitlines(), 1):
        text = line.strip()
        if not text:
            continue
        kind, address, data = _record(path, number, text)
        if kind == _DATA:
            yield base + address, data
        elif kind == _END:
            return
        elif kind in (_SEGMENT, _LINEAR) and len(data) == 2:
            base = int.from_bytes(data) << (4 if kind == _SEGMENT else 16)
        elif kind not in _STARTS:
            raise _error(path, f"record type {kind} with {len(data)} bytes is unknown", number)
    raise _error(path, "the end record is missing: the file is cut off", number)


def _record(path: str | Path, number: int, text: bytes) -> tuple[int, int, bytes]:
    try:
        record = bytes.fromhex(text[1:].decode("ascii")) if text.startswith(b":") else b""
    except ValueError:
        record = b""
    if len(record) < 5 or len(record) != record[0] + 5:
        raise _error(path, "not an Intel HEX record", number)
    if sum(record) & 0xFF:
        raise _error(path, "the checksum is wrong", number)
    return record[3], int.from_bytes(record[1:3]), record[4:-1]


def _error(path: str | Path, reason: str, line: int = 0) -> ConfigError:
    return ConfigError([Problem(file=str(path), line=line, column=1 if line else 0, key="firmware", reason=reason)])
