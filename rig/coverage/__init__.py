"""Flash operations: which an update makes, which a cut has struck, and which never.  Pure: journals in, numbers out.

An operation is known by its phase, by which time that phase began, and by its number in there, counted from 1.  Cuts are credited to the
operation that the measured fall of the supply struck, not to the one that was aimed at.
"""

from rig.coverage.known import Known, Reference, Site, known_operations, locate, purpose
from rig.coverage.places import following, recognised
from rig.coverage.shots import Shot, shot_of
from rig.coverage.table import Cell, Coverage, coverage, cuts_until

__all__ = [
    "Cell",
    "Coverage",
    "Known",
    "Reference",
    "Shot",
    "Site",
    "coverage",
    "cuts_until",
    "following",
    "known_operations",
    "locate",
    "purpose",
    "recognised",
    "shot_of",
]
