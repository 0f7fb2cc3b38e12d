"""What the bootloader makes of flash that somebody has changed."""

from __future__ import annotations

from rig.practices.assess.answer import met, undecided, violated
from rig.practices.requirement import Assessment, Case


def tampered_image_rests(case: Case) -> Assessment:
    """An image of which one bit was changed in flash is not started."""
    seen = case.of("image.tampered")
    if not seen:
        return undecided("no bit of the running image was changed")
    if seen[-1].data["served"] or seen[-1].data["started"]:
        return violated("the application was started although a bit of it had been changed in flash", seen[-1:])
    return met("the application with a changed bit was not started", seen[-1:])


def stored_packet_checked(case: Case) -> Assessment:
    """An init packet that lies in the settings page is trusted no more than one that was just sent."""
    seen = case.of("image.planted")
    if not seen:
        return undecided("no init packet was planted")
    if seen[-1].data["accepted"]:
        return violated("firmware was accepted under a forged init packet that had been planted in the settings page", seen[-1:])
    return met(f"the planted init packet was refused: {seen[-1].data['answer']}", seen[-1:])


def says_when_empty(case: Case) -> Assessment:
    """A bootloader without an image offers an update or says so; it does not just hang."""
    seen = case.of("image.absent")
    if not seen:
        return undecided("the image was not erased")
    if not seen[-1].data["signs"]:
        return violated("without an application the device is silent: no DFU mode, no word on the console", seen[-1:])
    return met(f"without an application: {', '.join(seen[-1].data['signs'])}", seen[-1:])
