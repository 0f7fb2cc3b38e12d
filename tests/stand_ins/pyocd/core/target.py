"""A stand-in for `pyocd.core.target`."""

import enum


class Target:
    class ResetType(enum.Enum):
        SYSRESETREQ = 6
