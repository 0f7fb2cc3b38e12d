"""A second development kit with the `radio_test` shell on the virtual air: the kit's end of `rig.formats.radio_test`.

It echoes, colours and refuses as Zephyr's shell does, and what it sends disturbs the air.  Left out: receiving, data rates and
patterns other than the defaults, the ramp-up of the radio, completion by TAB, and the one packet that a modulated carrier still ends
after `cancel`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from rig.formats import radio_test
from rig.formats.radio_test import BASE_MHZ, CONFIRMATIONS, MAX_CHANNEL, POWERS_DBM, PROMPT, STARTS, power_word
from rig.model import InterferenceKind
from rig.virtual.interference import Emission, Spectrum
from rig.virtual.wire import DeviceEnd

_GREEN, _RED, _PLAIN = "\x1b[1;32m", "\x1b[1;31m", "\x1b[0m"
_MODULATED_MHZ = 1.0
_DUTY_PACKET_S = 2096e-6
"""One packet of 255 bytes at 1 Mbit/s with what surrounds it, which a duty cycle repeats."""
_KINDS = {command: kind for kind, command in STARTS.items()}


class _RefusedError(Exception):
    """The text is what the shell prints in red."""


class RadioTestKit:
    """The kit on device end `end`, disturbing `spectrum`.

    Args:
        end: the device's end of its serial wire.
        spectrum: the air that it sends on.
        command_latency_s: from the end of a line to its effect and its answer, seconds.
    """

    def __init__(self, end: DeviceEnd, spectrum: Spectrum, *, command_latency_s: float = 2e-3) -> None:
        self._end, self._spectrum = end, spectrum
        self._latency_s = command_latency_s
        self._loop = asyncio.get_running_loop()
        self._line = ""
        self._settings = {"start_channel": 0, "end_channel": MAX_CHANNEL, "time_on_channel": 10, "duty": 50, "power": 0}
        self._sequence: tuple[int, ...] = ()
        self._silence: Callable[[], None] | None = None
        end.listen(self._receive)

    # -------------------------------------------------------------------------------------------------------- the shell
    def _receive(self, t: float, data: bytes) -> None:
        for character in data.decode("ascii", errors="replace"):
            if character in "\r\n":
                line, self._line = self._line, ""
                self._end.send(b"\r\n")
                self._loop.call_at(t + self._latency_s, self._run, line)
            else:
                self._line += character
                self._end.send(character.encode("ascii", errors="replace"))

    def _run(self, line: str) -> None:
        try:
            said = self._obey(line.split())
        except _RefusedError as refused:
            said = f"{_RED}{refused}{_PLAIN}"
        answer = "".join(f"{text}\r\n" for text in said.split("\n") if text)
        self._end.send(f"{answer}{_GREEN}{PROMPT}{_PLAIN}".encode())

    def _obey(self, words: list[str]) -> str:
        if not words:
            return ""
        command, *arguments = words
        match command:
            case radio_test.CANCEL:
                self._cancel()
                return ""
            case radio_test.SHOW:
                return self._shown()
            case radio_test.SHOW_SEQUENCE:
                channels = ", ".join(map(str, self._sequence))
                return f"Channel Sequence length: {len(self._sequence)}\nChannel Sequence: [{channels}]"
            case "start_channel" | "end_channel" | "time_on_channel":
                return self._set(command, arguments)
            case "output_power":
                return self._set_power(arguments)
            case "set_channel_sequence":
                self._sequence = tuple(_number(word, MAX_CHANNEL, "Allowed range for channels is 0 to 80, out of range") for word in arguments)
                return ""
            case _ if command in _KINDS:
                return self._start(_KINDS[command], arguments)
            case _:
                raise _RefusedError(f"{command}: command not found")

    def _set(self, command: str, arguments: list[str]) -> str:
        names = {"start_channel": "Start channel", "end_channel": "End channel", "time_on_channel": "Delay time"}
        if len(arguments) != 1:
            raise _RefusedError(f"{command}: bad parameters count")
        if command == "time_on_channel":
            value = _number(arguments[0], radio_test.MAX_DWELL_MS, "Delay time must be between 0 and 99 ms")
        else:
            value = _number(arguments[0], MAX_CHANNEL, "Channel must be between 0 and 80")
        self._settings[command] = value
        return f"{names[command]} set to: {value}"

    def _set_power(self, arguments: list[str]) -> str:
        levels = {power_word(dbm): dbm for dbm in POWERS_DBM}
        if len(arguments) != 1 or arguments[0] not in levels:
            raise _RefusedError(f"Unknown argument: {' '.join(arguments)}")
        self._settings["power"] = levels[arguments[0]]
        return f"TX power : {self._settings['power']} dBm"

    def _shown(self) -> str:
        settings = self._settings
        return (
            "Parameters:\nData rate: NRF_RADIO_MODE_BLE_1MBIT\n"
            f"TX power : {settings['power']} dBm\nTransmission pattern: TRANSMIT_PATTERN_RANDOM\n"
            f"Start Channel: {settings['start_channel']}\nEnd Channel: {settings['end_channel']}\n"
            f"Time on each channel: {settings['time_on_channel']} ms\nDuty cycle: {settings['duty']} percent"
        )

    # --------------------------------------------------------------------------------------------------------- the radio
    def _start(self, kind: InterferenceKind, arguments: list[str]) -> str:
        emission = self._emission(kind, arguments)
        self._cancel()
        self._silence = self._spectrum.emit(emission)
        said = CONFIRMATIONS.get(kind, "")
        if kind in (InterferenceKind.SWEEP, InterferenceKind.HOP):
            return said
        power = self._settings["power"]
        return f"Requested tx output power: {power} dBm\nTx output power set to: {power} dBm\n{said}"

    def _emission(self, kind: InterferenceKind, arguments: list[str]) -> Emission:
        power_dbm, start_mhz = float(self._settings["power"]), BASE_MHZ + self._settings["start_channel"]
        match kind:
            case InterferenceKind.CARRIER:
                return Emission(frequencies_mhz=(start_mhz,), power_dbm=power_dbm)
            case InterferenceKind.MODULATED:
                return Emission(frequencies_mhz=(start_mhz,), power_dbm=power_dbm, width_mhz=_MODULATED_MHZ)
            case InterferenceKind.DUTY_CYCLE:
                return self._duty_cycle(start_mhz, power_dbm, arguments)
            case InterferenceKind.SWEEP:
                steps = tuple(range(start_mhz, BASE_MHZ + max(self._settings["end_channel"], self._settings["start_channel"]) + 1))
                dwell_s = max(self._settings["time_on_channel"], 1) / 1e3
                return Emission(frequencies_mhz=steps, power_dbm=power_dbm, on_s=dwell_s, every_s=len(steps) * dwell_s)
            case InterferenceKind.HOP:
                return self._hop(power_dbm, arguments)

    def _duty_cycle(self, start_mhz: int, power_dbm: float, arguments: list[str]) -> Emission:
        if len(arguments) != 1:
            raise _RefusedError(f"{STARTS[InterferenceKind.DUTY_CYCLE]}: bad parameters count.")
        duty = _number(arguments[0], radio_test.MAX_DUTY_PERCENT, "Duty cycle must be between 1 and 90.")
        self._settings["duty"] = duty
        every_s = _DUTY_PACKET_S * 100 / max(duty, 1)
        return Emission(
            frequencies_mhz=(start_mhz,), power_dbm=power_dbm, width_mhz=_MODULATED_MHZ, on_s=_DUTY_PACKET_S, every_s=every_s
        )

    def _hop(self, power_dbm: float, arguments: list[str]) -> Emission:
        if len(arguments) != 2 or not self._sequence:
            raise _RefusedError(f"{STARTS[InterferenceKind.HOP]}: bad parameters count")
        burst_us, pause_us = (_number(word, radio_test.MAX_TIME_US, "Too long time") for word in arguments)
        if burst_us < radio_test.MIN_BURST_US or pause_us < radio_test.MIN_PAUSE_US:
            raise _RefusedError("Too short tx or sleep time")
        mhz = tuple(BASE_MHZ + channel for channel in self._sequence)
        every_s = len(mhz) * (burst_us + pause_us) * 1e-6
        return Emission(frequencies_mhz=mhz, power_dbm=power_dbm, width_mhz=_MODULATED_MHZ, on_s=burst_us * 1e-6, every_s=every_s)

    def _cancel(self) -> None:
        if self._silence is not None:
            self._silence()
            self._silence = None


def _number(word: str, highest: int, refusal: str) -> int:
    if not word.isdecimal() or int(word) > highest:
        raise _RefusedError(refusal)
    return int(word)
