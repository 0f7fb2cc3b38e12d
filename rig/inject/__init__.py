"""Arms the faults of a programme, delivers them, and proves from independent evidence that each happened.

Requested, delivered and proved are three events, for every kind.  One small module per kind of fault; `registry` names them.
"""

from rig.inject.injector import Injector
from rig.inject.means import HostSide, Means

__all__ = ["HostSide", "Injector", "Means"]
