"""Spoiled update packages, made from good ones: what a device must refuse, and what it may take without harm."""

from rig.images.spoil.record import spoiled
from rig.images.spoil.registry import Helpers, kind_for, spoil

__all__ = ["Helpers", "kind_for", "spoil", "spoiled"]
