"""Update packages: what is built can be trusted bit by bit, is the same every time, and what is broken is named."""

from __future__ import annotations

import hashlib
import random
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from imgtool import keys
from imgtool.image import Image, VerifyResult
from imgtool.version import decode_version

from rig.errors import ConfigError, StorageError
from rig.formats import compatibility, mcuboot_image, sample_app, signing_key, test_key, vector_table
from rig.formats.mcuboot_image import TlvType
from rig.formats.sample_app import ConfirmPolicy, SampleApp
from rig.formats.soc import SOCS
from rig.formats.test_key import PrivateKey, SignatureAlgorithm
from rig.images import mcuboot, signing
from rig.images.provide import provide
from rig.images.sample_app import build_signed
from rig.model import Board, InstrumentSpec, MemoryMap, Protocol, Region
from rig.scenario import ImageBuild, ImageChoice, ImagePath, Images

ADDRESS = 0xC200
MEMORY = MemoryMap(
    primary=Region(start=0xC000, size=0x37000), secondary=Region(start=0x43000, size=0x37000), user_data=Region(start=0x7A000, size=0x6000)
)


class Flash:
    """`data` at `address`, erased flash around it; counts how often it is read and refuses to be read past its end."""

    def __init__(self, data: bytes, *, address: int = ADDRESS, size: int = 512 * 1024) -> None:
        self.memory = bytearray(b"\xff" * size)
        self.memory[address : address + len(data)] = data
        self.reads = 0

    def read(self, address: int, length: int) -> bytes:
        assert address + length <= len(self.memory), "read beyond the end of flash"
        self.reads += 1
        return bytes(self.memory[address : address + length])


def app(**changes: object) -> bytes:
    arguments: dict = {"soc": "nrf52832", "version": "1.2.3", "address": ADDRESS, "size": 4096} | changes
    return sample_app.build(**arguments)


def board(soc: str = "nrf52832", name: str = "dk1") -> Board:
    spec = InstrumentSpec(driver="virtual")
    return Board(name=name, soc=soc, protocol=Protocol.SMP, ble_name=name, memory=MEMORY, probe=spec, supply=spec, console=spec, radio=spec)


# --------------------------------------------------------------------------------------------------- sample application
def test_application_says_about_itself_what_it_was_built_with() -> None:
    data = app(confirm=ConfirmPolicy.AFTER_SELF_TEST, self_test_s=2.5, crash=True, flags={"led": "red", "n": 3}, size=8192)
    flash = Flash(data)

    assert sample_app.parse(flash.read, ADDRESS) == SampleApp(
        soc="nrf52832", name="sample", version="1.2.3", address=ADDRESS, size=8192, confirm=ConfirmPolicy.AFTER_SELF_TEST,
        self_test_s=2.5, crash=True, flags={"led": "red", "n": 3},
    )  # fmt: skip
    assert flash.reads == 2


@pytest.mark.parametrize("soc", SOCS)
def test_application_starts_with_a_vector_table_of_its_soc(soc: str) -> None:
    table = vector_table.parse(app(soc=soc))

    assert table is not None
    assert table.initial_sp == 0x2000_0000 + SOCS[soc].ram_size
    assert table.reset & 1
    assert ADDRESS < table.reset < ADDRESS + 4096


def test_one_wrong_bit_anywhere_and_the_application_is_not_intact() -> None:
    data = app(size=1024)
    for position in range(len(data)):
        spoiled = bytearray(data)
        spoiled[position] ^= 1 << position % 8
        assert sample_app.parse(Flash(bytes(spoiled)).read, ADDRESS) is None, f"byte {position}"


def test_half_written_application_is_not_intact_and_nobody_reads_past_the_end_of_flash() -> None:
    data, rng = app(size=0x10000), random.Random(3)
    assert sample_app.parse(Flash(data[:-4]).read, ADDRESS) is None
    assert sample_app.parse(Flash(b"").read, ADDRESS) is None
    at_the_end = 512 * 1024 - 0x200
    for _ in range(200):  # torn words in the head, near the end of flash, where a believed size would lead out of it
        spoiled = bytearray(data[:0x200])
        spoiled[0x108 + rng.randrange(8)] = rng.randrange(256)
        flash = Flash(bytes(spoiled), address=at_the_end)
        if bytes(spoiled) != data[:0x200]:
            assert sample_app.parse(flash.read, at_the_end) is None


def test_application_is_repeatable_incompressible_and_differs_with_every_argument() -> None:
    changes: list[dict] = [
        {}, {"soc": "nrf52840"}, {"version": "1.2.4"}, {"address": 0x8200}, {"name": "other"}, {"confirm": ConfirmPolicy.AT_ONCE},
        {"self_test_s": 2.0}, {"crash": True}, {"flags": {"a": 1}}, {"seed": 1}, {"size": 4100},
    ]  # fmt: skip

    assert all(app(**change) == app(**change) for change in changes)
    assert len({app(**change)[0x400:0x800] for change in changes}) == len(changes)
    code = app(size=0x10000)[0x400:]
    assert len(zlib.compress(code, 9)) >= len(code)


@pytest.mark.parametrize("size", [1020, 4097, 2 * 1024 * 1024])
def test_application_of_impossible_size_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="size must be a multiple of 4"):
        app(size=size)


def test_application_that_would_pass_the_end_of_flash_is_refused() -> None:
    app(address=0x7F000, size=4096)
    with pytest.raises(ValueError, match="passes the end of the flash of nrf52832"):
        app(address=0x7F000, size=4100)


def test_descriptor_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="use fewer flags or a larger size"):
        app(size=1024, flags={f"flag{n}": n for n in range(100)})


# ------------------------------------------------------------------------------------------------------------ test keys
SMALL_PRIMES = [p for p in range(3, 10_000, 2) if all(p % q for q in range(3, int(p**0.5) + 1, 2))]


def is_probably_prime(number: int) -> bool:
    return all(number % p for p in SMALL_PRIMES) and pow(2, number - 1, number) == 1


@pytest.mark.parametrize(("make", "phrase"), [(test_key.private_key, test_key.PHRASE), (test_key.demo_key, test_key.DEMO_PHRASE)])
def test_rsa_primes_are_the_first_after_the_numbers_drawn(make: Callable[[SignatureAlgorithm], RSAPrivateKey], phrase: bytes) -> None:
    numbers = make(SignatureAlgorithm.RSA_2048).private_numbers()

    for candidate, prime in zip(test_key.rsa_candidates(phrase), (numbers.p, numbers.q), strict=True):
        assert is_probably_prime(prime)
        assert not any(is_probably_prime(between) for between in range(candidate, prime, 2))
    assert numbers.public_numbers.n.bit_length() == 2048


PRINTS = {
    SignatureAlgorithm.ECDSA_P256: "136d8268e56d5289",
    SignatureAlgorithm.ED25519: "33136908f87b9e4a",
    SignatureAlgorithm.RSA_2048: "388fc6263166018d",
}


def test_test_keys_never_change() -> None:
    """Virtual bootloaders have them built in, and image hashes in old plans depend on them."""
    prints = {kind: hashlib.sha256(test_key.embedded_form(test_key.public_key(kind))).hexdigest()[:16] for kind in SignatureAlgorithm}

    assert prints == PRINTS


# -------------------------------------------------------------------------------------------------------------- signing
IMGTOOL_KEYS = {
    SignatureAlgorithm.ECDSA_P256: keys.ECDSA256P1,
    SignatureAlgorithm.ED25519: keys.Ed25519,
    SignatureAlgorithm.RSA_2048: keys.RSA,
}
SIGNATURE_TLVS = {
    SignatureAlgorithm.ECDSA_P256: TlvType.ECDSA_SIG,
    SignatureAlgorithm.ED25519: TlvType.ED25519,
    SignatureAlgorithm.RSA_2048: TlvType.RSA2048_PSS,
}


@pytest.mark.parametrize("algorithm", SignatureAlgorithm)
def test_signed_image_is_accepted_by_imgtool_and_is_the_same_every_time(
    tmp_path: Path, algorithm: SignatureAlgorithm, capsys: pytest.CaptureFixture[str]
) -> None:
    build = ImageBuild(version="1.2.3+4", size=8192)
    first = build_signed(build, soc="nrf52832", memory=MEMORY, folder=tmp_path / "a", signature=algorithm)
    second = build_signed(build, soc="nrf52832", memory=MEMORY, folder=tmp_path / "b", signature=algorithm)

    result, version, digest, _ = Image.verify(first.path, IMGTOOL_KEYS[algorithm](test_key.private_key(algorithm)))

    assert result == VerifyResult.OK
    assert version == (1, 2, 3, 4)
    assert first.image_hash == digest.hex()
    assert Path(first.path).read_bytes() == Path(second.path).read_bytes()
    assert (first.version, first.size, first.sha256) == ("1.2.3+4", second.size, hashlib.sha256(Path(first.path).read_bytes()).hexdigest())
    image = mcuboot.read(first.path).image
    assert image.tlv(TlvType.KEYHASH) == hashlib.sha256(test_key.embedded_form(test_key.public_key(algorithm))).digest()
    assert image.tlv(SIGNATURE_TLVS[algorithm]) is not None
    assert (image.header_size, image.image_size, image.trailing) == (0x200, 8192, 0)
    assert capsys.readouterr().out == ""


def test_signed_image_carries_an_intact_application_where_it_is_linked(tmp_path: Path) -> None:
    record = build_signed(ImageBuild(version="2.0.0", size=4096, confirm="at-once"), soc="nrf52840", memory=MEMORY, folder=tmp_path)

    found = sample_app.parse(Flash(Path(record.path).read_bytes(), address=MEMORY.primary.start).read, MEMORY.primary.start + 0x200)

    assert found is not None
    assert (found.soc, found.version, found.confirm, found.address) == ("nrf52840", "2.0.0", ConfirmPolicy.AT_ONCE, 0xC200)


@pytest.mark.parametrize("align", [4, 8])
def test_padded_image_fills_the_slot_and_requests_the_update(align: int) -> None:
    data = signing.sign(app(), version="1.0.0", key=test_key.private_key(), slot_size=MEMORY.primary.size, align=align, pad=True)

    assert len(data) == MEMORY.primary.size
    assert data[-16:] == bytes.fromhex("77c295f360d2ef7f3552500f2cb67980")
    assert data[-40:-16] == b"\xff" * 24
    assert mcuboot_image.parse(data).trailing == len(data) - mcuboot_image.parse(data).size


def test_image_larger_than_its_slot_is_refused(tmp_path: Path) -> None:
    build = ImageBuild(version="1.0.0", size=MEMORY.primary.size - 4096)

    with pytest.raises(ConfigError, match=r"image 1.0.0 takes \d+ bytes, the slot has room for 221184"):
        build_signed(build, soc="nrf52832", memory=MEMORY, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_folder_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "images").write_text("in the way")

    with pytest.raises(StorageError, match="cannot be written"):
        build_signed(ImageBuild(version="1.0.0", size=4096), soc="nrf52832", memory=MEMORY, folder=tmp_path / "images")


# -------------------------------------------------------------------------------------------------------------- reading
def signed(key: PrivateKey | None = None, **options: object) -> bytes:
    """An image made by imgtool itself, with what `rig` does not use."""
    image = Image(version=decode_version("3.2.1"), header_size=0x200, pad_header=True, **options)
    image.payload = bytes(0x200) + app()
    image.image_size = 4096
    image.create(keys.ECDSA256P1(key or test_key.private_key()), "hash", None, custom_tlvs={0xA0: b"mine"})
    return bytes(image.payload)


def test_protected_entries_are_read_and_covered_by_the_hash() -> None:
    data = signed(security_counter=7)
    image = mcuboot_image.parse(data)

    assert [(tlv.type, tlv.value) for tlv in image.tlvs if tlv.protected] == [(0x50, b"\7\0\0\0"), (0xA0, b"mine")]
    assert image.version == "3.2.1"
    at = data.index(b"mine")
    with pytest.raises(ConfigError, match="hash wrong"):
        mcuboot_image.parse(data[:at] + b"M" + data[at + 1 :])


SPOILED = [
    (lambda data: b"\0" * len(data), "bad magic 0x00000000"),
    (lambda data: data[:31], "truncated: 31 bytes, an MCUboot header alone takes 32"),
    (lambda data: data[:0x400], "truncated: header and payload take 4608 bytes, the file has 1024"),
    (lambda data: data[:0x1200], "truncated: no protected TLV area at offset 4608"),
    (lambda data: data[:0x1208], "truncated: the protected TLV area takes"),
    (lambda data: data[:-1], "truncated: the TLV area takes"),
    (lambda data: data[:0x1200] + b"\0" + data[0x1201:], "broken protected TLV area at offset 4608: it starts with 0x6900, not 0x6908"),
    (lambda data: data[:10] + b"\x30" + data[11:], "broken protected TLV area: it takes 20 bytes, the header says 48"),
    (lambda data: data[:0x1206] + b"\xff" + data[0x1207:], "broken protected TLV area: entry 0x50 at offset 4612 passes its end"),
    (lambda data: data[:8] + b"\x10\0" + data[10:], "broken header: header size 16"),
    (lambda data: data[:12] + bytes(4) + data[16:], "broken header: header size 512, payload size 0"),
    (lambda data: data[:0x800] + bytes(4) + data[0x804:], "hash wrong: the SHA256 entry says"),
    (lambda data: data[:20] + b"\x09" + data[21:], "hash wrong"),
    (lambda data: data.replace(b"\x10\0\x20\0", b"\xa1\0\x20\0", 1), "no hash in the TLV area"),
    (lambda data: b"\x7fELF" + data, "this is an ELF file"),
    (lambda data: b"PK\3\4" + data, "this is a zip archive"),
    (lambda data: data[0x200:], "unsigned binary"),
]  # fmt: skip


@pytest.mark.parametrize(("spoil", "reason"), SPOILED, ids=[row[1] for row in SPOILED])
def test_broken_image_is_refused_and_the_broken_part_named(tmp_path: Path, spoil, reason: str) -> None:
    path = tmp_path / "image.bin"
    path.write_bytes(spoil(signed(security_counter=7)))

    with pytest.raises(ConfigError) as caught:
        mcuboot.read(path)

    assert str(caught.value).startswith(f"{path}: ")
    assert reason in str(caught.value)


def test_image_cut_anywhere_is_refused() -> None:
    data = signed(security_counter=7)
    for length in [*range(0x210), *range(0x11F0, len(data))]:
        with pytest.raises(ConfigError):
            mcuboot_image.parse(data[:length])


def test_missing_image_file_is_the_operators_mistake(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        mcuboot.read(tmp_path / "none.bin")


def test_encrypted_image_is_not_looked_into() -> None:
    data = bytearray(signed())
    data[16] |= mcuboot_image.ImageFlag.ENCRYPTED_AES128
    data[0x200:0x1200] = random.Random(1).randbytes(0x1000)

    image = mcuboot_image.parse(bytes(data))

    assert not image.is_plain
    assert compatibility.unfit(bytes(data), image, soc="nrf52832", slot_start=0xC000, slot_end=0x43000) is None


# -------------------------------------------------------------------------------------------------------- fit for a SoC
def foreign(initial_sp: int, reset: int) -> bytes:
    """Somebody's firmware: a vector table and nothing that we know."""
    body = initial_sp.to_bytes(4, "little") + reset.to_bytes(4, "little") + bytes(4088)
    return signing.sign(body, version="1.0.0", key=test_key.private_key(), slot_size=MEMORY.primary.size, align=4)


@pytest.mark.parametrize(
    ("initial_sp", "reset", "reason"),
    [
        (0x2001_0000, 0xC401, None),
        (0x2000_0800, 0x42FFF, None),
        (0x2004_0000, 0xC401, "image is for another SoC (initial stack pointer 0x20040000 lies beyond the 64 KiB RAM of nrf52832)"),
        (0x2001_0004, 0xC401, "image is for another SoC"),
        (0x2000_0000, 0xC401, "not in RAM"),
        (0xFFFF, 0xC401, "not in RAM"),
        (0x2000_0802, 0xC401, "not aligned"),
        (0x2000_0800, 0xC400, "no Thumb bit"),
        (0x2000_0800, 0x43001, "reset vector 0x00043001 lies outside the primary slot (0xc000 to 0x43000)"),
        (0x2000_0800, 0x0401, "outside the primary slot"),
    ],
)
def test_foreign_firmware_is_judged_by_its_vector_table(initial_sp: int, reset: int, reason: str | None) -> None:
    data = foreign(initial_sp, reset)

    found = compatibility.unfit(data, mcuboot_image.parse(data), soc="nrf52832", slot_start=0xC000, slot_end=0x43000)

    assert found is None if reason is None else reason in str(found)


# ------------------------------------------------------------------------------------------------------------ provision
BUILDS = Images(old=ImageChoice(every=ImageBuild(version="1.0.0", size=4096)), new=ImageChoice(every=ImageBuild(version="1.1.0", size=4096)))


def test_boards_of_one_kind_share_their_packages(tmp_path: Path) -> None:
    one, two, other = (provide(BUILDS, given, tmp_path) for given in (board(), board(name="dk2"), board("nrf52840")))

    assert one == two
    assert one.again is None
    assert {one.old.version, one.new.version} == {"1.0.0", "1.1.0"}
    assert len({package.image_hash for package in (one.old, one.new, other.old, other.new)}) == 4
    assert sorted(path.name[:19] for path in tmp_path.iterdir()) == [
        "new-1.1.0-nrf52832-", "new-1.1.0-nrf52840-", "old-1.0.0-nrf52832-", "old-1.0.0-nrf52840-",
    ]  # fmt: skip


def test_images_on_disk_are_used_as_they_are_and_checked_against_the_board(tmp_path: Path) -> None:
    built = provide(BUILDS, board("nrf52840"), tmp_path)
    images = Images(old=ImageChoice(by_soc={"nrf52840": ImagePath(path=built.old.path)}), new=ImageChoice(every=ImagePath(path=built.new.path)))

    assert provide(images, board("nrf52840"), tmp_path / "none") == built
    with pytest.raises(ConfigError, match="no image 'old' for nrf52832"):
        provide(images, board(), tmp_path)
    with pytest.raises(ConfigError, match="image is for another SoC"):
        provide(Images(old=images.new, new=images.new), board(), tmp_path)


def pem(key: PrivateKey, password: bytes | None = None) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(password) if password else NoEncryption())


def test_own_key_signs_what_is_built(tmp_path: Path) -> None:
    own = ec.derive_private_key(12345, ec.SECP256R1())
    (tmp_path / "own.pem").write_bytes(pem(own))
    images = Images(old=BUILDS.old, new=BUILDS.new, key=str(tmp_path / "own.pem"))

    built = provide(images, board(), tmp_path)

    assert Image.verify(built.new.path, keys.ECDSA256P1(own))[0] == VerifyResult.OK
    assert Image.verify(built.new.path, keys.ECDSA256P1(test_key.private_key()))[0] != VerifyResult.OK
    (tmp_path / "own.pem").unlink()
    with pytest.raises(ConfigError, match=r"own.pem: cannot be read"):
        provide(images, board(), tmp_path)


@pytest.mark.parametrize("algorithm", SignatureAlgorithm)
def test_every_kind_of_key_can_be_read_from_a_file(algorithm: SignatureAlgorithm) -> None:
    key = test_key.private_key(algorithm)

    assert test_key.embedded_form(signing_key.load(pem(key)).public_key()) == test_key.embedded_form(key.public_key())


def test_keys_that_cannot_sign_are_refused_without_showing_them() -> None:
    key = test_key.private_key()
    for content, reason in [
        (b"", "not a private key in PEM form"),
        (key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), "it holds a public key"),
        (pem(key, b"secret"), "protected by a password"),
        (pem(ec.derive_private_key(5, ec.SECP384R1())), "unsupported kind of key; known: ecdsa-p256, ed25519, rsa-2048"),
        (pem(key)[:120] + b"\n-----END PRIVATE KEY-----\n", "not a private key in PEM form"),
    ]:
        with pytest.raises(ConfigError) as caught:
            signing_key.load(content)
        assert reason in str(caught.value)
        assert not any(line in str(caught.value) for line in content.decode().splitlines()[1:-1])
