"""Which clauses of published standards each practice touches.

Relevance, not a claim of conformity.  Sources and how sure each is: docs/practices.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rig.practices.requirement import Practice


@dataclass(frozen=True, kw_only=True)
class Standard:
    """Clauses that one practice touches; empty where none is known.

    `etsi`: ETSI EN 303 645; `nistir`: NISTIR 8259A; `nist`: NIST SP 800-193; `cra`: Regulation (EU) 2024/2847, Annex I;
    `rfc`: RFC 9124.
    """

    etsi: str = ""
    nistir: str = ""
    nist: str = ""
    cra: str = ""
    rfc: str = ""


STANDARDS: Mapping[Practice, Standard] = {
    Practice.SIGNING: Standard(
        etsi="5.3-2, 5.3-7, 5.3-9, 5.3-10, 5.7-1", nistir="Software Update 2", nist="4.1, 4.2.1",
        cra="I(2)(f), II(7)", rfc="REQ.SEC.AUTHENTIC 4.3.4, AUTH.EXEC 4.3.8, IMG.COMPLETE_DIGEST 4.3.15, MFST.CONST 4.3.21",
    ),
    Practice.ENCRYPTION: Standard(
        etsi="5.4-1 (keys)", nistir="Data Protection 1", cra="I(2)(e)", rfc="REQ.SEC.IMG.CONFIDENTIALITY 4.3.12, MFST.CONFIDENTIALITY 4.3.14",
    ),
    Practice.CHANNEL: Standard(
        etsi="5.5-1, 5.5-4, 5.5-5, 5.6-1, 5.3-10", nistir="Logical Access 1-2, Software Update 4", cra="I(2)(d), (e), (f), (j)",
        rfc="REQ.SEC.ACCESS_CONTROL 4.3.13, RIGHTS 4.3.11, AUTH.REMOTE_LOC 4.3.7",
    ),
    Practice.VERSIONS: Standard(
        etsi="5.3-2 (implicitly)", nistir="Software Update 3", nist="4.2.1", cra="I(2)(a), (c)",
        rfc="REQ.SEC.SEQUENCE 4.3.1, COMPATIBLE 4.3.2, EXP 4.3.3, AUTH.PRECURSOR 4.3.9, AUTH.COMPATIBILITY 4.3.10",
    ),
    Practice.RECOVERY: Standard(
        etsi="5.9-1, 5.9-2", nistir="Software Update 3, Device Configuration 3", nist="4.3.1, 4.3.2, 4.4.1, 4.4.2",
        cra="I(2)(b), (h), (k)", rfc="THREAT.IMG.FORMAT 4.2.4, IMG.LOCATION 4.2.5",
    ),
    Practice.LOGGING: Standard(
        etsi="5.7-2, 5.10-1", nistir="Cybersecurity State Awareness 1-5", nist="4.3", cra="I(2)(l)", rfc="REQ.SEC.REPORTING 4.3.16",
    ),
    Practice.TIMELY: Standard(
        etsi="5.3-4, 5.3-5, 5.3-8, 5.3-13, 5.2-2", nistir="Software Update 1, 6a", cra="I(2)(c), II(2), (7), (8)", rfc="REQ.SEC.EXP 4.3.3",
    ),
    Practice.DOWNTIME: Standard(etsi="5.3-12, 5.9-1, 5.9-2", cra="I(2)(h), (i)", rfc="REQ.USE.MFST.PRE_CHECK"),
    Practice.AWARENESS: Standard(
        etsi="5.3-3, 5.3-6, 5.3-11, 5.3-12, 5.3-13, 5.3-16", nistir="Software Update 6b", cra="I(2)(c), II(4), (8)", rfc="REQ.USE.MFST.TEXT",
    ),
    Practice.CRYPTO: Standard(etsi="5.3-7, 5.5-1, 5.5-2, 5.5-3", nistir="Data Protection 1", nist="4.1", cra="I(2)(e)"),
    Practice.KEYS: Standard(
        etsi="5.4-1, 5.4-2, 5.4-3, 5.4-4, 5.6-4", nistir="Data Protection, Device Identification", nist="4.1, 4.2.2",
        cra="I(2)(e), (j), (k)", rfc="REQ.SEC.KEY.PROTECTION 4.3.17, KEY.ROTATION 4.3.18",
    ),
}  # fmt: skip
