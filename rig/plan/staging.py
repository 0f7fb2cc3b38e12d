"""Which trials may begin with the new image placed by the probe instead of an upload, and which share of them does.

Over SMP the image is placed in the other slot, and everything behind the upload is the device's own work.  Of Secure DFU the probe
places what the bootloader has made of a whole transfer, the request to install included, so that only the installation is left.
"""

from __future__ import annotations

from rig.model import Phase, Protocol
from rig.scenario import Scenario

_TAKES_PART = {
    Protocol.SMP: frozenset(Phase) - {Phase.UPLOAD},
    Protocol.SECURE_DFU: frozenset({Phase.INSTALL, Phase.BOOT_NEW, Phase.CONFIRM, Phase.SETTLE}),
}
_WHEN_AIMED = 0.9
"""Share of the trials with aimed cuts after the upload that begin with the new image in place; the rest take the long way."""


def takes_part(protocol: Protocol, phase: Phase) -> bool:
    """Whether a staged trial goes through `phase` as one with an upload does."""
    return phase in _TAKES_PART[protocol]


def share_when_aimed(scenario: Scenario) -> float:
    """Share of the trials with aimed cuts that are staged, of those whose cut falls where a staged trial takes part."""
    if scenario.staged is not None:
        return scenario.staged
    return _WHEN_AIMED if scenario.staging_obstacle is None else 0.0
