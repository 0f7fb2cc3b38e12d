"""What is installed and usable on this machine, compared with what a boards file needs; and which drivers there are."""

from rig.doctor.catalogue import DriverEntry, list_drivers
from rig.doctor.examine import Examination, examine
from rig.doctor.finding import Finding, Part, Status
from rig.doctor.machine import Machine, SerialPort, this_machine
from rig.doctor.needs import needs_of

__all__ = [
    "DriverEntry",
    "Examination",
    "Finding",
    "Machine",
    "Part",
    "SerialPort",
    "Status",
    "examine",
    "list_drivers",
    "needs_of",
    "this_machine",
]
