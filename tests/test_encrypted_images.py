"""Images with protected entries and encrypted images: as imgtool makes them, the same every time, and pinned with their plain twin."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from imgtool import keys
from imgtool.image import Image, VerifyResult
from imgtool.version import decode_version

from rig.errors import ConfigError
from rig.formats import encryption_key, mcuboot_image, test_key
from rig.formats.mcuboot_image import BUILT_HEADER_SIZE, BUILT_TLV_SIZE_MAX, TlvType
from rig.formats.test_key import SignatureAlgorithm
from rig.images import dfu, encryption, signing
from rig.images.provide import provide
from rig.images.sample_app import build_signed
from rig.model import Board, InstrumentSpec, MemoryMap, Protocol, Region
from rig.scenario import ImageBuild, ImageChoice, ImageNeed, ImagePath, Images

MEMORY = MemoryMap(
    primary=Region(start=0xC000, size=0x37000), secondary=Region(start=0x43000, size=0x37000), user_data=Region(start=0x7A000, size=0x6000)
)
APPLICATION = hashlib.shake_256(b"application").digest(4100)
"""Not a whole number of AES blocks."""
OWN = ec.derive_private_key(0x0E4C, ec.SECP256R1())


def board(protocol: Protocol = Protocol.SMP) -> Board:
    wired = InstrumentSpec(driver="virtual")
    return Board(
        name="dk1", soc="nrf52832", protocol=protocol, ble_name="dk1", memory=MEMORY, probe=wired, supply=wired, console=wired, radio=wired
    )


def choice(version: str, **more: object) -> ImageChoice:
    return ImageChoice(every=ImageBuild(version=version, size=4096, **more))  # type: ignore[arg-type]


def by_imgtool(*, encrypted: bool) -> bytes:
    """What imgtool itself makes of the application, with keys drawn at random."""
    image = Image(version=decode_version("1.2.3"), header_size=BUILT_HEADER_SIZE, pad_header=True, align=4, security_counter=7)
    image.payload = bytearray(b"\xff" * BUILT_HEADER_SIZE + APPLICATION)
    image.image_size = len(APPLICATION)
    needs = {"images": [1], "versions": [decode_version("1.2.0")]}
    target = keys.ECDSA256P1Public(encryption_key.public_key()) if encrypted else None
    image.create(keys.Ed25519(test_key.private_key(SignatureAlgorithm.ED25519)), "hash", target, dependencies=needs)
    return bytes(image.payload)


def by_rig(encryption_for: ec.EllipticCurvePrivateKey | None) -> bytes:
    return signing.sign(
        APPLICATION,
        version="1.2.3",
        key=test_key.private_key(SignatureAlgorithm.ED25519),
        slot_size=MEMORY.primary.size,
        align=4,
        security_counter=7,
        need=ImageNeed(image=1, version="1.2.0"),
        encryption_key=encryption_for,
    )


def test_protected_entries_are_those_of_imgtool() -> None:
    """Ed25519 has no randomness, so that even the signature is the same."""
    assert by_rig(None) == by_imgtool(encrypted=False)


def test_an_encrypted_image_differs_from_imgtools_only_by_its_random_key() -> None:
    ours, theirs = by_rig(encryption_key.private_key()), by_imgtool(encrypted=True)
    clear, reference = (encryption.as_installed(data, encryption_key.private_key()) for data in (ours, theirs))
    entry = mcuboot_image.parse(ours).tlv(TlvType.ENC_EC256) or b""

    assert len(ours) == len(theirs)
    assert clear[: -len(entry)] == reference[: -len(entry)]
    assert clear[BUILT_HEADER_SIZE:].startswith(APPLICATION)
    assert APPLICATION[:64] not in ours
    assert by_rig(encryption_key.private_key()) == ours


def test_no_two_images_share_a_key_and_each_bootloader_has_its_own() -> None:
    def key_of(data: bytes, owner: ec.EllipticCurvePrivateKey) -> bytes | None:
        return encryption_key.unwrap(mcuboot_image.parse(data).tlv(TlvType.ENC_EC256) or b"", owner)

    test = encryption_key.private_key()
    other = signing.sign(APPLICATION, version="1.2.4", key=test_key.private_key(), slot_size=0x37000, align=4, encryption_key=test)
    found = [key_of(by_rig(test), test), key_of(by_rig(OWN), OWN), key_of(other, test)]

    assert None not in found
    assert len(set(found)) == 3
    assert key_of(by_rig(OWN), test) is None


def test_damaged_cipher_text_is_noticed() -> None:
    data = bytearray(by_rig(encryption_key.private_key()))
    data[BUILT_HEADER_SIZE + 100] ^= 1

    with pytest.raises(ConfigError, match="hash wrong"):
        encryption.as_installed(bytes(data), encryption_key.private_key())
    with pytest.raises(ConfigError, match="not encrypted for the key given"):
        encryption.as_installed(by_rig(OWN), encryption_key.private_key())
    with pytest.raises(ConfigError, match="no encryption entry"):
        encryption.as_installed(by_rig(None), encryption_key.private_key())


def test_everything_behind_the_application_fits_the_room_that_the_check_assumes(tmp_path: Path) -> None:
    build = ImageBuild(version="1.0.0", size=4100, security_counter=7, needs=ImageNeed(image=1, version="1.0.0"))
    record = build_signed(
        build, soc="nrf52832", memory=MEMORY, folder=tmp_path, signature=SignatureAlgorithm.RSA_2048, encryption_key=OWN
    )

    assert record.size - BUILT_HEADER_SIZE - build.size == BUILT_TLV_SIZE_MAX - 3  # 12 bytes of padding of 15


def test_encrypted_images_come_with_their_plain_twins(tmp_path: Path) -> None:
    pem = tmp_path / "bootloader.pem"
    pem.write_bytes(OWN.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    images = Images(old=choice("1.0.0"), new=choice("1.1.0"), encrypted=True, encryption_key=str(pem))
    built = provide(images, board(), tmp_path)

    for record in (built.old, built.new):
        assert record.clear_path is not None
        twin = record.as_installed
        clear = Path(twin.path).read_bytes()
        assert hashlib.sha256(clear).hexdigest() == twin.sha256 == record.clear_sha256
        assert clear == encryption.as_installed(Path(record.path).read_bytes(), OWN)
        assert twin.image_hash == record.image_hash
        assert twin.as_installed == twin
    assert provide(images, board(), tmp_path) == built
    from_files = Images(
        old=ImageChoice(every=ImagePath(path=built.old.path)),
        new=ImageChoice(every=ImagePath(path=built.new.path)),
        encrypted=True,
        encryption_key=str(pem),
    )
    assert provide(from_files, board(), tmp_path).new.clear_sha256 == built.new.clear_sha256
    for path, words in ((str(tmp_path / "none.pem"), "cannot be read"), (built.old.path, "not a private key")):
        with pytest.raises(ConfigError, match=words):
            provide(Images(old=choice("1.0.0"), new=choice("1.1.0"), encrypted=True, encryption_key=path), board(), tmp_path)


def test_a_spoiled_image_is_pinned_as_it_is_and_says_what_a_device_would_report(tmp_path: Path) -> None:
    good = provide(Images(old=choice("1.0.0"), new=choice("1.1.0")), board(), tmp_path)
    flipped, lower, swapped = (
        provide(Images(old=choice("1.0.0"), new=choice("1.1.0", spoil=kind)), board(), tmp_path)
        for kind in ("flip-hash", "version-lower", "body-swapped")
    )

    for bad, kind in ((flipped, "flip-hash"), (lower, "version-lower"), (swapped, "body-swapped")):
        assert bad.old == good.old
        assert bad.new.spoiled == kind
        assert hashlib.sha256(Path(bad.new.path).read_bytes()).hexdigest() == bad.new.sha256 != good.new.sha256
    assert bytes.fromhex(flipped.new.image_hash)[0] == bytes.fromhex(good.new.image_hash)[0] ^ 1
    assert (lower.new.version, lower.new.image_hash) == ("0.0.0", mcuboot_image.parse(Path(lower.new.path).read_bytes()).image_hash.hex())
    assert (swapped.new.version, swapped.new.image_hash) == ("1.1.0", good.new.image_hash)
    assert Path(good.old.path).read_bytes()[0x200:0x1200] == Path(swapped.new.path).read_bytes()[0x200:0x1200]


def test_packages_carry_the_hardware_and_the_softdevices_asked_for(tmp_path: Path) -> None:
    images = Images(old=choice("1.0.0"), new=choice("1.1.0", hardware=7, softdevice=(0x101, 0x102)))
    built = provide(images, board(Protocol.SECURE_DFU), tmp_path)
    old, new = (dfu.read(record.path).images[0].packet.command for record in (built.old, built.new))

    assert (new.hw_version, new.sd_req) == (7, (0x101, 0x102))
    assert (old.hw_version, old.sd_req) == (52, (0x101,))


@pytest.mark.parametrize("algorithm", SignatureAlgorithm)
def test_the_demo_key_signs_and_is_not_the_test_key(tmp_path: Path, algorithm: SignatureAlgorithm) -> None:
    key = test_key.demo_key(algorithm)
    record = build_signed(ImageBuild(version="1.0.0", size=4096), soc="nrf52832", memory=MEMORY, folder=tmp_path, key=key)
    kinds = {SignatureAlgorithm.ECDSA_P256: keys.ECDSA256P1, SignatureAlgorithm.ED25519: keys.Ed25519, SignatureAlgorithm.RSA_2048: keys.RSA}

    assert Image.verify(record.path, kinds[algorithm](key))[0] is VerifyResult.OK
    assert Image.verify(record.path, kinds[algorithm](test_key.private_key(algorithm)))[0] is not VerifyResult.OK
