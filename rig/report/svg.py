"""SVG by hand: short, styled by the page's CSS variables, readable without scripts.  Every text is escaped."""

from __future__ import annotations

from markupsafe import Markup, escape

from rig.report.words import visible


class Svg:
    """A figure under construction, as wide and high as said, in its own units."""

    def __init__(
        self, width: float, height: float, *, classes: str = "fig", name: str = "", title: str = "", text: str = "", links: bool = False
    ) -> None:
        """With a `title` the figure is announced by it and described by `text`; without, it is decoration beside a number.

        `name` makes the identifiers unique within the page.  A figure that holds `links` is a group, since an image hides what is in it.
        """
        view = f'viewBox="0 0 {_n(width)} {_n(height)}" class="{classes}"'
        if title:
            self._parts = [
                f'<svg {view} role="{"group" if links else "img"}" aria-labelledby="{name}-t {name}-d"><title id="{name}-t">{_text(title)}</title>'
            ]
            self._parts.append(f'<desc id="{name}-d">{_text(text)}</desc>')
        else:
            self._parts = [f'<svg {view} aria-hidden="true">']

    def line(self, x1: float, y1: float, x2: float, y2: float, style: str) -> None:
        self._parts.append(f'<line class="{style}" x1="{_n(x1)}" y1="{_n(y1)}" x2="{_n(x2)}" y2="{_n(y2)}"/>')

    def rect(self, x: float, y: float, width: float, height: float, style: str, *, hint: str = "") -> None:
        shape = f'<rect class="{style}" x="{_n(x)}" y="{_n(y)}" width="{_n(max(width, 0.4))}" height="{_n(height)}"'
        self._parts.append(f"{shape}><title>{_text(hint)}</title></rect>" if hint else f"{shape}/>")

    def circle(self, x: float, y: float, radius: float, style: str) -> None:
        self._parts.append(f'<circle class="{style}" cx="{_n(x)}" cy="{_n(y)}" r="{_n(radius)}"/>')

    def path(self, commands: str, style: str) -> None:
        if commands:
            self._parts.append(f'<path class="{style}" d="{commands}"/>')

    def text(self, x: float, y: float, text: str, style: str = "", *, anchor: str = "start") -> None:
        self._parts.append(f'<text class="{style}" x="{_n(x)}" y="{_n(y)}" text-anchor="{anchor}">{_text(text)}</text>')

    def open_link(self, target: str, hint: str) -> None:
        """What follows until `close_link` leads to the element `target` of the page."""
        self._parts.append(f'<a href="#{_text(target)}"><title>{_text(hint)}</title>')

    def close_link(self) -> None:
        self._parts.append("</a>")

    def done(self) -> Markup:
        """The figure as markup that needs no more escaping."""
        return Markup("".join(self._parts) + "</svg>")  # noqa: S704 - every text went through escape


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _text(text: str) -> str:
    return str(escape(visible(text)))


def ticks(positions: list[float], top: float, length: float) -> str:
    """One path for many ticks.  Positions closer than half a unit are one tick, so the size is bounded by the width."""
    return "".join(f"M{_n(half / 2)} {_n(top)}v{_n(length)}" for half in sorted({round(position * 2) for position in positions}))
