"""DFU packages: what is built is what Nordic's tools build, and whatever is wrong with a package is named and goes nowhere."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from rig.errors import ConfigError
from rig.formats import init_packet as wire
from rig.formats.init_packet import FirmwareType, ValidationType
from rig.images import dfu
from rig.images.dfu import BankMode, ImageKind, Part
from rig.images.dfu.archive import Archive
from tests.dfu_device import CAPTURED_INIT_PACKET

KEY = ec.derive_private_key(0x1234_5678_9ABC, ec.SECP256R1())
OTHER_KEY = ec.derive_private_key(0x1234_5678_9ABD, ec.SECP256R1())
PUBLIC = KEY.public_key()
APP = hashlib.shake_256(b"application").digest(10_225)
BOOT = hashlib.shake_256(b"bootloader").digest(24_000)
SD = hashlib.shake_256(b"softdevice").digest(30_000)
FWIDS = (0x100, 0x101)


def app(**changes: Any) -> Part:
    return Part(**{"data": APP, "version": 7, "sd_req": FWIDS, **changes})


def built(**arguments: Any) -> dfu.DfuPackage:
    return dfu.build(**{"hw_version": 52, "application": app(), "key": KEY, **arguments})


def written(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "package.zip"
    path.write_bytes(content)
    return path


# --------------------------------------------------------------------------------------------------------------- building
@pytest.mark.parametrize(
    ("parts", "kinds"),
    [
        ({}, [ImageKind.APPLICATION]),
        ({"application": None, "bootloader": Part(data=BOOT, version=2, sd_req=FWIDS)}, [ImageKind.BOOTLOADER]),
        ({"application": None, "softdevice": Part(data=SD, version=dfu.UNVERSIONED, sd_req=FWIDS)}, [ImageKind.SOFTDEVICE]),
        (
            {"bootloader": Part(data=BOOT, version=2, sd_req=FWIDS), "softdevice": Part(data=SD, version=1, sd_req=(0x101,))},
            [ImageKind.SOFTDEVICE_BOOTLOADER, ImageKind.APPLICATION],
        ),
    ],
)
def test_what_is_built_can_be_read(tmp_path: Path, parts: dict[str, Any], kinds: list[ImageKind]) -> None:
    package = built(**parts)
    path = tmp_path / "package.zip"
    dfu.save(package, path)

    read = dfu.read(path)

    assert [image.kind for image in read.images] == kinds
    assert [(image.init_packet, image.firmware) for image in read.images] == [(i.init_packet, i.firmware) for i in package.images]
    dfu.verify(read, PUBLIC)


def test_softdevice_and_bootloader_become_one_image() -> None:
    bootloader = Part(data=BOOT, version=2, sd_req=(0x99,), boot_validation=ValidationType.ECDSA_P256_SHA256)
    softdevice = Part(data=SD, version=dfu.UNVERSIONED, sd_req=FWIDS, boot_validation=ValidationType.SHA256)

    (image,) = built(application=None, bootloader=bootloader, softdevice=softdevice).images
    command = image.packet.command

    assert image.firmware == SD + BOOT
    assert (command.type, command.sd_size, command.bl_size, command.app_size) == (3, 30_000, 24_000, 0)
    assert (command.fw_version, command.sd_req) == (2, FWIDS)
    assert [entry.type for entry in command.boot_validation] == [ValidationType.SHA256, ValidationType.ECDSA_P256_SHA256]
    assert wire.verify(BOOT, command.boot_validation[1].data, PUBLIC)


def test_the_same_input_gives_the_same_file() -> None:
    content = dfu.to_zip(built())

    assert content == dfu.to_zip(built())
    assert hashlib.sha256(content).hexdigest() == "846b61435d11019752e833878c60175eabfdb3ff6c6233a924abe13641c1341c"


def test_byte_orders_are_nordics() -> None:
    """Computed here by hand: r and s are little-endian, and so is the hash of the firmware."""
    packet = built().images[0].packet
    assert packet.signature is not None
    r, s = int.from_bytes(packet.signature[:32], "little"), int.from_bytes(packet.signature[32:], "little")

    PUBLIC.verify(encode_dss_signature(r, s), packet.signed, ec.ECDSA(hashes.SHA256()))
    with pytest.raises(InvalidSignature):
        PUBLIC.verify(encode_dss_signature(s, r), packet.signed, ec.ECDSA(hashes.SHA256()))
    assert packet.command.hash is not None
    assert packet.command.hash.digest == bytes(reversed(hashlib.sha256(APP).digest()))


def test_an_init_packet_of_nordics_tool_has_the_layout_that_is_built() -> None:
    """A captured packet, taken apart and put together again, is the same bytes; and so are the fields that ours has."""
    packet = wire.decode(CAPTURED_INIT_PACKET)
    command = packet.command
    assert packet.signature is not None

    assert wire.signed_packet(wire.encode_init_command(command), packet.signature) == CAPTURED_INIT_PACKET
    assert (command.hw_version, command.sd_req, command.app_size) == (51, (0x87,), 48_500)
    ours = built(application=app(data=bytes(48_500), version=1, sd_req=(0x87,)), hw_version=51).images[0].packet.command
    assert replace(ours, hash=None) == replace(command, hash=None)


@pytest.mark.parametrize(("text", "number"), [("1.2.3", 10_203), ("0.0.99", 99), ("42", 42), ("4294967295", 0xFFFF_FFFF)])
def test_versions(text: str, number: int) -> None:
    assert dfu.parse_version(text) == number


@pytest.mark.parametrize("text", ["", "1.2", "1.2.3.4", "a", "-1", "1.100.0", "1.0.100", "4294967296", "429497.0.0", "²", " 1"])
def test_versions_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError, match="version"):
        dfu.parse_version(text)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"application": None}, "needs an application"),
        ({"application": app(data=b"")}, "firmware is empty"),
        ({"application": app(version=-1)}, "does not fit into 32 bits"),
        ({"hw_version": 1 << 32}, "does not fit into 32 bits"),
        ({"application": app(sd_req=tuple(range(17)))}, "17 SoftDevices"),
        ({"application": app(sd_req=(0x1_0000,))}, "no SoftDevice's number"),
        ({"application": app(boot_validation=ValidationType.ECDSA_P256_SHA256), "key": None}, "needs a key"),
        ({"application": app(data=bytes((1 << 20) + 1))}, "more than the flash of any SoC"),
    ],
)
def test_what_cannot_be_built(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        built(**arguments)


# ---------------------------------------------------------------------------------------------------------------- reading
def packed(manifest: Any, members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        archive.writestr("manifest.json", manifest if isinstance(manifest, str) else json.dumps(manifest))
    return out.getvalue()


ENTRY = {"bin_file": "a.bin", "dat_file": "a.dat"}
MEMBERS = {"a.bin": APP, "a.dat": built().images[0].init_packet}


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_packages_of_other_tools_are_read(tmp_path: Path, compression: int) -> None:
    manifest = {"manifest": {"dfu_version": 0.5, "application": {**ENTRY, "init_packet_data": {"application_version": 1}}}}

    package = dfu.read(written(tmp_path, packed(manifest, {**MEMBERS, "readme.txt": b"hello"}, compression)))

    assert package.images[0].firmware == APP


@pytest.mark.parametrize("place", ["beside", "metadata", "nowhere"])
def test_sizes_in_the_manifest_of_a_combined_image(tmp_path: Path, place: str) -> None:
    parts = {"bootloader": Part(data=BOOT, version=2, sd_req=FWIDS), "softdevice": Part(data=SD, version=1, sd_req=FWIDS)}
    image = built(application=None, **parts).images[0]
    members = {"a.bin": image.firmware, "a.dat": image.init_packet}
    sizes = {"sd_size": len(SD), "bl_size": len(BOOT)}

    def read() -> dfu.DfuPackage:
        entry = {"beside": ENTRY | sizes, "metadata": ENTRY | {"info_read_only_metadata": sizes}, "nowhere": ENTRY}[place]
        return dfu.read(written(tmp_path, packed({"manifest": {"softdevice_bootloader": entry}}, members)))

    assert read().images[0].firmware == SD + BOOT
    sizes["bl_size"] += 1
    if place != "nowhere":
        with pytest.raises(ConfigError, match="are not those of the init packet"):
            read()


@pytest.mark.parametrize(
    ("manifest", "part"),
    [
        ("{", "manifest: manifest.json is not JSON"),
        ("\ud800".encode("utf-8", "surrogatepass").decode("latin-1"), "manifest: manifest.json is not JSON"),
        ("[" * 50_000, "manifest: manifest.json is not JSON"),
        ('{"manifest": {}, "manifest": {}}', "manifest: manifest.json is not JSON: a key stands in an object twice"),
        (" " * 70_000, "manifest: 70000 bytes are too many"),
        ([], 'manifest: manifest.json has no object "manifest"'),
        ({"manifest": 1}, 'manifest: manifest.json has no object "manifest"'),
        ({"manifest": {}}, "manifest: the manifest names no image"),
        ({"manifest": {"aplication": ENTRY}}, "manifest: unknown kind of image 'aplication'"),
        ({"manifest": {"application": 1}}, "manifest.application: the entry is not an object"),
        ({"manifest": {"application": {"bin_file": "a.bin"}}}, "manifest.application.dat_file: missing"),
        ({"manifest": {"application": {"dat_file": "a.dat"}}}, "manifest.application.bin_file: missing"),
        ({"manifest": {"application": {"bin_file": 5, "dat_file": "a.dat"}}}, "manifest.application.bin_file: must be a file name"),
        ({"manifest": {"application": {**ENTRY, "bin_file": "../a.bin"}}}, "application.bin_file: there is no file '../a.bin'"),
        ({"manifest": {"application": {**ENTRY, "dat_file": "b.dat"}}}, "application.dat_file: there is no file 'b.dat'"),
        ({"manifest": {"bootloader": ENTRY}}, "bootloader.init_packet.type: the manifest says bootloader"),
        ({"manifest": {"softdevice_bootloader": {**ENTRY, "sd_size": "x"}}}, "manifest.softdevice_bootloader: sd_size"),
    ],
)
def test_a_bad_manifest_is_named(tmp_path: Path, manifest: Any, part: str) -> None:
    with pytest.raises(ConfigError) as error:
        dfu.read(written(tmp_path, packed(manifest, MEMBERS)))

    assert f"package.zip: {part}" in str(error.value)


def respun(**changes: Any) -> bytes:
    """The good init packet with other fields, signed again."""
    command = replace(wire.decode(MEMBERS["a.dat"]).command, **changes)
    init = wire.encode_init_command(command)
    return wire.signed_packet(init, wire.sign(init, KEY))


GOOD = MEMBERS["a.dat"]
SIGNED = wire.decode(GOOD)


@pytest.mark.parametrize(
    ("packet", "part"),
    [
        (b"", "application.dat_file: an init packet has 1 to 512 bytes, this one has 0"),
        (bytes(513), "application.dat_file: an init packet has 1 to 512 bytes, this one has 513"),
        (b"\xff" * 20, "application.dat_file: init packet:"),
        (GOOD[:-1], "application.dat_file: init packet: truncated"),
        (GOOD + b"\0", "application.dat_file: init packet:"),
        (b"\x00\x52\x01\x00\xff\xff\xff\xff\x01\x00\xfe\xff\x12\x34", "application.dat_file: init packet:"),  # the legacy format
        (respun(type=None), "application.init_packet.type: the manifest says application, so this must be APPLICATION or EXTERNAL"),
        (respun(type=2), "not BOOTLOADER"),
        (respun(type=9), "not 9"),
        (respun(app_size=None), "application.init_packet.app_size: missing or 0"),
        (respun(app_size=10_224), "application.init_packet.app_size: 10224 bytes are stated, a.bin has 10225"),
        (respun(app_size=0xFFFF_FFFF), "application.init_packet.app_size: 4294967295 bytes are stated"),
        (respun(hash=None), "application.init_packet.hash: there must be a hash of type SHA256"),
        (respun(hash=wire.FirmwareHash(type=4, digest=bytes(64))), "application.init_packet.hash: there must be"),
        (respun(hash=wire.firmware_hash(APP[1:])), "application.init_packet.hash: it is not the hash of a.bin"),
        (respun(hash=wire.FirmwareHash(type=3, digest=hashlib.sha256(APP).digest())), "application.init_packet.hash: it is not"),
        (respun(sd_req=(0x1_0000,)), "application.init_packet.sd_req: 0x10000 is no SoftDevice's number"),
        (respun(boot_validation=(wire.BootValidation(type=7),)), "application.init_packet.boot_validation: type 7 is unknown"),
        (respun(boot_validation=(wire.BootValidation(type=3, data=b"x"),)), "boot_validation: a signature has 64 bytes, this one has 1"),
        (wire.signed_packet(SIGNED.signed, bytes(63)), "application.init_packet.signature: a signature has 64 bytes, this one has 63"),
        (wire.signed_packet(SIGNED.signed, bytes(64), signature_type=1), "application.init_packet.signature_type: ED25519"),
    ],
)
def test_a_bad_init_packet_is_named(tmp_path: Path, packet: bytes, part: str) -> None:
    manifest = {"manifest": {"application": ENTRY}}
    with pytest.raises(ConfigError) as error:
        dfu.read(written(tmp_path, packed(manifest, {**MEMBERS, "a.dat": packet})))

    assert part in str(error.value)
    assert dfu.read_unchecked(tmp_path / "package.zip")[0].init_packet == packet


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    manifest = {"manifest": {"application": ENTRY, "bootloader": {"bin_file": "b.bin", "dat_file": "a.dat"}}}
    members = {**MEMBERS, "a.dat": respun(app_size=1, sd_req=(1 << 16,)), "b.bin": b""}

    with pytest.raises(ConfigError) as error:
        dfu.read(written(tmp_path, packed(manifest, members)))

    assert [problem.key for problem in error.value.problems] == [
        "bootloader.bin_file",
        "application.init_packet.app_size",
        "application.init_packet.sd_req",
    ]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda content: b"", "not a zip file"),
        (lambda content: b"PK", "not a zip file"),
        (lambda content: content[:-1], "not a zip file"),
        (lambda content: content[: len(content) // 2], "not a zip file"),
        (lambda content: content[5000:], "a"),
        (lambda content: content.replace(APP[:50], bytes(50)), "application.bin_file: 'application.bin' is damaged"),
        (lambda content: bytes(33 << 20), "too many for a package"),
    ],
)
def test_a_damaged_archive_is_named(tmp_path: Path, spoil: Callable[[bytes], bytes], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        dfu.read(written(tmp_path, spoil(dfu.to_zip(built()))))


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "none.zip", tmp_path, "\0"):
        with pytest.raises(ConfigError, match="cannot be read"):
            dfu.read(path)


def test_a_member_that_unpacks_to_too_much_is_not_unpacked() -> None:
    bomb = packed("{}", {"a.bin": bytes(17 << 20)}, zipfile.ZIP_DEFLATED)
    assert len(bomb) < 100_000

    with pytest.raises(ConfigError, match="x: 17825792 bytes are too many"):
        Archive(bomb, "bomb").read("a.bin", key="x")


def test_two_members_of_one_name_are_ambiguous(tmp_path: Path) -> None:
    content = dfu.to_zip(built()).replace(b"application.dat", b"application.bin")

    with pytest.raises(ConfigError, match=r"'application\.bin' stands in it twice"):
        dfu.read(written(tmp_path, content))


# ------------------------------------------------------------------------------------------------------------------- fuzz
MUTATIONS = st.lists(
    st.tuples(st.sampled_from(["flip", "cut", "insert", "double"]), st.integers(0, 1 << 20), st.binary(min_size=1, max_size=6)),
    min_size=1,
    max_size=5,
)


def mutated(content: bytes, mutations: list[tuple[str, int, bytes]], *, tail: int = 0) -> bytes:
    """`content` with some bytes changed; with `tail`, only in the last so many."""
    out = bytearray(content)
    for kind, place, noise in mutations:
        at = max(0, len(out) - tail) + place % (min(tail, len(out)) + 1) if tail else place % (len(out) + 1)
        if kind == "flip":
            out[at : at + len(noise)] = noise
        elif kind == "cut":
            del out[at : at + noise[0]]
        elif kind == "insert":
            out[at:at] = noise
        else:
            out[at:at] = out[at : at + noise[0]]
    return bytes(out)


SMALL = dfu.build(hw_version=52, application=app(data=APP[:500]), key=KEY)


@settings(max_examples=500, deadline=None, derandomize=True)
@given(mutations=MUTATIONS, tail=st.sampled_from([0, 22, 300]))
def test_any_archive_is_read_right_or_refused(mutations: list[tuple[str, int, bytes]], tail: int) -> None:
    content = mutated(dfu.to_zip(SMALL), mutations, tail=tail)

    with suppress(ConfigError):
        opened = Archive(content, "fuzz")
        for name in ("application.bin", "application.dat"):
            assert opened.read(name, key=name) in (SMALL.images[0].firmware, SMALL.images[0].init_packet)


@settings(max_examples=500, deadline=None, derandomize=True)
@given(mutations=MUTATIONS)
def test_any_init_packet_is_refused_or_describes_the_firmware(mutations: list[tuple[str, int, bytes]]) -> None:
    image = SMALL.images[0]
    packet = mutated(image.init_packet, mutations)

    with suppress(ConfigError):
        (read,) = dfu.check((replace_packet(packet),), "fuzz").images
        assert read.packet.command.hash == wire.firmware_hash(image.firmware)
        assert read.packet.command.app_size == len(image.firmware)
        if read.packet.signed != image.packet.signed:
            with pytest.raises(ConfigError, match="sign"):
                dfu.verify(dfu.DfuPackage(name="fuzz", images=(read,)), PUBLIC)
        dfu.show(dfu.DfuPackage(name="fuzz", images=(read,)), public_key=PUBLIC, layout=dfu.LAYOUTS["nrf52840"])


def replace_packet(packet: bytes) -> dfu.PackedImage:
    image = SMALL.images[0]
    return dfu.PackedImage(
        kind=image.kind, bin_file=image.bin_file, dat_file=image.dat_file, init_packet=packet, firmware=image.firmware
    )


@settings(max_examples=300, deadline=None, derandomize=True)
@given(packet=st.binary(max_size=600))
def test_random_init_packets_are_refused(packet: bytes) -> None:
    with pytest.raises(ConfigError):
        dfu.check((replace_packet(packet),), "fuzz")


JSON_VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.sampled_from(["a.bin", "a.dat", ""]), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["manifest", "application", "softdevice_bootloader", "bin_file", "dat_file", "sd_size", "bl_size"])
            | st.text(max_size=3),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(value=JSON_VALUES, depth=st.integers(0, 2))
def test_any_manifest_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, value: Any, depth: int) -> None:
    manifest = [value, {"manifest": value}, {"manifest": {"softdevice_bootloader": value, "application": ENTRY}}][depth]
    members = {"a.bin": b"firmware", "a.dat": b"init packet"}

    with suppress(ConfigError):
        images = dfu.read_unchecked(written(tmp_path_factory.getbasetemp(), packed(manifest, members)))
        assert images
        assert {image.firmware for image in images} <= set(members.values())


# ------------------------------------------------------------------------------------------------------------------- keys
def pem(key: Any, **options: Any) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, options.get("encryption", NoEncryption()))


def public_pem(key: Any) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def c_file(key: ec.EllipticCurvePrivateKey) -> bytes:
    numbers = ", ".join(f"0x{byte:02x}" for byte in wire.public_key_bytes(key.public_key()))
    return f"__ALIGN(4) const uint8_t pk[64] =\n{{\n    {numbers}\n}};\n".encode()


def test_keys_come_from_pem_and_from_the_bootloaders_source(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(pem(KEY))
    assert dfu.load_signing_key(path).private_numbers() == KEY.private_numbers()
    for content in (pem(KEY), public_pem(KEY), c_file(KEY)):
        path.write_bytes(content)
        assert dfu.load_public_key(path).public_numbers() == PUBLIC.public_numbers()


BAD_KEYS = {
    "empty": b"",
    "other curve": pem(ec.derive_private_key(5, ec.SECP384R1())),
    "ed25519": pem(ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32)))),
    "password": pem(KEY, encryption=BestAvailableEncryption(b"secret")),
    "cut": pem(KEY)[:-60],
    "short c": c_file(KEY).replace(b"0x", b"0", 1),
    "off curve": c_file(KEY).replace(c_file(KEY)[45:49], b"0x00" if c_file(KEY)[45:49] != b"0x00" else b"0x01", 1),
}


@pytest.mark.parametrize("name", BAD_KEYS)
def test_bad_keys_are_refused_without_showing_them(tmp_path: Path, name: str) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(BAD_KEYS[name])

    for load in (dfu.load_signing_key, dfu.load_public_key):
        with pytest.raises(ConfigError) as error:
            load(path)
        text = f"{error.value} {error.value!r} {error.value.__cause__!r} {error.value.problems!r}"
        assert str(path) in text
        for line in BAD_KEYS[name].splitlines()[1:-1]:
            assert line.decode() not in text


def test_a_missing_key_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        dfu.load_signing_key(tmp_path / "none.pem")


def test_the_signing_key_is_in_nothing_that_is_printed(tmp_path: Path) -> None:
    package = built()
    secret = KEY.private_numbers().private_value
    text = f"{package!r} {KEY!r} {dfu.show(package, public_key=PUBLIC)!r}"

    assert str(secret) not in text
    assert f"{secret:x}" not in text
    assert len(text) < 5_000


# ---------------------------------------------------------------------------------------------------------- show and verify
def test_show_tells_everything() -> None:
    (summary,) = dfu.show(built(), public_key=PUBLIC, layout=dfu.LAYOUTS["nrf52840"])

    assert (summary.kind, summary.type, summary.bin_file) == (ImageKind.APPLICATION, FirmwareType.APPLICATION, "application.bin")
    assert (summary.firmware_size, summary.firmware_sha256) == (10_225, hashlib.sha256(APP).hexdigest())
    assert (summary.fw_version, summary.hw_version, summary.sd_req) == (7, 52, FWIDS)
    assert (summary.signed, summary.signature_valid) == (True, True)
    assert [(c.part, c.validation, c.valid) for c in summary.boot_checks] == [("application", ValidationType.CRC, None)]
    assert summary.bank is not None
    assert (summary.bank.mode, summary.bank.installed_is_assumed) == (BankMode.DUAL, True)
    assert summary.notes == ("the firmware is no whole number of words: some hosts send it so that the device loses its last bytes",)


def test_show_knows_a_wrong_signature_from_none_and_from_no_key() -> None:
    assert dfu.show(built(), public_key=OTHER_KEY.public_key())[0].signature_valid is False
    assert dfu.show(built())[0].signature_valid is None
    unsigned = dfu.show(built(key=None), public_key=PUBLIC)[0]
    assert (unsigned.signed, unsigned.signature_valid) == (False, None)
    assert unsigned.notes[0].startswith("not signed")


def test_verify_names_the_part() -> None:
    ecdsa = ValidationType.ECDSA_P256_SHA256
    dfu.verify(built(application=app(boot_validation=ecdsa)), PUBLIC)
    with pytest.raises(ConfigError, match=r"application\.init_packet\.signature: the init packet is not signed"):
        dfu.verify(built(key=None), PUBLIC)
    with pytest.raises(ConfigError) as error:
        dfu.verify(built(application=app(boot_validation=ecdsa)), OTHER_KEY.public_key())
    assert [problem.key for problem in error.value.problems] == [
        "application.init_packet.signature",
        "application.init_packet.boot_validation",
    ]


def test_boot_signatures_are_checked_part_by_part() -> None:
    ecdsa = ValidationType.ECDSA_P256_SHA256
    bootloader = Part(data=BOOT, version=2, sd_req=FWIDS, boot_validation=ecdsa)
    softdevice = Part(data=SD, version=1, sd_req=FWIDS, boot_validation=ecdsa)
    package = built(application=None, bootloader=bootloader, softdevice=softdevice)

    dfu.verify(package, PUBLIC)
    (summary,) = dfu.show(package, public_key=PUBLIC)
    assert [(check.part, check.valid) for check in summary.boot_checks] == [("SoftDevice", True), ("bootloader", True)]


@pytest.mark.parametrize(
    ("size", "installed", "soc", "mode"),
    [
        (831_488, 10_225, "nrf52840", BankMode.DUAL),  # measured: fits, and one byte more does not
        (831_489, 10_225, "nrf52840", BankMode.SINGLE),
        (831_488, 12_289, "nrf52840", BankMode.SINGLE),
        (843_776, 0, "nrf52840", BankMode.DUAL),
        (843_776, 1, "nrf52840", BankMode.SINGLE),
        (843_777, 0, "nrf52840", BankMode.DOES_NOT_FIT),
        (323_584, 0, "nrf52832", BankMode.DUAL),
        (323_585, 0, "nrf52832", BankMode.DOES_NOT_FIT),
        (159_744, None, "nrf52832", BankMode.DUAL),
        (163_841, None, "nrf52832", BankMode.SINGLE),
    ],
)
def test_single_or_dual_bank(size: int, installed: int | None, soc: str, mode: BankMode) -> None:
    fit = dfu.fit(size, dfu.LAYOUTS[soc], installed=installed)

    assert fit.mode is mode
    if mode is not BankMode.DOES_NOT_FIT:
        assert dfu.fit(size, dfu.LAYOUTS[soc], installed=fit.largest_installed).mode is BankMode.DUAL
        assert dfu.fit(size, dfu.LAYOUTS[soc], installed=fit.largest_installed + 1).mode is BankMode.SINGLE


def test_a_destructive_update_is_told() -> None:
    package = built(application=app(data=bytes(500_000)))

    (summary,) = dfu.show(package, layout=dfu.LAYOUTS["nrf52840"], installed=450_000)

    assert any("an application of 450000 bytes is destroyed before the new one is sent" in note for note in summary.notes)


# ------------------------------------------------------------------------------------------------------------- Intel HEX
def record(kind: int, address: int, data: bytes) -> str:
    body = bytes((len(data), *address.to_bytes(2), kind)) + data
    return f":{(body + bytes((-sum(body) & 0xFF,))).hex().upper()}\n"


END = record(1, 0, b"")
HEX = (
    record(4, 0, b"\0\0") + record(0, 0x0FF0, b"MBR") + record(0, 0x1000, b"\1\2\3\4") + record(0, 0x1008, b"\5")
    + record(4, 0, b"\0\1") + record(0, 0, b"\7") + record(4, 0, b"\x10\0") + record(0, 0x1014, b"UICR") + record(5, 0, bytes(4)) + END
)  # fmt: skip


def test_flash_is_taken_from_a_hex_file(tmp_path: Path) -> None:
    path = tmp_path / "x.HEX"
    path.write_text(HEX)

    softdevice = dfu.load_firmware(path, ImageKind.SOFTDEVICE)
    application = dfu.load_firmware(path, ImageKind.APPLICATION)

    assert softdevice[:12] == b"\1\2\3\4\xff\xff\xff\xff\5\xff\xff\xff"
    assert (len(softdevice), softdevice[-4:]) == (0xF004, b"\7\xff\xff\xff")
    assert (len(application), application[:3]) == (0xF014, b"MBR")
    binary = tmp_path / "x.bin"
    binary.write_bytes(b"abc")
    assert dfu.load_firmware(binary, ImageKind.APPLICATION) == b"abc"


def test_segments_are_paragraphs_of_16_bytes(tmp_path: Path) -> None:
    path = tmp_path / "x.hex"
    path.write_text(record(2, 0, b"\x10\x00") + record(0, 0, b"abcd") + record(2, 0, b"\x10\x01") + record(0, 0, b"efgh") + END)

    assert dfu.load_firmware(path, ImageKind.APPLICATION) == b"abcd" + b"\xff" * 12 + b"efgh"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "cut off"),
        (HEX.replace(END, ""), "cut off"),
        ("hello\n", ":1:1: firmware: not an Intel HEX record"),
        (HEX.replace("4D4252", "4D4253"), ":2:1: firmware: the checksum is wrong"),
        (record(0, 0, b"ab")[:-3] + "\n" + END, "not an Intel HEX record"),
        (record(9, 0, b"") + END, "record type 9"),
        (END, "nothing for the flash"),
        (record(0, 0, b"ab") + record(0, 1, b"b") + END, "address 0x1 is given twice"),
        (record(0, 0, b"ab") + record(4, 0, b"\0\xff") + record(0, 0, b"b") + END, "more than the flash"),
        (":0\xff", "not an Intel HEX record"),
    ],
)
def test_bad_hex_files_are_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "x.hex"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(ConfigError, match=words):
        dfu.load_firmware(path, ImageKind.APPLICATION)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(mutations=MUTATIONS)
def test_any_hex_file_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, mutations: list[tuple[str, int, bytes]]) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.hex"
    path.write_bytes(mutated(HEX.encode(), mutations))

    with suppress(ConfigError):
        assert 0 < len(dfu.load_firmware(path, ImageKind.APPLICATION)) <= 1 << 20
