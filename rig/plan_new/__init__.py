"""From scenarios, boards and repetitions to trials.  Every random draw of a campaign happens here, from one recorded seed."""

from rig.plan.deal import Dealt, plan

__all__ = ["Dealt", "plan"]
