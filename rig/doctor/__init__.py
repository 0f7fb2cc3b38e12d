"""What is installed and usable on this machine, compared with what a boards file needs; and which drivers there are."""

from rig.doctor.catalogue import DriverEntry, list_drivers
from rig.doctor.discover import Discovery, Nearby, discover, lacking
from rig.doctor.examine import Examination, examine
from rig.doctor.finding import Finding, Part, Status
from rig.doctor.first_boards_file import first_boards_file
from rig.doctor.machine import Machine, SerialPort, this_machine
from rig.doctor.needs import needs_of

__all__ = [
    "Discovery",
    "DriverEntry",
    "Examination",
    "Finding",
    "Machine",
    "Nearby",
    "Part",
    "SerialPort",
    "Status",
    "discover",
    "examine",
    "first_boards_file",
    "lacking",
    "list_drivers",
    "needs_of",
    "this_machine",
]
