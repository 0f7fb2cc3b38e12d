"""Schema of the images in a scenario file.  Every key carries its meaning, unit, range and default."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, Discriminator, Field, PlainValidator, Tag, WithJsonSchema
from pydantic_core import PydanticCustomError

from rig.config.schema_parts import Seed, Size, Strict, Version
from rig.formats.init_packet import MAX_SD_REQ
from rig.formats.sample_app import MAX_SIZE, MIN_SIZE, ConfirmPolicy
from rig.formats.test_key import SignatureAlgorithm


def _app_size(value: int) -> int:
    if not MIN_SIZE <= value <= MAX_SIZE or value % 4:
        raise PydanticCustomError("size", f"not a size from 1 KiB to {MAX_SIZE // 1024} KiB in multiples of 4 bytes")
    return value


def _flag(value: Any) -> Any:
    if not isinstance(value, str | int | float | bool):
        raise PydanticCustomError("flag", "a flag is text, a number, true or false")
    return value


Flag = Annotated[Any, PlainValidator(_flag), WithJsonSchema({"type": ["string", "number", "boolean"]})]


class Need(Strict):
    """Another image of a device with several (MCUboot), which must be there in a certain version."""

    image: Annotated[int, Field(ge=0, le=255)]
    """Number of the other image, 0 to 255."""
    version: Version
    """Lowest version of it that will do."""


class Build(Strict):
    """A sample application, made and signed for each SoC."""

    version: Version
    """Version in the image header: major.minor.revision, with +build where wanted."""
    size: Annotated[Size, AfterValidator(_app_size)]
    """Bytes of application code without header and signature: a number, or for instance 64 KiB; 1 KiB to 1 MiB."""
    confirm: ConfirmPolicy = ConfirmPolicy.NEVER
    """When the application confirms itself: never (it leaves that to the host), at-once or after-self-test."""
    self_test_s: Annotated[float, Field(ge=0, le=600)] = 1.0
    """How long its self-test takes in seconds, 0 to 600."""
    crash: bool = False
    """Whether it faults right after its start; false when left out."""
    flags: Annotated[dict[str, Flag], Field(default_factory=dict)]
    """Further behaviour for the application class of the virtual board, as a flat mapping."""
    seed: Seed = 0
    """Makes two images of the same version differ, 0 to 2^63 - 1."""
    security_counter: Annotated[int, Field(ge=0, lt=2**32)] | None = None
    """MCUboot's security counter, 0 to 4294967295; smp only."""
    needs: Need | None = None
    """Another image that the device must have, as a dependency of MCUboot's; smp only."""
    hardware: Annotated[int, Field(ge=0, lt=2**32)] | None = None
    """Hardware version in the init packet, 0 to 4294967295; 52 when left out; secure_dfu only."""
    softdevice: Annotated[tuple[Annotated[int, Field(ge=0, le=0xFFFF)], ...], Field(max_length=MAX_SD_REQ)] = ()
    """FWIDs of the SoftDevices that will do, 0 to 65535, at most 16; that of the SoC's sample when empty; secure_dfu only."""


def _kinds(value: Any) -> tuple[str, ...]:
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
        raise PydanticCustomError("spoil", "not a kind, nor a list of kinds; `rig images kinds` lists them")
    return tuple(dict.fromkeys(names))


Kinds = Annotated[
    tuple[str, ...],
    PlainValidator(_kinds),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}),
]


class BuildSource(Strict):
    """An image that the rig makes."""

    build: Build
    """What to make."""
    spoil: Kinds = ()
    """How the good image is spoiled before it is used, `images.new` only: a kind of `rig images kinds`, or a list, each a scenario."""


class FileSource(Strict):
    """An image that exists."""

    file: Annotated[str, Field(min_length=1)]
    """Signed binary; the path is relative to the scenario file."""
    spoil: Kinds = ()
    """How the good image is spoiled before it is used, `images.new` only: a kind of `rig images kinds`, or a list, each a scenario."""


def _source_form(value: Any) -> str:
    return "~file" if isinstance(value, dict) and "file" in value else "~build"


Source = Annotated[Annotated[BuildSource, Tag("~build")] | Annotated[FileSource, Tag("~file")], Discriminator(_source_form)]


class SourcesBySoc(Strict):
    """One image per SoC of the boards that take part."""

    nrf52832: Source | None = None
    """Image for boards with an nRF52832."""
    nrf52833: Source | None = None
    """Image for boards with an nRF52833."""
    nrf52840: Source | None = None
    """Image for boards with an nRF52840."""


def _image_form(value: Any) -> str:
    if isinstance(value, dict) and any(str(key).lower().startswith("nrf") for key in value):
        return "~by_soc"
    return _source_form(value)


Image = Annotated[
    Annotated[BuildSource, Tag("~build")] | Annotated[FileSource, Tag("~file")] | Annotated[SourcesBySoc, Tag("~by_soc")],
    Discriminator(_image_form),
]


class ImageSet(Strict):
    """The images of a scenario."""

    old: Image
    """What the board runs before the update."""
    new: Image
    """What it is updated to."""
    again: Image | None = None
    """What it is updated to at the very end, to prove that it still can be updated."""
    key: Annotated[str, Field(min_length=1)] | None = None
    """Private key (PEM, no password) that signs what is built, relative to the scenario file; a public test key when left out."""
    signature: SignatureAlgorithm = SignatureAlgorithm.ECDSA_P256
    """Which test key signs when there is no `key`: ecdsa-p256, ed25519 or rsa-2048."""
    encrypted: bool = False
    """Whether what is built travels encrypted (ECIES-P256, AES-128), for the public test key unless `encryption_key` is given; smp only."""
    encryption_key: Annotated[str, Field(min_length=1)] | None = None
    """The bootloader's private key (PEM, P-256, no password), relative to the scenario file; what is built is encrypted for it; smp only."""
