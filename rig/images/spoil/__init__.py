"""Spoiled update packages, made from good ones: what a device must refuse, and what it may take without harm."""

from rig.images.spoil.kind import Expectation, Format, Spoil
from rig.images.spoil.registry import KINDS, format_of, kinds_of, spoil

__all__ = ["KINDS", "Expectation", "Format", "Spoil", "format_of", "kinds_of", "spoil"]
