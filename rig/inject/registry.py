"""Kind of fault → what delivers it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rig.inject.bit_flips import FlipDelivery
from rig.inject.brown_out import BrownOutDelivery
from rig.inject.disorder import DisorderDelivery
from rig.inject.host import HostDelivery
from rig.inject.means import Delivery, Means
from rig.inject.power_cut import CutDelivery
from rig.inject.radio import fade_delivery, interference_delivery
from rig.model import Fault, FaultKind

_DELIVERIES: Mapping[FaultKind, Callable[[Fault, Means], Delivery]] = {
    FaultKind.POWER_CUT: CutDelivery,
    FaultKind.BROWN_OUT: BrownOutDelivery,
    FaultKind.BIT_FLIPS: FlipDelivery,
    FaultKind.LINK_DROP: HostDelivery,
    FaultKind.CLIENT_KILL: HostDelivery,
    FaultKind.ADAPTER_RESET: HostDelivery,
    FaultKind.STALL: HostDelivery,
    FaultKind.REPEAT_REQUESTS: DisorderDelivery,
    FaultKind.REORDER_REQUESTS: DisorderDelivery,
    FaultKind.NEW_ADDRESS: HostDelivery,
    FaultKind.INTERFERENCE: interference_delivery,
    FaultKind.FADE: fade_delivery,
}


def delivery_of(fault: Fault, means: Means) -> Delivery:
    """What delivers `fault`."""
    return _DELIVERIES[fault.kind](fault, means)
