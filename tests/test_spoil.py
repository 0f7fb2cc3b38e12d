"""Spoiled packages: every kind changes what it says and nothing else, the same every time, and errors say what to do."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from imgtool import keys
from imgtool.image import Image, VerifyResult

from rig.cli import rig
from rig.errors import ConfigError
from rig.formats import encryption_key, mcuboot_image, sample_app
from rig.formats import init_packet as wire
from rig.formats.init_packet import InitCommand
from rig.formats.mcuboot_image import McubootImage, TlvType
from rig.formats.spoil_kinds import KINDS, Format
from rig.formats.test_key import PrivateKey, SignatureAlgorithm, demo_key, embedded_form, private_key
from rig.images import dfu, signing
from rig.images.dfu import PackedImage
from rig.images.encryption import as_installed
from rig.images.spoil import Helpers, spoil
from rig.images.spoil.dfu_kinds import SECURE_DFU_FUNCTIONS
from rig.images.spoil.keys import ecdsa_stranger
from rig.images.spoil.mcuboot_kinds import MCUBOOT_FUNCTIONS

HEADER, PAYLOAD = 0x200, 4096
OWN_KEY = ec.derive_private_key(0x7E57_0000_1234, ec.SECP256R1())
MCUBOOT, SECURE_DFU = KINDS[Format.MCUBOOT], KINDS[Format.SECURE_DFU]


def owner_key() -> ec.EllipticCurvePrivateKey:
    """The public test key."""
    key = private_key()
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def application(seed: int = 0) -> bytes:
    return sample_app.build(soc="nrf52840", version="1.2.3", address=0xC200, size=PAYLOAD, seed=seed)


def image_file(
    folder: Path, key: PrivateKey | None = None, *, algorithm: SignatureAlgorithm = SignatureAlgorithm.ECDSA_P256, seed: int = 0, **more: Any
) -> Path:
    data = signing.sign(
        application(seed), version="1.2.3+4", key=key or private_key(algorithm), slot_size=0x20000, align=4, **more
    )
    path = folder / f"good{seed or ''}.bin"
    path.write_bytes(data)
    return path


def rich_image_file(folder: Path, key: PrivateKey | None = None, *, seed: int = 0) -> Path:
    """An image that every kind can be made of: encrypted, and with a security counter."""
    return image_file(folder, key, seed=seed, security_counter=7, encryption_key=encryption_key.private_key())


def package_file(folder: Path, key: ec.EllipticCurvePrivateKey | None = None, *, signed: bool = True, seed: int = 0) -> Path:
    part = dfu.Part(data=application(seed), version=10203 - seed, sd_req=(0x100,))
    path = folder / f"good{seed or ''}.zip"
    dfu.save(dfu.build(hw_version=52, application=part, key=(key or owner_key()) if signed else None), path)
    return path


def signed_by(data: bytes, key: ec.EllipticCurvePrivateKey) -> bool:
    """As MCUboot asks: is the key hash that key's, the hash that of the content, and the signature over it by the key?"""
    image = mcuboot_image.parse(data)
    covered = data[: image.header_size + image.image_size + image.protected_size]
    try:
        key.public_key().verify(image.tlv(TlvType.ECDSA_SIG) or b"", hashlib.sha256(covered).digest(), ec.ECDSA(Prehashed(hashes.SHA256())))
    except InvalidSignature:
        return False
    return image.tlv(TlvType.KEYHASH) == hashlib.sha256(embedded_form(key.public_key())).digest()


# ----------------------------------------------------------------------------------------------------------------- MCUboot
def bits(good: bytes, bad: bytes) -> list[tuple[int, int]]:
    """Offsets and the bits that differ; the lengths must be the same."""
    return [(at, a ^ b) for at, (a, b) in enumerate(zip(good, bad, strict=True)) if a != b]


def types(data: bytes) -> list[int]:
    return [tlv.type for tlv in mcuboot_image.parse(data).tlvs]


def offsets(good: bytes) -> dict[str, int]:
    """Where the entries' values stand, found by their content."""
    image = mcuboot_image.parse(good)
    return {kind.name: good.index(image.tlv(kind) or b"?") for kind in (TlvType.SHA256, TlvType.KEYHASH, TlvType.ECDSA_SIG)}


TLVS = HEADER + PAYLOAD
OTHER = 1
"""Seed of the other application, where two are mixed."""
ENCRYPTED_KINDS = ("flip-encryption-tlv", "plaintext", "claims-encryption", "other-encryption-key")
COUNTED_KINDS = ("flip-protected", "counter-lower", "counter-missing")
Check = Callable[[bytes, bytes], bool]


def same_image_below(good: bytes, bad: bytes, at: int = TLVS) -> bool:
    return good[:at] == bad[:at]


def size_of(good: bytes, bad: bytes) -> int:
    """The payload size that the header states, when nothing else differs."""
    assert good[:12] + good[16:] == bad[:12] + bad[16:]
    return int.from_bytes(bad[12:16], "little")


def parsed(data: bytes) -> McubootImage:
    return mcuboot_image.parse(data)


def payload_of(data: bytes) -> bytes:
    """The payload as it stands in the file, wherever the header says that it is."""
    size = int.from_bytes(data[12:16], "little")
    return data[HEADER : HEADER + size]


def same_around_payload(good: bytes, bad: bytes) -> bool:
    return good[:HEADER] + good[TLVS:] == bad[:HEADER] + bad[TLVS:]


def value(data: bytes, kind: TlvType) -> bytes:
    return parsed(data).tlv(kind) or b""


def ecdsa_key(key: PrivateKey) -> ec.EllipticCurvePrivateKey:
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


IMAGE_CHECKS: dict[str, Check] = {
    "unsigned": lambda good, bad: same_image_below(good, bad) and types(bad) == [t for t in types(good) if t != TlvType.ECDSA_SIG],
    "hash-only": lambda good, bad: same_image_below(good, bad) and types(bad) == [TlvType.SHA256],
    "wrong-key": lambda good, bad: (
        same_image_below(good, bad, offsets(good)["KEYHASH"]) and signed_by(bad, ecdsa_stranger()) and not signed_by(bad, owner_key())
    ),
    "demo-key": lambda good, bad: (
        same_image_below(good, bad) and signed_by(bad, ecdsa_key(demo_key())) and not signed_by(bad, owner_key())
    ),
    "forged-key-hash": lambda good, bad: (
        parsed(bad).tlv(TlvType.KEYHASH) == parsed(good).tlv(TlvType.KEYHASH)
        and same_image_below(good, bad, offsets(good)["ECDSA_SIG"] - 2)
        and not signed_by(bad, owner_key())
    ),
    "flip-header": lambda good, bad: bits(good, bad) == [(24, 1)],
    "flip-body": lambda good, bad: bits(good, bad) == [(HEADER + PAYLOAD // 2, 1)],
    "flip-hash": lambda good, bad: bits(good, bad) == [(offsets(good)["SHA256"], 1)],
    "flip-signature": lambda good, bad: bits(good, bad) == [(len(good) - 1, 1)] and not signed_by(bad, owner_key()),
    "flip-protected": lambda good, bad: bits(good, bad) == [(TLVS + 8, 1)] and value(good, TlvType.SEC_CNT) == good[TLVS + 8 : TLVS + 12],
    "flip-encryption-tlv": lambda good, bad: bits(good, bad) == [(len(good) - 1, 1)] and good.endswith(value(good, TlvType.ENC_EC256)),
    "bad-magic": lambda good, bad: bits(good, bad) == [(0, 1)],
    "empty": lambda good, bad: bad == b"" != good,
    "cut-in-header": lambda good, bad: bad == good[:16],
    "cut-after-header": lambda good, bad: bad == good[:HEADER],
    "cut-in-body": lambda good, bad: bad == good[: HEADER + PAYLOAD // 2],
    "cut-before-tlvs": lambda good, bad: bad == good[:TLVS],
    "cut-in-tlvs": lambda good, bad: good.startswith(bad) and offsets(good)["ECDSA_SIG"] < len(bad) < len(good),
    "tail-of-another": lambda good, bad: (
        payload_of(bad) == payload_of(good)[: PAYLOAD // 2] + application(OTHER)[PAYLOAD // 2 :] and same_around_payload(good, bad)
    ),
    "body-swapped": lambda good, bad: payload_of(bad) == application(OTHER) and same_around_payload(good, bad),
    "size-larger": lambda good, bad: size_of(good, bad) == PAYLOAD + 4096,
    "size-smaller": lambda good, bad: size_of(good, bad) == PAYLOAD - 4,
    "size-wraps": lambda good, bad: size_of(good, bad) + HEADER == 2**32,
    "oversize": lambda good, bad: (
        parsed(bad).image_size == 1 << 20 and payload_of(bad).rstrip(b"\xff") == payload_of(good).rstrip(b"\xff") and signed_by(bad, owner_key())
    ),
    "tlv-area-longer": lambda good, bad: (
        bad[: TLVS + 2] + bad[TLVS + 4 :] == good[: TLVS + 2] + good[TLVS + 4 :]
        and int.from_bytes(bad[TLVS + 2 : TLVS + 4], "little") == len(good) - TLVS + 4
    ),
    "tlv-entry-longer": lambda good, bad: bad == good[: offsets(good)["ECDSA_SIG"] - 2] + b"\xf0\xff" + good[offsets(good)["ECDSA_SIG"] :],
    "unknown-tlv": lambda good, bad: (
        same_image_below(good, bad) and types(bad) == [*types(good), 0x5A] and signed_by(bad, owner_key())
    ),
    "plaintext": lambda good, bad: (
        not parsed(bad).is_encrypted
        and payload_of(bad) == application()
        and value(bad, TlvType.ENC_EC256) == b""
        and signed_by(bad, owner_key())
    ),
    "claims-encryption": lambda good, bad: (
        same_around_payload(good, bad) and payload_of(bad) == application() != payload_of(good) and signed_by(bad, owner_key())
    ),
    "other-encryption-key": lambda good, bad: (
        encryption_key.unwrap(value(bad, TlvType.ENC_EC256), encryption_key.private_key()) is None
        and as_installed(bad, ecdsa_stranger())[:TLVS] == as_installed(good, encryption_key.private_key())[:TLVS]
    ),
    "counter-lower": lambda good, bad: (
        same_image_below(good, bad) and value(bad, TlvType.SEC_CNT) == bytes(4) != value(good, TlvType.SEC_CNT) and signed_by(bad, owner_key())
    ),
    "counter-missing": lambda good, bad: (
        good[HEADER:TLVS] == bad[HEADER:TLVS] and parsed(bad).protected_tlvs == () and signed_by(bad, owner_key())
    ),
    "dependency-missing": lambda good, bad: (
        good[HEADER:TLVS] == bad[HEADER:TLVS]
        and value(bad, TlvType.DEPENDENCY) == b"\1\0\0\0\xff\0\0\0\0\0\0\0"
        and signed_by(bad, owner_key())
    ),
    "version-lower": lambda good, bad: (
        parsed(bad).version == "0.0.0" and signed_by(bad, owner_key()) and good[:20] + good[28:TLVS] == bad[:20] + bad[28:TLVS]
    ),
    "version-equal": lambda good, bad: (
        parsed(bad).version == parsed(good).version
        and signed_by(bad, owner_key())
        and good[HEADER:TLVS] + b"\xff" * 4 == bad[HEADER : TLVS + 4]
        and parsed(bad).image_hash != parsed(good).image_hash
    ),
    "version-wrapped": lambda good, bad: (
        parsed(bad).version == "255.255.65535+4294967295" and signed_by(bad, owner_key()) and good[HEADER:TLVS] == bad[HEADER:TLVS]
    ),
    "other-soc": lambda good, bad: (
        good[:HEADER] + good[HEADER + 4 : TLVS] == bad[:HEADER] + bad[HEADER + 4 : TLVS]
        and payload_of(bad)[:4] == (0x3000_0000).to_bytes(4, "little")
        and signed_by(bad, owner_key())
    ),
    "appended": lambda good, bad: bad.startswith(good) and parsed(bad).trailing == len(bad) - len(good) == 64,
    "two-images": lambda good, bad: bad == good * 2,
}


def test_every_kind_has_a_check() -> None:
    assert list(IMAGE_CHECKS) == list(MCUBOOT) == list(MCUBOOT_FUNCTIONS)
    assert list(PACKAGE_CHECKS) == list(SECURE_DFU) == list(SECURE_DFU_FUNCTIONS)


def image_for(kind: str, folder: Path) -> Path:
    """A good image of the plainest sort that `kind` can be made of."""
    if kind in ENCRYPTED_KINDS:
        return image_file(folder, encryption_key=encryption_key.private_key())
    return image_file(folder, security_counter=7) if kind in COUNTED_KINDS else image_file(folder)


@pytest.mark.parametrize("kind", IMAGE_CHECKS)
def test_an_image_is_changed_as_said_and_nowhere_else(tmp_path: Path, kind: str) -> None:
    path = image_for(kind, tmp_path)
    good, bad = path.read_bytes(), spoil(path, kind, Helpers(other=image_file(tmp_path, seed=OTHER)))
    assert IMAGE_CHECKS[kind](good, bad)
    assert not IMAGE_CHECKS[kind](good, good)
    assert path.read_bytes() == good


# -------------------------------------------------------------------------------------------------------------- Secure DFU
def command(image: PackedImage) -> InitCommand:
    return wire.decode(image.init_packet).command


def hash_in(image: PackedImage) -> bytes:
    found = command(image).hash
    assert found is not None
    return found.digest


def declared(good: PackedImage, bad: PackedImage) -> dict[str, object]:
    """The fields of the init command that differ; its signature must be the owner's."""
    packet = wire.decode(bad.init_packet)
    assert packet.signature
    assert wire.verify(packet.signed, packet.signature, owner_key().public_key())
    before, after = vars(command(good)), vars(packet.command)
    return {name: value for name, value in after.items() if before[name] != value}


def only_init(good: PackedImage, bad: PackedImage) -> bool:
    return good.firmware == bad.firmware and good.init_packet != bad.init_packet


def only_firmware(good: PackedImage, bad: PackedImage) -> bool:
    return good.firmware != bad.firmware and good.init_packet == bad.init_packet


def flipped_in(good: PackedImage, bad: PackedImage, part: bytes, at: int) -> bool:
    return only_init(good, bad) and bits(good.init_packet, bad.init_packet) == [(good.init_packet.index(part) + at, 1)]


def by(key: ec.EllipticCurvePrivateKey, good: PackedImage, bad: PackedImage) -> bool:
    packet = wire.decode(bad.init_packet)
    assert packet.signature
    same = packet.signed == wire.decode(good.init_packet).signed
    return only_init(good, bad) and same and wire.verify(packet.signed, packet.signature, key.public_key())


PACKAGE_CHECKS: dict[str, Callable[[PackedImage, PackedImage], bool]] = {
    "unsigned": lambda good, bad: (
        only_init(good, bad) and wire.decode(bad.init_packet).signature is None and command(good) == command(bad)
    ),
    "wrong-key": lambda good, bad: by(ecdsa_stranger(), good, bad),
    "demo-key": lambda good, bad: by(ecdsa_key(demo_key()), good, bad),
    "flip-signature": lambda good, bad: flipped_in(good, bad, wire.decode(good.init_packet).signature or b"?", 63),
    "flip-init": lambda good, bad: (
        flipped_in(good, bad, wire.decode(good.init_packet).signed, 1) and command(bad).fw_version == 10203 ^ 1
    ),
    "wrong-length": lambda good, bad: only_init(good, bad) and bits(good.init_packet, bad.init_packet) == [(1, 1)],
    "flip-firmware": lambda good, bad: only_firmware(good, bad) and bits(good.firmware, bad.firmware) == [(PAYLOAD // 2, 1)],
    "cut-firmware": lambda good, bad: only_firmware(good, bad) and bad.firmware == good.firmware[: PAYLOAD // 2],
    "cut-in-body": lambda good, bad: only_firmware(good, bad) and bad.firmware == good.firmware[: PAYLOAD * 3 // 4],
    "empty": lambda good, bad: only_firmware(good, bad) and bad.firmware == b"",
    "swapped-firmware": lambda good, bad: only_firmware(good, bad) and len(bits(good.firmware, bad.firmware)) > PAYLOAD // 2,
    "body-swapped": lambda good, bad: only_firmware(good, bad) and bad.firmware == application(OTHER),
    "tail-of-another": lambda good, bad: (
        only_firmware(good, bad) and bad.firmware == good.firmware[: PAYLOAD // 2] + application(OTHER)[PAYLOAD // 2 :]
    ),
    "replay-init": lambda good, bad: (
        only_init(good, bad)
        and (command(bad).fw_version, command(bad).hash) == (10203 - OTHER, wire.firmware_hash(application(OTHER)))
        and declared(good, bad).keys() == {"fw_version", "hash"}
    ),
    "two-images": lambda good, bad: only_firmware(good, bad) and bad.firmware == good.firmware * 2,
    "longer-than-declared": lambda good, bad: only_init(good, bad) and declared(good, bad) == {"app_size": PAYLOAD - 4},
    "oversize": lambda good, bad: (
        len(bad.firmware) == 1 << 20
        and bad.firmware.startswith(good.firmware)
        and declared(good, bad) == {"app_size": 1 << 20, "hash": wire.firmware_hash(bad.firmware)}
    ),
    "empty-firmware": lambda good, bad: (
        bad.firmware == b"" and declared(good, bad) == {"app_size": 0, "hash": wire.firmware_hash(b"")}
    ),
    "hash-flipped": lambda good, bad: (
        only_init(good, bad)
        and declared(good, bad).keys() == {"hash"}
        and len(bits(hash_in(good), hash_in(bad))) == 1
    ),
    "hardware-version": lambda good, bad: only_init(good, bad) and declared(good, bad) == {"hw_version": 53},
    "softdevice": lambda good, bad: only_init(good, bad) and declared(good, bad) == {"sd_req": (0x7FFD,)},
    "other-softdevice": lambda good, bad: only_init(good, bad) and declared(good, bad) == {"sd_req": (0x103,)},
    "version-lower": lambda good, bad: only_init(good, bad) and declared(good, bad) == {"fw_version": 0},
    "debug-flag": lambda good, bad: only_init(good, bad) and declared(good, bad) == {"fw_version": 0, "is_debug": True},
}


@pytest.mark.parametrize("kind", PACKAGE_CHECKS)
def test_a_package_is_changed_as_said_and_nowhere_else(tmp_path: Path, kind: str) -> None:
    path = package_file(tmp_path)
    (good,) = dfu.read_unchecked(path)
    spoiled = tmp_path / "spoiled.zip"
    spoiled.write_bytes(spoil(path, kind, Helpers(other=package_file(tmp_path, seed=OTHER))))
    (bad,) = dfu.read_unchecked(spoiled)
    assert PACKAGE_CHECKS[kind](good, bad)
    assert not PACKAGE_CHECKS[kind](good, good)
    assert (bad.kind, bad.bin_file, bad.dat_file) == (good.kind, good.bin_file, good.dat_file)


# ------------------------------------------------------------------------------------------------------------------- both
@pytest.mark.parametrize("make", [rich_image_file, package_file])
def test_the_same_file_gives_the_same_bytes_and_every_kind_others(tmp_path: Path, make: Callable[..., Path]) -> None:
    path = make(tmp_path)
    helpers = Helpers(other=make(tmp_path, seed=OTHER))
    kinds = MCUBOOT if path.suffix == ".bin" else SECURE_DFU
    spoiled = {kind: spoil(path, kind, helpers) for kind in kinds}
    assert spoiled == {kind: spoil(path, kind, helpers) for kind in kinds}
    assert len({path.read_bytes(), *spoiled.values()}) == len(kinds) + 1


def test_an_owners_key_signs_anew(tmp_path: Path) -> None:
    assert signed_by(spoil(image_file(tmp_path, OWN_KEY), "version-lower", Helpers(key=OWN_KEY)), OWN_KEY)
    package = tmp_path / "lower.zip"
    package.write_bytes(spoil(package_file(tmp_path, OWN_KEY), "version-lower", Helpers(key=OWN_KEY)))
    dfu.verify(dfu.read(package), OWN_KEY.public_key())


@pytest.mark.parametrize("make", [image_file, package_file])
@pytest.mark.parametrize(("signer", "given", "words"), [(OWN_KEY, None, "give its own with --key"), (None, OWN_KEY, "not signed with the key given")])
def test_a_package_of_another_owner_is_not_signed_anew(
    tmp_path: Path, make: Callable[..., Path], signer: PrivateKey | None, given: PrivateKey | None, words: str
) -> None:
    """Otherwise it would be refused for its key, and nobody would learn anything about versions."""
    path = make(tmp_path, signer)
    with pytest.raises(ConfigError, match=words):
        spoil(path, "version-lower", Helpers(key=given))
    assert spoil(path, "wrong-key", Helpers(key=given))


@pytest.mark.parametrize("algorithm", SignatureAlgorithm)
def test_every_kind_of_key_signs_anew(tmp_path: Path, algorithm: SignatureAlgorithm) -> None:
    """Checked by imgtool, which verifies with the public key as MCUboot does."""
    path = image_file(tmp_path, algorithm=algorithm, security_counter=7)
    public = tmp_path / "public.pem"
    public.write_bytes(private_key(algorithm).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    for kind, sound in (("version-lower", True), ("counter-missing", True), ("wrong-key", False), ("demo-key", False), ("forged-key-hash", False)):
        (bad := tmp_path / f"{kind}.bin").write_bytes(spoil(path, kind))
        result, *_ = Image.verify(str(bad), keys.load(str(public)))
        assert (result is VerifyResult.OK) is sound, kind


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("flip-protected", "no protected entries"),
        ("flip-encryption-tlv", "not encrypted"),
        ("plaintext", "not encrypted"),
        ("claims-encryption", "not encrypted"),
        ("other-encryption-key", "not encrypted"),
        ("counter-lower", "no security counter above 0"),
        ("counter-missing", "no security counter"),
        ("body-swapped", "takes a second good image; give it with --other"),
        ("tail-of-another", "takes a second good image; give it with --other"),
    ],
)
def test_a_plain_image_alone_is_not_enough_for_every_kind(tmp_path: Path, kind: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        spoil(image_file(tmp_path), kind)


def test_two_packages_are_mixed_only_when_they_differ(tmp_path: Path) -> None:
    for make, kinds in ((image_file, ("body-swapped", "tail-of-another")), (package_file, ("body-swapped", "tail-of-another", "replay-init"))):
        path = make(tmp_path)
        for kind in kinds:
            with pytest.raises(ConfigError, match="same"):
                spoil(path, kind, Helpers(other=path))
    with pytest.raises(ConfigError, match="give it with --other"):
        spoil(package_file(tmp_path), "replay-init")


def test_an_encrypted_image_is_signed_anew_and_encrypted_again(tmp_path: Path) -> None:
    path = rich_image_file(tmp_path, OWN_KEY)
    bad = spoil(path, "version-lower", Helpers(key=OWN_KEY))
    clear = as_installed(bad, encryption_key.private_key())
    assert signed_by(clear, OWN_KEY)
    assert payload_of(clear) == application() != payload_of(bad)
    with pytest.raises(ConfigError, match="not encrypted for the key given"):
        spoil(path, "version-lower", Helpers(key=OWN_KEY, encryption_key=ecdsa_stranger()))


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("flip-bdy", "no kind 'flip-bdy'; did you mean 'flip-body'"),
        ("debug-flag", "'debug-flag' is only for the other form, Secure DFU package; for this MCUboot image there are unsigned, hash-only"),
    ],
)
def test_a_kind_that_does_not_fit_is_named(tmp_path: Path, kind: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        spoil(image_file(tmp_path), kind)


def test_what_cannot_be_done_to_a_file_is_said(tmp_path: Path) -> None:
    unsigned = tmp_path / "unsigned.bin"
    unsigned.write_bytes(spoil(image_file(tmp_path), "hash-only"))
    with pytest.raises(ConfigError, match=r"unsigned\.bin: flip-signature: the image is not signed"):
        spoil(unsigned, "flip-signature")
    with pytest.raises(ConfigError, match="nothing but its hash already"):
        spoil(unsigned, "hash-only")
    with pytest.raises(ConfigError, match=r"good\.zip: wrong-key: the init packet is not signed"):
        spoil(package_file(tmp_path, signed=False), "wrong-key")
    lower = tmp_path / "lower.bin"
    lower.write_bytes(spoil(image_file(tmp_path), "version-lower"))
    with pytest.raises(ConfigError, match="there is none below"):
        spoil(lower, "version-lower")


@pytest.mark.parametrize("content", [b"", b"\x7fELF" + bytes(60), b"PK\x03\x04 no archive"])
def test_a_file_that_is_no_good_package_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "what"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="what: "):
        spoil(path, "unsigned")
    with pytest.raises(ConfigError, match="nowhere: cannot be read"):
        spoil(tmp_path / "nowhere", "unsigned")


# ----------------------------------------------------------------------------------------------------------- command line
def test_the_list_has_every_kind_with_its_expectation() -> None:
    lines = CliRunner().invoke(rig, ["images", "kinds"]).output.splitlines()
    for form, kinds in KINDS.items():
        start = lines.index(f"{form}:") + 1
        for line, kind in zip(lines[start : start + len(kinds)], kinds.values(), strict=True):
            assert line.split()[0] == kind.name
            assert kind.what in line
            assert f"a good device {kind.expectation}" in line


def test_a_spoiled_file_lies_beside_the_good_one_or_where_it_is_wanted(tmp_path: Path) -> None:
    path = image_file(tmp_path, OWN_KEY)
    pem = tmp_path / "private.pem"
    pem.write_bytes(OWN_KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    beside = CliRunner().invoke(rig, ["images", "spoil", str(path), "--kind", "flip-body"])
    wanted = CliRunner().invoke(rig, ["images", "spoil", str(path), "--kind", "version-lower", "--key", str(pem), "--out", str(tmp_path / "low")])
    assert beside.exit_code == wanted.exit_code == 0
    assert (tmp_path / "good-flip-body.bin").read_bytes() == spoil(path, "flip-body")
    assert (tmp_path / "low").read_bytes() == spoil(path, "version-lower", Helpers(key=OWN_KEY))
    assert wanted.output == f"{tmp_path / 'low'}: {MCUBOOT['version-lower'].what}; {MCUBOOT['version-lower'].expected}\n"


def test_the_good_file_is_never_overwritten(tmp_path: Path) -> None:
    path = image_file(tmp_path)
    before = path.read_bytes()
    result = CliRunner().invoke(rig, ["images", "spoil", str(path), "--kind", "empty", "--out", str(path)])
    assert isinstance(result.exception, ConfigError)
    assert path.read_bytes() == before


def test_no_key_is_shown(tmp_path: Path) -> None:
    path = image_file(tmp_path)
    pem = tmp_path / "private.pem"
    pem.write_bytes(OWN_KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    result = CliRunner().invoke(rig, ["images", "spoil", str(path), "--kind", "version-lower", "--key", str(pem)])
    pem.write_bytes(b"-----BEGIN PRIVATE KEY-----\nMC4CAQAwSECRET\n-----END PRIVATE KEY-----\n")
    broken = CliRunner().invoke(rig, ["images", "spoil", str(path), "--kind", "version-lower", "--key", str(pem)])
    shown = "".join(f"{r.output}{r.exception}" for r in (result, broken))
    assert isinstance(broken.exception, ConfigError)
    assert str(pem) in str(broken.exception)
    secret = OWN_KEY.private_numbers().private_value
    assert "SECRET" not in shown
    assert f"{secret:x}" not in shown
    assert str(secret) not in shown


def test_every_kind_is_documented_as_it_is_listed() -> None:
    lines = (Path(__file__).parents[1] / "docs" / "spoiled-images.md").read_text(encoding="utf-8").splitlines()
    missing = []
    for kind in (kind for kinds in KINDS.values() for kind in kinds.values()):
        note = f" ({kind.note})" if kind.note else ""
        row = f"| `{kind.name}` | {kind.what} | {kind.expectation}{note} |"
        missing += [row] if not any(line.startswith(row) for line in lines) else []
    assert missing == []
