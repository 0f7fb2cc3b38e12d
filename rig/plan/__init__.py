"""From scenarios, boards and repetitions to trials.  Every random draw of a campaign happens here, from one recorded seed."""

from rig.plan.aiming import Aiming
from rig.plan.deal import Dealt, plan
from rig.plan.rounds import Progress, next_aims, next_round, targets

__all__ = ["Aiming", "Dealt", "Progress", "next_aims", "next_round", "plan", "targets"]
