"""The USB protocol of Nordic's Power Profiler Kit II: commands, calibration text, sample words.

There is no published specification; byte values, word layout and the conversion formula are facts read from Nordic's open-source
Power Profiler application (pc-nrfconnect-ppk, ``src/constants.ts`` and ``src/device/serialDevice.ts``).

A command is its byte followed by its arguments and is not acknowledged.  GET_METADATA is answered by lines ``key: value`` and
``END``.  Between AVERAGE_START and AVERAGE_STOP the instrument streams little-endian 32-bit words, one per 10 µs:
bits 0 to 13 ADC reading, 14 to 16 measuring range, 18 to 23 counter, 24 to 31 logic inputs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from enum import IntEnum

import numpy as np
import numpy.typing as npt

SAMPLE_S = 10e-6
WORD_SIZE = 4
RANGES = 5
ADC_MAX = 0x3FFF
RANGE_SHIFT, RANGE_MASK = 14, 0x7
COUNTER_SHIFT, COUNTER_MASK = 18, 0x3F
LOGIC_SHIFT = 24
VOLTS_PER_COUNT = 4 * 1.8 / 163840
"""Volts across the shunt per count of the ADC reading."""

MIN_MILLIVOLTS, MAX_MILLIVOLTS = 800, 5000

_NOMINAL_OHM = (1031.64, 101.65, 10.15, 0.94, 0.043)

Words = npt.NDArray[np.uint32]


class Command(IntEnum):
    """Command bytes."""

    AVERAGE_START = 0x06
    AVERAGE_STOP = 0x07
    DEVICE_RUNNING_SET = 0x0C
    REGULATOR_SET = 0x0D
    SET_POWER_MODE = 0x11
    GET_METADATA = 0x19


ARGUMENTS = {
    Command.AVERAGE_START: 0,
    Command.AVERAGE_STOP: 0,
    Command.DEVICE_RUNNING_SET: 1,
    Command.REGULATOR_SET: 2,
    Command.SET_POWER_MODE: 1,
    Command.GET_METADATA: 0,
}
"""How many bytes follow each command."""


class PowerMode(IntEnum):
    """Argument of SET_POWER_MODE."""

    AMPERE_METER = 1
    SOURCE_METER = 2


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Constants of one unit, one value per measuring range.

    With x = (4·adc - o)·(1.8/163840)/r, the current in amperes is ug·(x·(gs·x + gi) + s·vdd + i), vdd in volts.
    """

    r: tuple[float, ...]
    gs: tuple[float, ...]
    gi: tuple[float, ...]
    o: tuple[float, ...]
    s: tuple[float, ...]
    i: tuple[float, ...]
    ug: tuple[float, ...]

    def polynomial(self, vdd_v: float) -> npt.NDArray[np.float64]:
        """Coefficients of the current in amperes as a polynomial of the ADC reading: row k belongs to adc**k, one column per range."""
        r, gs, gi, o, s, i, ug = (np.array(getattr(self, field.name), dtype=np.float64) for field in fields(self))
        slope = VOLTS_PER_COUNT / r
        offset = -o * slope / 4
        rows = (offset * (gs * offset + gi) + s * vdd_v + i, slope * (2 * gs * offset + gi), gs * slope**2)
        return np.array(rows, dtype=np.float64) * ug


def regulator_set(millivolts: int) -> bytes:
    """The command that sets the source voltage: big-endian millivolts.

    Raises:
        ValueError: the instrument cannot source that voltage.
    """
    if not MIN_MILLIVOLTS <= millivolts <= MAX_MILLIVOLTS:
        raise ValueError(f"{millivolts} mV is outside {MIN_MILLIVOLTS} to {MAX_MILLIVOLTS} mV")
    return bytes((Command.REGULATOR_SET,)) + millivolts.to_bytes(2, "big")


def format_metadata(calibration: Calibration, *, millivolts: int, mode: PowerMode) -> bytes:
    """The answer to GET_METADATA of a unit that is set to `millivolts` and `mode`."""
    lines = ["Calibrated: 0"]
    for field in fields(Calibration):
        lines += [f"{field.name.upper()}{number}: {value:.12f}" for number, value in enumerate(getattr(calibration, field.name))]
    lines += [f"VDD: {millivolts}", "HW: 9173", f"mode: {mode:d}", "IA: 56", "END"]
    return ("\n".join(lines) + "\n").encode("ascii")


def metadata_is_complete(answer: bytes | bytearray) -> bool:
    """Whether `answer` holds a whole answer to GET_METADATA, perhaps behind left-over samples."""
    start = answer.rfind(b"Calibrated")
    return start >= 0 and b"END" in answer[start:]


def parse_calibration(answer: bytes) -> Calibration:
    """Read the constants in the answer to GET_METADATA, ignoring what precedes it.

    A shunt of 0 or an undefined number stands for the nominal value, as some units leave the factory so.

    Raises:
        ValueError: a line that is needed is missing, or a value is no number.
    """
    text = answer[max(0, answer.rfind(b"Calibrated")) :].decode("ascii", errors="replace")
    values: dict[str, str] = {}
    for line in text.partition("END")[0].splitlines():
        key, _, value = line.partition(":")
        values[key.strip().lower()] = value.strip()
    return Calibration(
        **{field.name: tuple(_constant(values, field.name, number) for number in range(RANGES)) for field in fields(Calibration)}
    )


def _constant(values: dict[str, str], name: str, number: int) -> float:
    key = f"{name}{number}"
    try:
        value = float(values[key])
    except KeyError:
        raise ValueError(f"the line {key!r} is missing") from None
    except ValueError:
        raise ValueError(f"{key} is {values[key]!r}, which is no number") from None
    if math.isinf(value):
        raise ValueError(f"{key} is infinite")
    if name == "r" and not value > 0:
        return _NOMINAL_OHM[number]
    if math.isnan(value):
        return 1.0 if name in ("gi", "ug") else 0.0
    return value


@dataclass(frozen=True, kw_only=True)
class Continuous:
    """Sample words without gaps.  `lost` of them stand for samples that were lost and repeat the word before.

    `ends` holds, for each word that was received, how many samples there were up to and including it; None where nothing was lost.
    """

    words: Words
    lost: int
    ends: npt.NDArray[np.int64] | None


def fill_gaps(words: Words) -> Continuous:
    """Put a repetition of its predecessor wherever the counter shows that samples were lost or a word is corrupt.

    The counter has six bits: of a longer gap only the remainder of a division by 64 is seen here.
    """
    counter = (words >> COUNTER_SHIFT) & COUNTER_MASK
    steps = (counter[1:] - counter[:-1]) & COUNTER_MASK
    odd = np.flatnonzero(steps != 1)
    invalid = np.flatnonzero(((words >> RANGE_SHIFT) & RANGE_MASK) >= RANGES)
    if not odd.size and not invalid.size:
        return Continuous(words=words, lost=0, ends=None)
    missing = np.zeros(len(words), dtype=np.int64)
    missing[odd] = (steps[odd].astype(np.int64) - 1) & COUNTER_MASK
    # A single word whose counter is wrong while the next one continues the old count was corrupt; nothing is missing around it.
    glitch = odd[:-1][(np.diff(odd) == 1) & (((steps[odd[:-1]] + steps[odd[1:]]) & COUNTER_MASK) == 2)]
    missing[glitch] = missing[glitch + 1] = 0
    source = np.arange(len(words))
    bad = np.zeros(len(words), dtype=np.bool_)
    bad[glitch + 1] = bad[invalid] = True
    source[bad] = 0
    source = np.maximum.accumulate(source)
    return Continuous(
        words=words[np.repeat(source, missing + 1)],
        lost=int(missing.sum() + bad.sum()),
        ends=np.arange(1, len(words) + 1) + np.concatenate(([0], np.cumsum(missing)[:-1])),
    )


def current_amps(words: Words, calibration: Calibration, vdd_v: float) -> npt.NDArray[np.float64]:
    """The current in amperes that each word stands for, while the source is set to `vdd_v` volts."""
    constant, linear, square = calibration.polynomial(vdd_v)
    ranges = np.minimum((words >> RANGE_SHIFT) & RANGE_MASK, RANGES - 1).astype(np.intp)
    adc = (words & ADC_MAX).astype(np.float64)
    current: npt.NDArray[np.float64] = square.take(ranges)
    current *= adc
    current += linear.take(ranges)
    current *= adc
    current += constant.take(ranges)
    return current


def logic_inputs(words: Words) -> bytes:
    """The logic inputs at each word, one bit mask per byte."""
    return (words >> LOGIC_SHIFT).astype(np.uint8).tobytes()
