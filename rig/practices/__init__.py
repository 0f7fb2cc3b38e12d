"""The eleven practices of a safe update: what each asks for, when that applies, and which evidence satisfies it."""

from __future__ import annotations

from rig.practices.catalogue import REQUIREMENTS
from rig.practices.requirement import Applicability, Applies, Assessment, Case, Practice, Requirement
from rig.practices.score import PracticeScore, RequirementScore, Shown, Standing, blamed, score
from rig.practices.standards import STANDARDS, Standard

__all__ = [
    "REQUIREMENTS",
    "STANDARDS",
    "Applicability",
    "Applies",
    "Assessment",
    "Case",
    "Practice",
    "PracticeScore",
    "Requirement",
    "RequirementScore",
    "Shown",
    "Standard",
    "Standing",
    "blamed",
    "score",
]
