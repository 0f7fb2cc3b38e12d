"""Everything that can go wrong, ordered by whose fault it was.

RigError
 ├── ConfigError        the operator: a file or an argument is wrong; nothing has been touched
 ├── StorageError       the host: a campaign folder cannot be written or read
 ├── InstrumentError    the rig: an instrument is absent, hung or lies
 └── DutError           the device under test did something, or failed to do something
      ├── LinkLost      the BLE link to it ended
      ├── NotFound      it did not advertise in time
      ├── NoReply       it is connected but did not answer in time
      ├── MalformedReply  it answered something that makes no sense
      └── Refused       it answered with an error code

A verdict follows from the branch: ConfigError ends the command with exit code 3, InstrumentError and StorageError make a trial
ERROR, DutError is evidence for the judge.  Vendor exceptions are translated into this tree once, at the edge of a driver.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class RigError(Exception):
    """Root of every error that `rig` raises on purpose."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One mistake in a file: where it is, which key, why it is wrong, and what to do about it.

    `line` and `column` count from 1; 0 means that the place is unknown.
    """

    file: str
    line: int = 0
    column: int = 0
    key: str = ""
    reason: str
    hint: str = ""
    excerpt: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        text = f"{place}: {self.key + ': ' if self.key else ''}{self.reason}"
        for extra in (self.excerpt, self.hint):
            if extra:
                text += f"\n    {extra}"
        return text


class ConfigError(RigError):
    """The operator's input is wrong.  Carries all problems at once, so that one run of `rig check` shows them all."""

    def __init__(self, problems: Sequence[Problem] | str) -> None:
        self.problems: tuple[Problem, ...] = () if isinstance(problems, str) else tuple(problems)
        super().__init__(problems if isinstance(problems, str) else "\n".join(map(str, problems)))


class StorageError(RigError):
    """A campaign folder cannot be written or read: disk full, read-only, another schema version."""


class InstrumentError(RigError):
    """An instrument of the rig is absent, hung, or answered nonsense.  Never evidence against the device.

    `instrument` names it as the boards file does, for instance ``dk1.supply``.
    """

    def __init__(self, instrument: str, reason: str, *, hint: str = "") -> None:
        self.instrument, self.reason, self.hint = instrument, reason, hint
        super().__init__(f"{instrument}: {reason}" + (f"; {hint}" if hint else ""))


class DutError(RigError):
    """The device under test misbehaved as seen from outside."""


class LinkLost(DutError):
    """The BLE link ended.  `reason` is the HCI error code (Core Specification Vol 1 Part F) where the stack tells it."""

    def __init__(self, reason: int | None = None) -> None:
        self.reason = reason
        super().__init__("the link was lost" + (f" (HCI reason 0x{reason:02x})" if reason is not None else ""))


class NotFound(DutError):
    """The device did not advertise within the time given."""


class NoReply(DutError):
    """The device is connected and did not answer a named request within its limit."""

    def __init__(self, request: str, timeout_s: float) -> None:
        self.request, self.timeout_s = request, timeout_s
        super().__init__(f"no reply to {request} within {timeout_s:g} s")


ATT_GROUP = -1
"""`Refused.group` of an ATT error (Core Specification Vol 3 Part F 3.4.1.1)."""
PAIRING_GROUP = -3
"""`Refused.group` of a pairing that failed; the code is the Security Manager's reason (Vol 3 Part H 3.5.5)."""


class Refused(DutError):
    """The device answered with an error code.  `group` and `code` are the protocol's own numbers; `name` is its text."""

    def __init__(self, request: str, *, group: int, code: int, name: str) -> None:
        self.request, self.group, self.code, self.name = request, group, code, name
        super().__init__(f"{request} was refused: {name} (group {group}, code {code})")


class MalformedReply(DutError):
    """The device sent something that is no answer to `request`.  `data` is what it sent, in full."""

    def __init__(self, request: str, data: bytes, reason: str) -> None:
        self.request, self.data, self.reason = request, data, reason
        shown = data[:32].hex(" ") + (f" … ({len(data)} bytes)" if len(data) > 32 else "")
        super().__init__(f"{request}: {reason}; received {shown or 'no bytes'}")
