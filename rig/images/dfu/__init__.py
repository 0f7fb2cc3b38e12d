"""Packages for Nordic's Secure DFU: read, check, show, build, verify."""

from rig.images.dfu.banks import LAYOUTS, BankFit, BankLayout, BankMode, fit
from rig.images.dfu.build import UNVERSIONED, Part, build, parse_version, save, to_zip
from rig.images.dfu.firmware_file import load_firmware
from rig.images.dfu.keys import load_public_key, load_signing_key
from rig.images.dfu.package import DfuImage, DfuPackage, ImageKind, PackedImage, check, read, read_unchecked
from rig.images.dfu.summary import BootCheck, ImageSummary, show, verify

__all__ = [
    "LAYOUTS",
    "UNVERSIONED",
    "BankFit",
    "BankLayout",
    "BankMode",
    "BootCheck",
    "DfuImage",
    "DfuPackage",
    "ImageKind",
    "ImageSummary",
    "PackedImage",
    "Part",
    "build",
    "check",
    "fit",
    "load_firmware",
    "load_public_key",
    "load_signing_key",
    "parse_version",
    "read",
    "read_unchecked",
    "save",
    "show",
    "to_zip",
    "verify",
]
