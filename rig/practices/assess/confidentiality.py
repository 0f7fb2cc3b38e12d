"""Whether anything of an encrypted image, or its key, shows."""

from __future__ import annotations

from rig.practices.assess.answer import met, undecided, violated
from rig.practices.requirement import Assessment, Case


def nothing_plain_in_flash(case: Case) -> Assessment:
    """Neither the old nor the new image, nor a key, lies readable outside the place that runs."""
    seen = case.of("encryption.flash")
    plain, keys = sum(event.data["plain"] for event in seen), sum(event.data["keys"] for event in seen)
    if plain or keys:
        what = f"{plain} pieces of firmware in clear" if plain else "the key of the image"
        return violated(f"{what} lie outside the slot that runs", seen)
    if not seen or not seen[-1].data["compared"] or not seen[-1].data["keys_known"]:
        return undecided("the flash was not searched, or there was nothing to search it for")
    return met(f"none of {seen[-1].data['compared']} pieces of the firmware lies outside the slot that runs", seen)


def nothing_plain_on_air(case: Case) -> Assessment:
    """No piece of the firmware was sent in clear."""
    seen = case.of("encryption.air")
    if not seen or not seen[-1].data["octets"]:
        return undecided("nothing that was sent was captured")
    data = seen[-1].data
    if data["plain"]:
        return violated(f"{data['plain']} of {data['compared']} pieces of the firmware went over the air in clear", seen[-1:])
    return met(f"none of {data['compared']} pieces of the firmware is among {data['octets']} bytes sent", seen[-1:])


def no_key_in_logs(case: Case) -> Assessment:
    """The image key appears nowhere in the console's output."""
    seen = case.of("encryption.console")
    if not seen or not seen[-1].data["octets"] or not seen[-1].data["keys_known"]:
        return undecided("the console printed nothing, or there was no key to search for")
    if seen[-1].data["hits"]:
        return violated("the console printed the key of the image", seen[-1:])
    return met(f"no key among {seen[-1].data['octets']} bytes of console output", seen[-1:])
