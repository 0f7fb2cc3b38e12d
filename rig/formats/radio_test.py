"""The shell of Nordic's `radio_test` sample, spoken by `rig` and by a second development kit.

Source: README and commands of ``samples/peripheral/radio_test`` in the nRF Connect SDK, on Zephyr's shell.  A line ends with CR; the
shell echoes what it is sent, colours its answers with escape sequences, and prints its prompt when a command is done.  Channels are
MHz above 2400.  What is uncertain until a real kit has answered: the prompt of a build with a serial port of another name, and whether
an older SDK has `HOP`, which needs `set_channel_sequence` and `start_tx_sweep_with_sleep_modulated`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rig.model import Interference, InterferenceKind

PROMPT = "uart:~$ "
BASE_MHZ, MAX_CHANNEL = 2400, 80
MIN_BURST_US, MIN_PAUSE_US, MAX_TIME_US = 20, 80, 65535
MAX_DWELL_MS = 99
MAX_DUTY_PERCENT = 90
MAX_SEQUENCE = 18
"""A line of Zephyr's shell holds 20 words unless the build says otherwise (CONFIG_SHELL_ARGC_MAX)."""
POWERS_DBM = (8, 7, 6, 5, 4, 3, 2, 0, -4, -8, -12, -16, -20, -40)
"""Levels of an nRF52840 and nRF52833; an nRF52832 has those from 4, 3 and 0 down."""

CANCEL, SHOW, SHOW_SEQUENCE = "cancel", "parameters_print", "print_channel_sequence"
STARTS: Mapping[InterferenceKind, str] = {
    InterferenceKind.CARRIER: "start_tx_carrier",
    InterferenceKind.MODULATED: "start_tx_modulated_carrier",
    InterferenceKind.DUTY_CYCLE: "start_duty_cycle_modulated_tx",
    InterferenceKind.SWEEP: "start_tx_sweep",
    InterferenceKind.HOP: "start_tx_sweep_with_sleep_modulated",
}
CONFIRMATIONS: Mapping[InterferenceKind, str] = {
    InterferenceKind.CARRIER: "Start the TX carrier",
    InterferenceKind.MODULATED: "Start the modulated TX carrier",
    InterferenceKind.SWEEP: "TX sweep",
    InterferenceKind.HOP: "Modulated TX sweep with duty cycle",
}
"""What the shell says to a start; a duty cycle begins without a word."""

_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[78]|\x08|\r|\x00")
_PARAMETERS = {
    "start_channel": re.compile(r"Start Channel: (\d+)"),
    "end_channel": re.compile(r"End Channel: (\d+)"),
    "dwell_ms": re.compile(r"Time on each channel: (\d+) ms"),
    "power_dbm": re.compile(r"TX power ?: (-?\d+) dBm"),
}
_SEQUENCE = re.compile(r"Channel Sequence: \[([\d, ]+)\]")
_REFUSAL = re.compile(r"command not found|Unknown argument|bad parameters count|[Mm]ust be between|[Tt]oo (short|many|long)|out of range")


@dataclass(frozen=True, kw_only=True)
class Program:
    """What a shell is told: `settings` one after the other, then `start`; `expected` is what it must then show."""

    settings: tuple[str, ...]
    start: str
    expected: Mapping[str, int]
    sequence: tuple[int, ...] = ()


def program(interference: Interference) -> Program:
    """The commands for `interference`.

    Raises:
        ValueError: a frequency, the level, the duty or a time is beyond what the sample can do.
    """
    channels = tuple(_channel(mhz) for mhz in interference.frequencies_mhz)
    if not channels:
        raise ValueError("there is no frequency to send on")
    if interference.power_dbm not in POWERS_DBM:
        raise ValueError(f"{interference.power_dbm} dBm is no level of this radio; levels are {', '.join(map(str, POWERS_DBM))}")
    power = (f"output_power {power_word(interference.power_dbm)}", {"power_dbm": interference.power_dbm})
    match interference.kind:
        case InterferenceKind.SWEEP:
            return _sweep(channels, interference.dwell_s, *power)
        case InterferenceKind.HOP:
            return _hop(channels, interference, *power)
        case _:
            return _one_channel(channels, interference, *power)


def _one_channel(channels: tuple[int, ...], interference: Interference, power: str, expected: dict[str, int]) -> Program:
    if len(channels) != 1:
        raise ValueError(f"a {interference.kind} has one frequency, not {len(channels)}")
    start = STARTS[interference.kind]
    if interference.kind is InterferenceKind.DUTY_CYCLE:
        percent = round(interference.duty * 100)
        if not 1 <= percent <= MAX_DUTY_PERCENT:
            raise ValueError(f"a duty cycle of {percent} % is not between 1 and {MAX_DUTY_PERCENT} %")
        start = f"{start} {percent}"
    settings = (f"start_channel {channels[0]}", power)
    return Program(settings=settings, start=start, expected=expected | {"start_channel": channels[0]})


def _sweep(channels: tuple[int, ...], dwell_s: float, power: str, expected: dict[str, int]) -> Program:
    dwell_ms = round(dwell_s * 1e3)
    if channels != tuple(range(channels[0], channels[-1] + 1)):
        raise ValueError("a sweep goes upwards, one MHz after the other")
    if not 1 <= dwell_ms <= MAX_DWELL_MS:
        raise ValueError(f"a sweep stays 1 to {MAX_DWELL_MS} ms on a frequency, not {dwell_s * 1e3:g} ms")
    settings = (f"start_channel {channels[0]}", f"end_channel {channels[-1]}", f"time_on_channel {dwell_ms}", power)
    shown = {"start_channel": channels[0], "end_channel": channels[-1], "dwell_ms": dwell_ms}
    return Program(settings=settings, start=STARTS[InterferenceKind.SWEEP], expected=expected | shown)


def _hop(channels: tuple[int, ...], interference: Interference, power: str, expected: dict[str, int]) -> Program:
    burst_us = round(interference.dwell_s * 1e6)
    pause_us = max(MIN_PAUSE_US, round(burst_us * (1 / interference.duty - 1)) if 0 < interference.duty <= 1 else 0)
    for time_us in (burst_us, pause_us):
        if not MIN_BURST_US <= time_us <= MAX_TIME_US:
            raise ValueError(f"a hop sends and pauses {MIN_BURST_US} to {MAX_TIME_US} µs, not {time_us} µs")
    if len(channels) > MAX_SEQUENCE:
        raise ValueError(f"a hop has at most {MAX_SEQUENCE} frequencies, not {len(channels)}")
    settings = (f"set_channel_sequence {' '.join(map(str, channels))}", power)
    return Program(
        settings=settings, start=f"{STARTS[InterferenceKind.HOP]} {burst_us} {pause_us}", expected=expected, sequence=channels
    )


def power_word(dbm: int) -> str:
    """The shell's name of a level: ``pos8dBm``, ``pos0dBm``, ``neg20dBm``."""
    return f"{'neg' if dbm < 0 else 'pos'}{abs(dbm)}dBm"


def plain(text: str) -> str:
    """`text` without escape sequences, carriage returns and backspaces."""
    return _ESCAPE.sub("", text)


def refusal(lines: Sequence[str]) -> str | None:
    """The line in which the shell refuses a command, if it does."""
    return next((line.strip() for line in lines if _REFUSAL.search(line)), None)


def shown_parameters(lines: Sequence[str]) -> dict[str, int]:
    """The settings in an answer to `SHOW`, as far as it tells them."""
    text = "\n".join(lines)
    return {name: int(found[1]) for name, pattern in _PARAMETERS.items() if (found := pattern.search(text))}


def shown_sequence(lines: Sequence[str]) -> tuple[int, ...]:
    """The channels in an answer to `SHOW_SEQUENCE`; empty when there are none."""
    found = _SEQUENCE.search("\n".join(lines))
    return tuple(int(part) for part in found[1].split(",")) if found else ()


def _channel(mhz: int) -> int:
    if not BASE_MHZ <= mhz <= BASE_MHZ + MAX_CHANNEL:
        raise ValueError(f"{mhz} MHz is not between {BASE_MHZ} and {BASE_MHZ + MAX_CHANNEL} MHz")
    return mhz - BASE_MHZ
