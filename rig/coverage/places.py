"""Where a cut fell in relation to the operations around it: inside one, or at a boundary of one or two.

An operation is struck *inside* between its first and its last tenth.  A cut is *at its boundary* in these tenths; beside it, while no
operation is going on; and in the tenth of the neighbour that borders on it, as long as that is no further away than a tenth of its own
length.  Neighbours follow each other in the same phase.  So a cut between two operations counts for both, however far apart they are,
since flash is then as the one has left it and the other found it; and one just before or after the moment at which a long operation
turns into a short one counts for both when it is close by the measure of the short one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from rig.coverage.known import Known, Site
from rig.coverage.shots import Shot

EDGE = 0.1
"""Share of an operation at either end that is its boundary."""


def recognised(known: Mapping[Site, Known], shot: Shot) -> Shot:
    """`shot`, having met nothing where its operation is not the one of an undisturbed update: another fault came before it."""
    met = shot.struck or shot.after
    if met is None or met not in known or shot.address in (None, known[met].address):
        return shot
    return replace(shot, struck=None, after=None)


def is_inside(shot: Shot) -> bool:
    """Whether the cut fell between the first and the last tenth of what it struck."""
    return shot.struck is not None and EDGE <= shot.progress <= 1 - EDGE


def bordered(known: Mapping[Site, Known], shot: Shot) -> tuple[Site, ...]:
    """The operations at whose boundary the cut fell: none, one or two."""
    if shot.struck is None:
        return () if shot.after is None else (shot.after, *_neighbour(known, shot.after, 1))
    if is_inside(shot):
        return ()
    step, share = (-1, shot.progress) if shot.progress < EDGE else (1, 1 - shot.progress)
    beside = [
        site
        for site in _neighbour(known, shot.struck, step)
        if shot.struck in known and share * known[shot.struck].duration_s <= EDGE * known[site].duration_s
    ]
    return (shot.struck, *beside)


def following(known: Mapping[Site, Known], site: Site) -> Known | None:
    """The operation after `site` in the same phase; None where it is the last, or the next one is not known."""
    return known.get(replace(site, number=site.number + 1))


def _neighbour(known: Mapping[Site, Known], site: Site, step: int) -> tuple[Site, ...]:
    beside = replace(site, number=site.number + step)
    return (beside,) if beside in known else ()
