"""How the running firmware guards its memory."""

from __future__ import annotations

from rig.practices.assess.answer import met, undecided, violated
from rig.practices.requirement import Assessment, Case


def readback_locked(case: Case) -> Assessment:
    """A probe cannot read the unit's memory."""
    seen = case.of("keys.protection")
    if not seen:
        return undecided("the protection was not read")
    if seen[-1].data["readback"]:
        return met("access port protection is on", seen[-1:])
    return violated("access port protection is off: firmware and keys can be read through the debug port", seen[-1:])


def pages_locked(case: Case) -> Assessment:
    """While the application runs, the pages that the product names are write-protected."""
    seen = case.of("keys.protection")
    if not seen:
        return undecided("the protection was not read")
    locked = [(start, start + size) for start, size in seen[-1].data["locked"]]
    bare = [
        region.name for region in case.product.locked
        if not any(start <= region.start and region.start + region.size <= end for start, end in locked)
    ]  # fmt: skip
    if bare:
        return violated(f"not write-protected while the application runs: {', '.join(bare)}", seen[-1:])
    return met(f"{len(case.product.locked)} regions are write-protected", seen[-1:])
