"""What produced a campaign: the state of the source, the command, the versions, the files that were read."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import apsw

from rig import __version__
from rig.store.records import Plan, Provenance

_LIBRARIES = (
    "apsw", "bleak", "bumble", "cbor2", "cryptography", "imgtool", "numpy", "pandas", "pynrfjprog", "pyserial", "smp", "smpclient",
)  # fmt: skip
_GIT_S = 10.0


def collect_provenance(plan: Plan, *, argv: Sequence[str], configs: Mapping[str, str], source: Path) -> Provenance:
    """Describe this run; to be called before any hardware is touched.

    `configs` holds the texts of the boards file and the scenarios by their names; `source` is the folder whose git state counts.
    """
    images = {image.path: image.sha256 for trial in plan.trials for image in (trial.old, trial.new, trial.again) if image}
    status = _git(source, "status", "--porcelain")
    return Provenance(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        argv=tuple(argv),
        seed=plan.seed,
        git_head=(_git(source, "rev-parse", "HEAD") or "").strip(),
        git_dirty=bool(status),
        host=platform.node(),
        platform=platform.platform(),
        versions=versions(),
        images=images,
        configs=dict(configs),
    )


def versions() -> dict[str, str]:
    """The versions of rig, Python, SQLite and of every library that is installed and can change a result."""
    found = {"rig": __version__, "python": platform.python_version(), "sqlite": apsw.sqlitelibversion()}
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _git(folder: Path, *arguments: str) -> str | None:
    """Output of a git command, None where there is no git, no repository, or no answer."""
    try:
        done = subprocess.run(  # noqa: S603 - constant arguments
            ("git", "-C", str(folder), *arguments),  # noqa: S607 - wherever the operator keeps it
            capture_output=True,
            text=True,
            timeout=_GIT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout
