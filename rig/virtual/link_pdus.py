"""What link layers say to each other: data channel PDUs, control PDUs, error codes (Core Specification Vol 6 Part B 2.4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rig.virtual.air import Phy
from rig.virtual.channel_map import ChannelMap

CONNECTION_TIMEOUT = 0x08
REMOTE_USER_TERMINATED = 0x13
LOCAL_HOST_TERMINATED = 0x16
MIC_FAILURE = 0x3D
FAILED_TO_ESTABLISH = 0x3E
PIN_OR_KEY_MISSING = 0x06

DEFAULT_OCTETS = 27
"""Payload of a data packet before LL_LENGTH_REQ."""
MAX_OCTETS = 251


@dataclass(frozen=True, kw_only=True)
class ConnectionParameters:
    """`interval_s` 7.5 ms to 4 s, `latency` 0 to 499 events, `timeout_s` 100 ms to 32 s (Vol 4 Part E 7.8.12)."""

    interval_s: float
    latency: int
    timeout_s: float


class Control:
    """An LL control PDU; `octets` is the length of its payload (Vol 6 Part B 2.4.2)."""

    octets: ClassVar[int]


@dataclass(frozen=True)
class Terminate(Control):
    """LL_TERMINATE_IND."""

    octets = 2
    reason: int


@dataclass(frozen=True)
class EncryptionRequest(Control):
    """LL_ENC_REQ.  `key` stands for what both ends derive from it: an end with another key cannot decrypt the next packet."""

    octets = 23
    rand: bytes
    ediv: int
    key: bytes


@dataclass(frozen=True)
class EncryptionStart(Control):
    """LL_START_ENC_REQ and what follows, as one packet."""

    octets = 1


@dataclass(frozen=True)
class EncryptionReject(Control):
    """LL_REJECT_EXT_IND for LL_ENC_REQ."""

    octets = 3
    reason: int


@dataclass(frozen=True)
class LengthRequest(Control):
    """LL_LENGTH_REQ, or LL_LENGTH_RSP when it `is_answer`."""

    octets = 9
    max_octets: int
    is_answer: bool = False


@dataclass(frozen=True)
class ParameterRequest(Control):
    """LL_CONNECTION_PARAM_REQ from the peripheral."""

    octets = 24
    parameters: ConnectionParameters


@dataclass(frozen=True)
class ChangeAtInstant(Control):
    """LL_CONNECTION_UPDATE_IND or LL_PHY_UPDATE_IND: what both ends do at the event numbered `instant`."""

    octets = 12
    instant: int
    change: ConnectionParameters | Phy | ChannelMap


@dataclass(frozen=True)
class ChannelMapAtInstant(ChangeAtInstant):
    """LL_CHANNEL_MAP_IND."""

    octets = 8
    change: ChannelMap


@dataclass(slots=True, eq=False)
class Pdu:
    """One data channel PDU.  The last fragment of a host's packet carries the whole of it."""

    octets: int
    data: bytes | None = None
    first: bool = False
    control: Control | None = None
    delivered: bool = False


EMPTY = Pdu(0)
