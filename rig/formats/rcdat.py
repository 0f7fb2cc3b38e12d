"""The commands of Mini-Circuits' programmable attenuators (RCDAT, RC4DAT …) over HTTP: the path of a GET, and plain text back.

Source: Mini-Circuits' programming manual for programmable attenuators, known here by what public drivers make of it.  Sure: the
commands, a step of 0.25 dB, the answers to `SETATT`.  Not sure: how exactly an unknown command is worded (``-99`` at the beginning is).
"""

from __future__ import annotations

from enum import IntEnum

STEP_DB = 0.25
MAX_CHANNEL = 8
UNKNOWN_COMMAND = "-99"


class SetAnswer(IntEnum):
    """What an attenuator answers to `SETATT`."""

    FAILED = 0
    DONE = 1
    CLIPPED = 2


def set_path(db: float, channel: int | None) -> str:
    """The path that sets `db`; `channel` counts from 1, None for a model with one channel.

    Raises:
        ValueError: `db` is negative or no multiple of 0.25.
    """
    if db < 0 or db % STEP_DB:
        raise ValueError(f"{db:g} dB is no attenuation that can be set; steps are {STEP_DB:g} dB from 0 on")
    return f"/:SETATT={db:.2f}" if channel is None else f"/:CHAN:{channel}:SETATT:{db:.2f}"


def query_path(channel: int | None) -> str:
    """The path that asks for the attenuation."""
    return "/:ATT?" if channel is None else f"/:CHAN:{channel}:ATT?"


def attenuation(text: str) -> float | None:
    """The attenuation in an answer to `query_path`, dB; None when it holds none."""
    try:
        db = float(text)
    except ValueError:
        return None
    return db if 0 <= db < 200 else None
