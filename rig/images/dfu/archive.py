"""The zip file around a DFU package: read with suspicion, written so that the same content always gives the same bytes."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

from rig.errors import ConfigError, Problem

MAX_ARCHIVE = 32 << 20
MAX_MEMBER = 16 << 20
MAX_MEMBERS = 64
"""Bytes, bytes and files: far above any package for these SoCs, far below what would hurt the host."""
_EPOCH = (1980, 1, 1, 0, 0, 0)
_UNIX = 3
_REGULAR_FILE = 0o100644 << 16


class Archive:
    """The members of a zip file, read on demand.  `name` stands in front of every complaint."""

    def __init__(self, content: bytes, name: str) -> None:
        self._name = name
        if len(content) > MAX_ARCHIVE:
            raise self.error(f"{len(content)} bytes are too many for a package; the limit is {MAX_ARCHIVE}")
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(content))
        # A damaged directory surfaces as almost anything: it is read with struct, codecs and seeks.
        except (zipfile.BadZipFile, ValueError, OSError, EOFError, NotImplementedError, OverflowError) as error:
            raise self.error(f"not a zip file, or cut off: {error}") from None
        self._members: dict[str, zipfile.ZipInfo] = {}
        for info in self._zip.infolist():
            if info.filename in self._members:
                raise self.error(f"{info.filename!r} stands in it twice")
            self._members[info.filename] = info
        if len(self._members) > MAX_MEMBERS:
            raise self.error(f"{len(self._members)} files are too many for a package")

    def error(self, reason: str, *, key: str = "", hint: str = "") -> ConfigError:
        """A complaint about this file."""
        return ConfigError([Problem(file=self._name, key=key, reason=reason, hint=hint)])

    def read(self, member: str, *, key: str, limit: int = MAX_MEMBER) -> bytes:
        """The content of `member`, at most `limit` bytes.  Raises `ConfigError` that names `key`, the part it stands for."""
        info = self._members.get(member)
        if info is None:
            known = ", ".join(sorted(self._members)) or "nothing"
            raise self.error(f"there is no file {member!r} in the archive", key=key, hint=f"there is: {known}")
        if info.file_size > limit:
            raise self.error(f"{info.file_size} bytes are too many; the limit is {limit}", key=key)
        if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise self.error(f"{member!r} is encrypted or compressed in an unusual way", key=key)
        try:
            return self._zip.read(info)
        except (zipfile.BadZipFile, zlib.error, ValueError, OSError, EOFError, NotImplementedError, RuntimeError) as error:
            raise self.error(f"{member!r} is damaged: {error}", key=key) from None


def load(path: str | Path) -> Archive:
    """Open the archive at `path`.  Raises `ConfigError`."""
    return Archive(content_of(path), str(path))


def content_of(path: str | Path) -> bytes:
    """What stands in the file at `path`, as far as an archive may be long.  Raises `ConfigError`."""
    try:
        with Path(path).open("rb") as file:
            return file.read(MAX_ARCHIVE + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) else None
        raise ConfigError([Problem(file=str(path), reason=f"cannot be read: {reason or error}")]) from None


def pack(members: Mapping[str, bytes]) -> bytes:
    """A zip file with `members` in the order given, uncompressed, with a fixed date and fixed permissions."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            info = zipfile.ZipInfo(name, date_time=_EPOCH)
            info.create_system = _UNIX  # otherwise it depends on the host
            info.external_attr = _REGULAR_FILE
            archive.writestr(info, content)
    return out.getvalue()
