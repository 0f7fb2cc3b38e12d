"""The text protocol of a power switch on a serial port, spoken by `rig` and by the switch's microcontroller (docs/power-switch.md).

Both directions are lines of printable ASCII, ended by LF, at most `MAX_LINE` bytes without it; CR and empty lines are ignored.
Every command line gets exactly one answer, in order.  Times are decimal microseconds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum, StrEnum

NAME, VERSION = "rig-switch", 1
MAX_LINE = 63
MAX_TIME_US = 60_000_000
"""Longest delay and longest cut."""
MAX_INPUT = 7
CLOCK_MODULUS_US = 1 << 32
"""The switch's clock counts microseconds since its start in 32 bits, and wraps after 71 minutes."""
ANSWER_LIMIT_S = 0.5
"""Longest time from the end of a command to the end of its answer; the reference firmware takes a millisecond."""


class Verb(StrEnum):
    """First word of a command line."""

    ID = "ID?"
    STATE = "STATE?"
    ON = "ON"
    OFF = "OFF"
    CUT = "CUT"
    ARM = "ARM"


_DELAY, _DURATION, _INPUT = (0, MAX_TIME_US), (1, MAX_TIME_US), (0, MAX_INPUT)
ARGUMENTS: dict[Verb, tuple[tuple[int, int], ...]] = {
    Verb.ID: (),
    Verb.STATE: (),
    Verb.ON: (),
    Verb.OFF: (),
    Verb.CUT: (_DELAY, _DURATION),
    Verb.ARM: (_INPUT, _DELAY, _DURATION),
}
"""Lowest and highest value of each argument: an input's number, a delay in µs, a duration in µs."""


class ErrorCode(IntEnum):
    """Why a switch refuses a command."""

    UNKNOWN_COMMAND = 1
    WRONG_ARGUMENTS = 2
    OUT_OF_RANGE = 3
    BUSY = 4
    OUTPUT_IS_OFF = 5


class Activity(StrEnum):
    """What a switch has still to do by itself: nothing, a timed cut, or a cut at the next edge of an input."""

    IDLE = "IDLE"
    CUT = "CUT"
    ARMED = "ARMED"


@dataclass(frozen=True, kw_only=True)
class Command:
    """One command line."""

    verb: Verb
    arguments: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Answer to ID?.  `kind` says what switches: fet, relay, or what the builder calls it."""

    version: int
    kind: str


@dataclass(frozen=True, kw_only=True)
class State:
    """Answer to every other command: the output once the command was obeyed, when it last changed, and what is still to come.

    `edge_us` is the switch's own clock, 0 to 2^32 - 1; 0 while the output has never changed.
    """

    is_on: bool
    edge_us: int
    activity: Activity


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """The command was not obeyed.  `code` is an `ErrorCode` or a number of the builder's own."""

    code: int
    text: str


Answer = Identity | State | Refusal


class CommandError(ValueError):
    """A line is no command that may be obeyed."""

    def __init__(self, code: ErrorCode, text: str) -> None:
        self.code, self.text = code, text
        super().__init__(f"{code}: {text}")


_IDENTITY = re.compile(rf"OK {NAME} ([0-9]{{1,4}}) ([!-~]{{1,32}})")
_STATE = re.compile(r"OK (ON|OFF) ([0-9]{1,10}) (IDLE|CUT|ARMED)")
_REFUSAL = re.compile(r"ERR ([0-9]{1,4}) ([ -~]*[!-~])")
_NUMBER = re.compile(r"[0-9]{1,10}")


def encode_command(command: Command) -> bytes:
    """The line of `command`, with its LF.

    Raises:
        ValueError: an argument is missing, too many, or out of range.
    """
    _check(command)
    return " ".join((command.verb, *map(str, command.arguments))).encode("ascii") + b"\n"


def decode_command(line: bytes) -> Command:
    """The command in `line`, which comes without its LF.

    Raises:
        CommandError: what the switch has to answer instead of obeying.
    """
    words = _text(line).split(" ")
    try:
        verb = Verb(words[0])
    except ValueError:
        raise CommandError(ErrorCode.UNKNOWN_COMMAND, "unknown command") from None
    if not all(_NUMBER.fullmatch(word) for word in words[1:]):
        raise CommandError(ErrorCode.WRONG_ARGUMENTS, "arguments are not decimal numbers")
    command = Command(verb=verb, arguments=tuple(map(int, words[1:])))
    _check(command)
    return command


def encode_answer(answer: Answer) -> bytes:
    """The line of `answer`, with its LF.

    Raises:
        ValueError: the answer cannot be written as a line that `decode_answer` reads.
    """
    match answer:
        case Identity(version=version, kind=kind):
            text = f"OK {NAME} {version} {kind}"
        case State(is_on=is_on, edge_us=edge_us, activity=activity):
            text = f"OK {'ON' if is_on else 'OFF'} {edge_us} {activity}"
        case Refusal(code=code, text=reason):
            text = f"ERR {int(code)} {reason}"
    line = text.encode("ascii", errors="replace")
    if decode_answer(line) != answer:
        raise ValueError(f"{text!r} is no answer")
    return line + b"\n"


def decode_answer(line: bytes) -> Answer:
    """The answer in `line`, which comes without its LF.

    Raises:
        ValueError: it is none.
    """
    text = line.decode("ascii", errors="replace") if len(line) <= MAX_LINE else ""
    if found := _IDENTITY.fullmatch(text):
        return Identity(version=int(found[1]), kind=found[2])
    if (found := _STATE.fullmatch(text)) and int(found[2]) < CLOCK_MODULUS_US:
        return State(is_on=found[1] == "ON", edge_us=int(found[2]), activity=Activity(found[3]))
    if found := _REFUSAL.fullmatch(text):
        return Refusal(code=int(found[1]), text=found[2])
    raise ValueError(f"no answer of a {NAME}: {line[:MAX_LINE]!r}")


def _text(line: bytes) -> str:
    if len(line) > MAX_LINE or not line.isascii():
        raise CommandError(ErrorCode.UNKNOWN_COMMAND, "too long or not ASCII")
    return line.decode("ascii")


def _check(command: Command) -> None:
    limits = ARGUMENTS[command.verb]
    if len(command.arguments) != len(limits):
        raise CommandError(ErrorCode.WRONG_ARGUMENTS, f"{command.verb} takes {len(limits)} arguments")
    for value, (low, high) in zip(command.arguments, limits, strict=True):
        if not low <= value <= high:
            raise CommandError(ErrorCode.OUT_OF_RANGE, f"{value} is not within {low} to {high}")


class LineBuffer:
    """Cuts a stream of bytes into lines: without LF and CR, and without those that are empty.

    Of a line that is too long only its first `MAX_LINE` + 1 bytes are kept, enough for either side to see that it is.
    """

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that `data` ends."""
        lines: list[bytes] = []
        for byte in data:
            if byte == 0x0A:
                if self._rest:
                    lines.append(bytes(self._rest))
                self._rest.clear()
            elif byte != 0x0D and len(self._rest) <= MAX_LINE:
                self._rest.append(byte)
        return lines
