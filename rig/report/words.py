"""Numbers and foreign text as people read them."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal

DASH = "\N{EN DASH}"
"""What stands where there is no number."""

_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def visible(text: str) -> str:
    """`text` with everything that would not show, or that would reorder its surroundings, written out as an escape.

    Names and console lines come from devices; they may hold terminal escapes, direction marks or broken encodings.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escape(char) if unicodedata.category(char) in _HIDDEN else char for char in text)


def encodable(text: str) -> str:
    """`text` without halves of surrogate pairs, which no file format takes and which a broken encoding leaves behind."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def _escape(char: str) -> str:
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def percent(share: float) -> str:
    """A share with two decimals; never 0 or 100 % unless it is exactly that."""
    text = _decimals(100 * share, ROUND_HALF_EVEN)
    if text == "100.00" and share < 1:
        text = "99.99"
    elif text == "0.00" and share > 0:
        text = "0.01"
    return f"{'100' if text == '100.00' else '0' if text == '0.00' else text} %"


def limit(share: float) -> str:
    """A share that somebody wrote down, in percent with the decimals that it needs: ``0.1 %``, ``99 %``."""
    return f"{100 * share:.6g} %"


def at_most(share: float) -> str:
    """An upper bound in percent, rounded up: a bound must not shrink by rounding."""
    return f"{_decimals(100 * share, ROUND_CEILING)} %"


def bounds(low: float, high: float) -> str:
    """An interval in percent without the sign, rounded outwards: ``99.55 to 99.98``."""
    digits = "0.1" if high - low > 0.01 else "0.01"
    return f"{_trimmed(100 * low, digits, ROUND_FLOOR)} to {_trimmed(100 * high, digits, ROUND_CEILING)}"


def _decimals(value: float, rounding: str, digits: str = "0.01") -> str:
    return str(Decimal(repr(value)).quantize(Decimal(digits), rounding=rounding))


def _trimmed(value: float, digits: str, rounding: str) -> str:
    text = _decimals(value, rounding, digits)
    return {"0.0": "0", "0.00": "0", "100.0": "100", "100.00": "100"}.get(text, text)


def seconds(value: float | None) -> str:
    """A duration with three figures or so: ``45 ms``, ``14.2 s``, ``4 min 10 s``, ``3 h 05 min``; a dash for none."""
    if value is None or math.isnan(value):
        return DASH
    if value < 0.9995:
        return f"{value * 1000:.0f} ms"
    if value < 99.95:
        return f"{value:.2f} s" if value < 9.995 else f"{value:.1f} s"
    whole = round(value)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(value / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"


def milliseconds(value: float | None) -> str:
    """A short duration to 10 µs: ``9.17 ms``; a dash for none."""
    return DASH if value is None else f"{value * 1000:.2f} ms"


def offset(nanoseconds: int) -> str:
    """A signed time relative to an instant: ``+41 µs``, ``-0.912 s`` with a true minus sign."""
    size, sign = abs(nanoseconds), "\N{MINUS SIGN}" if nanoseconds < 0 else "+"
    if size == 0:
        return "0"
    if size < 1_000_000:
        return f"{sign}{size / 1e3:.0f} µs"
    if size < 1_000_000_000:
        return f"{sign}{size / 1e6:.1f} ms"
    return f"{sign}{size / 1e9:.3f} s"


def count(number: int, noun: str) -> str:
    """``1 board``, ``3,200 boards``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def phase(name: str | None) -> str:
    """A phase or stratum as a word: ``boot_new`` is ``boot new``; a trial without fault is ``no fault``."""
    if not name:
        return "not known"
    return "no fault" if name == "control" else visible(name.replace("_", " "))


def signed_percent(change: float) -> str:
    """A change in percent with its sign: ``+1.4 %``, a true minus for negative ones."""
    text = f"{abs(100 * change):.1f}"
    sign = "" if text == "0.0" else "+" if change > 0 else "\N{MINUS SIGN}"
    return f"{sign}{text} %"


def hours(value: float) -> str:
    """How long a bench will be busy: ``25 min``, ``3.7 h``, ``2.1 days``."""
    if value < 1:
        return f"{max(1, round(60 * value))} min"
    return f"{value:.1f} h" if value < 48 else f"{value / 24:.1f} days"


def outcome(name: str) -> str:
    """An outcome as a word in a sentence: ``STUCK_ON_OLD`` is ``stuck on old``."""
    return name.lower().replace("_", " ")


def listed(names: Sequence[str], most: int = 6) -> str:
    """Some names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def signed_seconds(value: float) -> str:
    """A change of a duration with its sign: ``+0.46 s``."""
    sign = "+" if value > 0 else "\N{MINUS SIGN}" if value < 0 else ""
    return f"{sign}{seconds(abs(value))}"


SCOPES = {"proved": "with a proved fault", "none": "without fault", "any": "with or without fault"}
"""Which trials a gate looks at, by the word in the gates file."""
