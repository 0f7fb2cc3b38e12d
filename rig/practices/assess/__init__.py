"""From a finished trial to whether it shows a requirement met.  Pure functions over the journal, in the words of docs/practices.md.

None means that this trial does not tell: what it was to show did not happen, or something else went wrong before.
"""

from __future__ import annotations

from rig.practices.assess.channel import leaves_dfu_mode, needs_subscription, owner_admitted, stranger_refused, survives_malformed
from rig.practices.assess.confidentiality import no_key_in_logs, nothing_plain_in_flash, nothing_plain_on_air
from rig.practices.assess.durations import boots_fast, link_holds, short_downtime, spares_flash, update_in_time, verifies_fast
from rig.practices.assess.protection import pages_locked, readback_locked
from rig.practices.assess.reports import (
    log_kept,
    names_differ,
    receipts_come,
    refusal_has_code,
    refusal_reported,
    result_logged,
    tells_progress,
)
from rig.practices.assess.tampering import says_when_empty, stored_packet_checked, tampered_image_rests
from rig.practices.assess.update import (
    genuine_image_kept,
    genuine_image_runs,
    image_refused,
    no_watchdog_reset,
    resumed_without_gap,
    survives_refusal,
    update_survives,
    user_data_kept,
)

__all__ = [
    "boots_fast",
    "genuine_image_kept",
    "genuine_image_runs",
    "image_refused",
    "leaves_dfu_mode",
    "link_holds",
    "log_kept",
    "names_differ",
    "needs_subscription",
    "no_key_in_logs",
    "no_watchdog_reset",
    "nothing_plain_in_flash",
    "nothing_plain_on_air",
    "owner_admitted",
    "pages_locked",
    "readback_locked",
    "receipts_come",
    "refusal_has_code",
    "refusal_reported",
    "result_logged",
    "resumed_without_gap",
    "says_when_empty",
    "short_downtime",
    "spares_flash",
    "stored_packet_checked",
    "stranger_refused",
    "survives_malformed",
    "survives_refusal",
    "tampered_image_rests",
    "tells_progress",
    "update_in_time",
    "update_survives",
    "user_data_kept",
    "verifies_fast",
]
