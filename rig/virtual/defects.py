"""The catalogue of known-bad devices: which deliberate mistake violates which practice, and how a virtual board gets it.

``model: {defects: [M25, M47]}`` in a boards file plants them.  A defect is named in the option of its section; `needs` are options
without which it could not show, and yield to what the boards file says; `sets` are options that are the defect.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from rig.errors import ConfigError
from rig.model import Json, Protocol
from rig.virtual import sample_firmware
from rig.virtual.mcuboot.defect import Defect as Mcuboot
from rig.virtual.secure_dfu.defects import Defect as SecureDfu

_App = sample_firmware.Defect
_PAIRING: Mapping[str, Json] = {"security": "authenticated", "passkey": 123456}
_LOGGING: Mapping[str, Json] = {"update_service": True}
_WATCHDOG_S = 2.0
"""Long enough for every step of a good update."""


@dataclass(frozen=True, kw_only=True)
class Plant:
    """What changes in one section of a board's model."""

    section: str
    names: tuple[str, ...] = ()
    needs: Mapping[str, Json] = field(default_factory=dict)
    sets: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class KnownBad:
    """One entry.  `practices` (1 to 11) are those that may be blamed for it; `title` completes "a device that …"."""

    id: str
    title: str
    practices: tuple[int, ...]
    plants: Mapping[Protocol, tuple[Plant, ...]]


def _bootloader(*defects: StrEnum, **needs: Json) -> tuple[Plant, ...]:
    return (Plant(section="bootloader", names=tuple(defect.value for defect in defects), needs=needs),)


def _application(*defects: StrEnum, **needs: Json) -> tuple[Plant, ...]:
    return (Plant(section="application", names=tuple(defect.value for defect in defects), needs=needs),)


OPEN_PORT = (Plant(section="soc", sets={"approtect": False}),)


def _entry(
    identity: str, practices: int | tuple[int, ...], title: str, *, smp: tuple[Plant, ...] = (), secure_dfu: tuple[Plant, ...] = ()
) -> KnownBad:
    plants = {Protocol.SMP: smp, Protocol.SECURE_DFU: secure_dfu}
    return KnownBad(
        id=identity,
        title=title,
        practices=(practices,) if isinstance(practices, int) else practices,
        plants={protocol: how for protocol, how in plants.items() if how},
    )


def _both(identity: str, practices: int | tuple[int, ...], title: str, plants: tuple[Plant, ...]) -> KnownBad:
    return _entry(identity, practices, title, smp=plants, secure_dfu=plants)


CATALOGUE: Mapping[str, KnownBad] = {
    entry.id: entry
    for entry in (
        _entry(
            "M01", 1, "installs images with a wrong signature",
            smp=_bootloader(Mcuboot.NO_SIGNATURE_CHECK),
            secure_dfu=_bootloader(SecureDfu.SIGNATURE_NOT_CHECKED),
        ),
        _entry(
            "M02", 1, "trusts what it stored of an init packet before a reset",
            secure_dfu=_bootloader(SecureDfu.STORED_INIT_NOT_VERIFIED),
        ),
        _entry("M04", 1, "starts an image without checking it", smp=_bootloader(Mcuboot.NO_SLOT0_VALIDATION)),
        _entry(
            "M06", 1, "installs unsigned images",
            smp=_bootloader(Mcuboot.UNSIGNED_ACCEPTED),
            secure_dfu=_bootloader(SecureDfu.UNSIGNED_ACCEPTED),
        ),
        _entry(
            "M07", 1, "accepts debug packets, which skip the checks of version and hardware",
            secure_dfu=_bootloader(SecureDfu.DEBUG_PACKET_ACCEPTED),
        ),
        _entry(
            "M09", 1, "refuses good signatures because of a wrong byte order",
            smp=_bootloader(Mcuboot.DIGEST_REVERSED),
            secure_dfu=_bootloader(SecureDfu.BYTE_ORDER_WRONG),
        ),
        _entry(
            "M12", 2, "installs images in clear although encryption is required",
            smp=_bootloader(Mcuboot.PLAINTEXT_ACCEPTED, encryption="required"),
        ),
        _entry(
            "M15", 2, "leaves the replaced image in clear in the secondary slot",
            smp=_bootloader(Mcuboot.OLD_IMAGE_IN_CLEAR, encryption="required"),
        ),
        _entry(
            "M15b", 2, "leaves the keys of an installation in flash",
            smp=_bootloader(Mcuboot.SWAP_KEY_LEFT, encryption="required", save_enctlv=False),
        ),
        _entry(
            "M16", 2, "installs an image in clear that claims to be encrypted",
            smp=_bootloader(Mcuboot.FALSE_ENCRYPTION_ACCEPTED, encryption="required"),
        ),
        _both(
            "M17", 3, "opens its update services to everybody, although they should be secured",
            _application(_App.OPEN_SERVICES, **_PAIRING),
        ),
        _entry("M18", 3, "lets strangers send it into DFU mode", secure_dfu=_application(_App.UNBONDED_ACCEPTED, bonded=True)),
        _both(
            "M19", 3, "requires pairing and refuses to pair, so that it can never be updated",
            _application(_App.REFUSES_TO_PAIR, **_PAIRING),
        ),
        _entry(
            "M21", 3, "serves the control point before its notifications are enabled",
            secure_dfu=_bootloader(SecureDfu.CONTROL_POINT_WITHOUT_CCCD),
        ),
        _entry(
            "M22", 3, "crashes on malformed requests",
            smp=_application(_App.CRASHES_ON_MALFORMED),
            secure_dfu=_bootloader(SecureDfu.MALFORMED_LENGTH_CRASHES),
        ),
        _entry("M24", 3, "stays open to updates for ever", secure_dfu=_bootloader(SecureDfu.INACTIVITY_TIMER_NEVER_FIRES)),
        _entry(
            "M25", 4, "installs lower versions",
            smp=_bootloader(Mcuboot.DOWNGRADE_ACCEPTED, downgrade_prevention=True),
            secure_dfu=_bootloader(SecureDfu.LOWER_VERSION_ACCEPTED, downgrade_prevention=True),
        ),
        _entry(
            "M25b", 4, "ignores the security counter",
            smp=_bootloader(Mcuboot.SECURITY_COUNTER_IGNORED, security_counter=True),
        ),
        _entry(
            "M25c", 4, "raises the security counter before the new image has proved itself",
            smp=_bootloader(Mcuboot.SECURITY_COUNTER_EARLY, security_counter=True),
        ),
        _entry(
            "M26", 4, "installs the same version again, although only newer ones are allowed",
            smp=_bootloader(Mcuboot.EQUAL_VERSION_ACCEPTED, downgrade_prevention=True, equal_version="refused"),
            secure_dfu=_bootloader(SecureDfu.EQUAL_VERSION_ACCEPTED, downgrade_prevention=True, accept_same_version=False),
        ),
        _entry(
            "M29", 4, "installs firmware for other hardware",
            secure_dfu=_bootloader(SecureDfu.WRONG_HARDWARE_VERSION_ACCEPTED),
        ),
        _entry(
            "M29b", 4, "installs firmware for another SoftDevice",
            secure_dfu=_bootloader(SecureDfu.SOFTDEVICE_REQUIREMENT_IGNORED),
        ),
        _entry(
            "M30", 4, "ignores that an image depends on another",
            smp=_bootloader(Mcuboot.DEPENDENCY_IGNORED, other_images={1: "1.0.0"}),
        ),
        _entry(
            "M33", 5, "gives up the old application before the new one has been checked",
            secure_dfu=_bootloader(SecureDfu.BANK0_ERASED_BEFORE_VALIDATION),
        ),
        _entry("M34", 5, "keeps no backup of its settings", secure_dfu=_bootloader(SecureDfu.SETTINGS_WITHOUT_BACKUP)),
        _entry("M35", 5, "reports a success that it has not stored", secure_dfu=_bootloader(SecureDfu.SUCCESS_NOT_STORED)),
        _entry(
            "M37", 5, "marks an image for installation before its hash is checked",
            secure_dfu=_bootloader(SecureDfu.BANK1_VALID_BEFORE_HASH),
        ),
        _entry(
            "M39", 5, "loses its place in an interrupted installation",
            smp=_bootloader(Mcuboot.STATUS_BEFORE_COPY),
            secure_dfu=_bootloader(SecureDfu.ACTIVATION_PROGRESS_NOT_STORED),
        ),
        _entry(
            "M39b", 5, "forgets an interrupted installation",
            smp=_bootloader(Mcuboot.OVERWRITE_REQUEST_FIRST, mode="overwrite-only"),
        ),
        _entry("M40", 5, "erases the scratch area while it holds the only copy", smp=_bootloader(Mcuboot.SCRATCH_ERASED_EARLY)),
        _entry("M42", 5, "keeps a new image before its self-test", smp=_application(_App.CONFIRMS_TOO_EARLY)),
        _entry("M42b", 5, "never keeps a new image", smp=_application(_App.NEVER_CONFIRMS)),
        _entry("M43", 5, "does not go back to the old image", smp=_bootloader(Mcuboot.NO_REVERT)),
        _entry(
            "M45", 5, "is reset by its own watchdog during an update",
            smp=_bootloader(Mcuboot.WATCHDOG_NOT_FED, watchdog_s=_WATCHDOG_S),
            secure_dfu=_bootloader(SecureDfu.WATCHDOG_NOT_FED, watchdog_s=_WATCHDOG_S),
        ),
        _entry(
            "M46", 5, "hangs when there is no valid image to start",
            smp=_bootloader(Mcuboot.HANG_WITHOUT_IMAGE),
            secure_dfu=_bootloader(SecureDfu.HANG_WITHOUT_APPLICATION, requires_bonds=False),
        ),
        _entry(
            "M47", 5, "loses the user's data when it installs an update",
            smp=_bootloader(Mcuboot.USER_DATA_ERASED),
            secure_dfu=_bootloader(SecureDfu.USER_DATA_ERASED),
        ),
        _both("M47b", 5, "loses the user's data when it accepts an update", _application(_App.USER_DATA_ERASED)),
        _entry("M50", 5, "skips a part of the image when an upload is resumed", smp=_application(_App.RESUMES_TOO_FAR)),
        _entry("M52", 5, "counts packets that it has dropped", secure_dfu=_bootloader(SecureDfu.DROPPED_PACKETS_COUNTED)),
        _entry(
            "M58", 5, "wears its flash out",
            smp=_bootloader(Mcuboot.ERASES_TWICE),
            secure_dfu=_bootloader(SecureDfu.SETTINGS_WRITTEN_PER_OBJECT),
        ),
        _both("M59", 6, "keeps no record of updates", _application(_App.NO_UPDATE_LOG, **_LOGGING)),
        _entry("M62", 6, "does not say why it refuses an update", secure_dfu=_bootloader(SecureDfu.GENERIC_ERROR)),
        _entry("M63", 6, "reports a checksum that never changes", secure_dfu=_bootloader(SecureDfu.CRC_CONSTANT)),
        _entry("M63b", 6, "never reports progress", secure_dfu=_bootloader(SecureDfu.RECEIPTS_NEVER_SENT)),
        _both("M65", 6, "forgets its record of updates at every reset", _application(_App.LOG_IN_RAM, **_LOGGING)),
        _entry("M67", (7, 8), "waits at every start", smp=_bootloader(Mcuboot.SLOW_BOOT), secure_dfu=_bootloader(SecureDfu.SLOW_BOOT)),
        _entry(
            "M69", (7, 8), "takes updates very slowly",
            smp=_application(_App.TINY_BUFFERS),
            secure_dfu=_bootloader(SecureDfu.SMALL_MTU),
        ),
        _entry(
            "M70", (7, 8), "drops the connection while it erases",
            smp=(*_application(_App.ERASES_WHOLE_SLOT), Plant(section="soc", sets={"radio_sync": False})),
        ),
        _both("M71", (7, 8), "installs updates while it is busy or low on battery", _application(_App.APPLIES_AT_ONCE)),
        _both("M73", 9, "does not show that it is being updated", _application(_App.SILENT_STATUS, **_LOGGING)),
        _both("M74", 9, "does not wait for the user's consent", _application(_App.CONSENT_IGNORED)),
        _entry(
            "M75", 9, "cannot be told from its application in DFU mode",
            secure_dfu=_bootloader(SecureDfu.APPLICATION_NAME_ADVERTISED),
        ),
        _entry(
            "M76", 10, "verifies signatures in software although it has the hardware for it",
            smp=_bootloader(Mcuboot.SOFTWARE_CRYPTO),
            secure_dfu=_bootloader(SecureDfu.SOFTWARE_CRYPTO),
        ),
        _both("M78", 11, "lets a debugger read its memory", OPEN_PORT),
        _entry(
            "M80", 11, "leaves its bootloader writable",
            smp=_bootloader(Mcuboot.BOOTLOADER_NOT_LOCKED),
            secure_dfu=_bootloader(SecureDfu.PAGES_NOT_PROTECTED),
        ),
        _entry(
            "M82", 11, "trusts a key that everybody has",
            smp=_bootloader(Mcuboot.DEMO_KEY_TRUSTED),
            secure_dfu=_bootloader(SecureDfu.DEMO_KEY_TRUSTED),
        ),
    )
}
"""By id, as in the project's list of mutants; a letter tells two forms of one mistake apart."""


def planted(model: Mapping[str, Json], protocol: Protocol) -> dict[str, Json]:
    """`model` without its ``defects`` section, and with the options that plant them.

    Raises `ConfigError` for an id that does not exist, or that a board of `protocol` cannot have.
    """
    sections = {name: section for name, section in model.items() if name != "defects"}
    for identity in _wanted(model):
        for plant in _plants(identity, protocol):
            section = sections.get(plant.section, {})
            if isinstance(section, Mapping):  # whoever reads the section says what is wrong with any other
                sections[plant.section] = _with(section, plant)
    return sections


def _wanted(model: Mapping[str, Json]) -> Iterable[str]:
    wanted = model.get("defects", ())
    if isinstance(wanted, str) or not isinstance(wanted, Iterable):
        raise ConfigError("must be a list of ids, such as [M25, M47]")
    return dict.fromkeys(map(str, wanted))


def _plants(identity: str, protocol: Protocol) -> tuple[Plant, ...]:
    known = [entry.id for entry in CATALOGUE.values() if protocol in entry.plants]
    if identity not in known:
        raise ConfigError(f"a board of protocol {protocol} cannot have the defect {identity!r}; it can have: {', '.join(known)}")
    return CATALOGUE[identity].plants[protocol]


def _with(section: Mapping[str, Any], plant: Plant) -> dict[str, Any]:
    options = {**plant.needs, **section, **plant.sets}
    if plant.names:
        options["defects"] = list(dict.fromkeys([*section.get("defects", ()), *plant.names]))
    return options
