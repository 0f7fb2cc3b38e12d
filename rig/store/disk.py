"""Whole files on the disk: written so that a crash leaves the old one or the new one, read with the format checked."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from rig.errors import StorageError
from rig.model import Json

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_READ_ONLY = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})


def remedy(campaign: Path) -> str:
    """What to do when a campaign's disk refuses."""
    return f"free space and run `rig resume {campaign}`"


def refused(path: Path, error: OSError, *, campaign: Path) -> StorageError:
    """The error of a write that the disk refused: which file, why, and what to do."""
    if error.errno in _FULL:
        advice = f"; {remedy(campaign)}"
    elif error.errno in _READ_ONLY:
        advice = f"; make the folder writable and run `rig resume {campaign}`"
    else:
        advice = ""
    return StorageError(f"{path}: {error.strerror}{advice}")


def write_whole(path: Path, data: bytes, *, campaign: Path, sync_name: bool = True) -> None:
    """Replace `path` by `data`: after a crash at any moment there is the old file or the new one, never a part.

    It is also durable on return, unless `sync_name` is false because another file in the same folder follows, which is.

    Raises:
        StorageError: the disk refuses; the old file stands.
    """
    new = path.with_name(path.name + ".new")
    try:
        with new.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
        if sync_name:
            sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            new.unlink()
        raise refused(path, error, campaign=campaign) from error


def sync_folder(folder: Path) -> None:
    """Bring the names in `folder` to the disk; without this a new file may vanish with its contents intact."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: Path, form: str, value: Mapping[str, Json], *, campaign: Path, sync_name: bool = True) -> None:
    """Write a JSON file of the format `form`, indented for people, keys sorted for comparison.

    Raises:
        StorageError: as `write_whole`.
    """
    text = json.dumps({"format": form, **value}, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    write_whole(path, text.encode("utf-8", "backslashreplace") + b"\n", campaign=campaign, sync_name=sync_name)


def read_json(path: Path, form: str) -> dict[str, Json]:
    """The contents of a JSON file without its format mark.

    Raises:
        StorageError: the file is missing, is not JSON, or is of another format or version than `form`.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from error
    return parse_json(data, path, form)


def parse_json(data: bytes | str, path: Path, form: str) -> dict[str, Json]:
    """What stands in `data`, read from `path`, without its format mark; raises `StorageError` as `read_json`."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise StorageError(f"{path}: not JSON: {error}") from error
    if not isinstance(value, dict) or value.get("format") != form:
        found = value.get("format") if isinstance(value, dict) else None
        raise StorageError(f"{path}: the format is {found!r}; this version of rig reads {form!r}")
    del value["format"]
    return value


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file.

    Raises:
        StorageError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from error
