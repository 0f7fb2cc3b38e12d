"""The operations of an update as a strip: one place for each in the order of the update, a lane for each kind, loud where none was struck."""

from __future__ import annotations

from markupsafe import Markup

from rig.coverage import Known, Site
from rig.model import OperationKind
from rig.report.cutmap import Segment, bands, failure_mark, share_out
from rig.report.operations import Operations
from rig.report.svg import Svg, ticks
from rig.report.words import count

_WIDTH, _LEFT, _TOP, _LANE, _LEGEND = 1112.0, 168.0, 50.0, 25.0, 40.0
KINDS = {OperationKind.ERASE: "page erase", OperationKind.WRITE: "page write", OperationKind.STATUS: "status write"}
"""What an operation does, in words."""


def strip(of: Operations, name: str) -> Markup:
    """The figure; `name` makes its identifiers unique within the page."""
    known = of.coverage.known
    hits = [one for one in known if of.coverage.hits[one.site]]
    lanes = [kind for kind in KINDS if any(one.kind is kind for one in known)]
    bottom = _TOP + _LANE * len(lanes)
    figure = Svg(
        _WIDTH, bottom + _LEGEND, classes="fig map", name=name, title=f"Flash operations of {of.scenario} on {of.soc}",
        text=f"{len(hits)} of {count(len(known), 'operation')} struck by a proved cut.",
    )  # fmt: skip
    parts = _phases(known)
    bands(figure, list(parts.values()))
    for lane, kind in enumerate(lanes):
        top = _TOP + lane * _LANE
        if lane % 2 == 0:
            figure.rect(_LEFT, top, _WIDTH - 16 - _LEFT, _LANE, "stripe")
        figure.text(6, top + 16, KINDS[kind], "lab b")
        mine = [one for one in known if one.kind is kind]
        struck = [_x(one.site, parts) for one in mine if of.coverage.hits[one.site]]
        figure.text(_LEFT - 10, top + 16, f"{len(struck)}/{len(mine)}", "lab s", anchor="end")
        figure.path(ticks([_x(one.site, parts) for one in mine if not of.coverage.hits[one.site]], top + 10, 7), "unc thin")
        figure.path(ticks(struck, top + 4, 17), "ck fwd big")
        for one in mine:
            if one.site in of.failed:
                failure_mark(figure, _x(one.site, parts), top + 12.5, bricked=False)
    for part in parts.values():
        figure.line(part.left, 22, part.left, bottom + 2, "vsep")
    _legend(figure, bottom + 26, failed=bool(of.failed))
    return figure.done()


def _phases(known: tuple[Known, ...]) -> dict[str, Segment]:
    """The part of the axis that each phase has; a phase that begins a second time has another one."""
    last: dict[str, int] = {}
    for one in known:
        place = _place(one.site)
        last[place] = max(last.get(place, 0), one.site.number)
    return share_out({place: float(number) for place, number in last.items()}, {place: count(number, "op") for place, number in last.items()}, power=0.5)


def _place(site: Site) -> str:
    return site.phase.value if site.occurrence == 1 else f"{site.phase.value} #{site.occurrence}"


def _x(site: Site, parts: dict[str, Segment]) -> float:
    part = parts[_place(site)]
    return part.left + (site.number - 0.5) / part.length * (part.right - part.left)


def _legend(figure: Svg, y: float, *, failed: bool) -> None:
    figure.path(f"M{_LEFT:.1f} {y - 11:.1f}v15", "ck fwd big")
    figure.text(_LEFT + 9, y, "struck by a proved cut", "tick")
    figure.path(f"M{_LEFT + 190:.1f} {y - 7:.1f}v7", "unc thin")
    figure.text(_LEFT + 199, y, "never struck", "tick")
    if failed:
        failure_mark(figure, _LEFT + 310, y - 4, bricked=False)
        figure.text(_LEFT + 322, y, "a cut here was followed by a failure", "tick")
