"""The practices of a good over-the-air update, as far as the stored trials prove them."""

from __future__ import annotations

from collections.abc import Mapping

from markupsafe import Markup

from rig.report.stock import Stock


def proven(stock: Stock) -> Mapping[int, bool | None]:
    """Which practices (1 to 11) the trials prove (true) or refute (false); a practice that no trial asked about is missing."""
    del stock
    return {}


def section(stock: Stock) -> Markup:
    """The section of the page; empty where no trial asked about a practice."""
    del stock
    return Markup()
