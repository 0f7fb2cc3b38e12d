"""One run per campaign: a lock that the operating system releases when its holder dies."""

from __future__ import annotations

import fcntl
import json
import os
from datetime import UTC, datetime
from pathlib import Path

from rig.errors import StorageError
from rig.store import disk


class CampaignLock:
    """Held from construction until `close`; the file says who holds it, and stays behind empty.

    The lock itself is the kernel's (`flock`), so a holder that was killed leaves nothing to clean up, and a recycled process
    number cannot be mistaken for it.

    Raises:
        StorageError: another process holds it; the message names its pid and when it started.
    """

    def __init__(self, path: Path, *, campaign: Path) -> None:
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise disk.refused(path, error, campaign=campaign) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            me = {"pid": os.getpid(), "started": datetime.now(UTC).isoformat(timespec="seconds")}
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, json.dumps(me).encode("utf-8"), 0)
        except BlockingIOError:
            holder = _holder(self._file)
            os.close(self._file)
            who = f"process {holder['pid']}, started {holder['started']}," if holder else "another process"
            raise StorageError(f"{campaign}: {who} is running this campaign") from None
        except OSError as error:
            os.close(self._file)
            raise disk.refused(path, error, campaign=campaign) from error

    def close(self) -> None:
        """Let another run have the campaign."""
        os.ftruncate(self._file, 0)
        os.close(self._file)


def _holder(file: int) -> dict[str, object]:
    """Who wrote themselves into the lock file; empty when nobody did."""
    try:
        holder = json.loads(os.pread(file, 4096, 0) or b"{}")
    except ValueError:
        return {}
    return holder if isinstance(holder, dict) and holder.keys() == {"pid", "started"} else {}
