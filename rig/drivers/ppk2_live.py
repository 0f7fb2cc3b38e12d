"""The samples of a Power Profiler Kit II while they arrive, decoded piece by piece."""

from __future__ import annotations

import math
from array import array

import numpy as np
import numpy.typing as npt

from rig.formats import ppk2
from rig.ports import SupplyTrace

_HELD_AT_MOST = 256
"""Words.  Of a stream that never counts on without a break this many are held back, no more: 2.6 ms."""
_DRIFT = 100e-6
"""The kit's clock may be slower than the computer's by this share."""


def trace_of(start_s: float, words: ppk2.Words, amps: npt.NDArray[np.float64]) -> SupplyTrace:
    """Sample words and the currents that they stand for, as the port hands them out."""
    current_ua = array("f")
    current_ua.frombytes((amps * 1e6).astype(np.float32).tobytes())
    return SupplyTrace(start_s=start_s, step_s=ppk2.SAMPLE_S, current_ua=current_ua, logic=ppk2.logic_inputs(words))


class LiveSamples:
    """One stream from its beginning.  Together the blocks hold the samples that a recording of the same stream holds.

    Words whose counter does not go on from the one before wait for the next piece, which shows whether they are corrupt or samples
    have been lost.
    """

    def __init__(self, calibration: ppk2.Calibration) -> None:
        self._calibration = calibration
        self._waiting: ppk2.Words = np.empty(0, dtype=np.uint32)
        """The last word of the block before, and what is held back behind it."""
        self._is_first = True
        self._taken = 0
        self._begun_s = math.inf

    def feed(self, received_s: float, data: bytes, volts: float) -> SupplyTrace:
        """The block that whole words of the stream make, received at `received_s` with the source at `volts`; it may be empty."""
        words = np.concatenate((self._waiting, np.frombuffer(data, dtype="<u4")))
        if not len(words):
            return trace_of(received_s, words, np.empty(0))
        end = _sound(words)
        samples = ppk2.fill_gaps(words[:end]).words
        new = samples if self._is_first else samples[1:]
        self._is_first = False
        self._waiting = words[end - 1 :]
        first, self._taken = self._taken, self._taken + len(new)
        received = self._taken + len(self._waiting) - 1
        self._begun_s = min(self._begun_s + _DRIFT * len(new) * ppk2.SAMPLE_S, received_s - received * ppk2.SAMPLE_S)
        return trace_of(self._begun_s + first * ppk2.SAMPLE_S, new, ppk2.current_amps(new, self._calibration, volts))


def _sound(words: ppk2.Words) -> int:
    """How many of `words`, at least one, can be understood without those that follow."""
    counter = (words >> ppk2.COUNTER_SHIFT) & ppk2.COUNTER_MASK
    is_valid = (words[1:] >> ppk2.RANGE_SHIFT) & ppk2.RANGE_MASK < ppk2.RANGES
    going_on = np.flatnonzero(((counter[1:] - counter[:-1]) & ppk2.COUNTER_MASK == 1) & is_valid)
    end = int(going_on[-1]) + 2 if going_on.size else 1
    return end if len(words) - end <= _HELD_AT_MOST else len(words)
