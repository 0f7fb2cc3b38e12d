"""What the rig does in a trial beyond the update, so that its journal tells about the practices."""

from __future__ import annotations

from rig.run.examinations.examination import Scene
from rig.run.examinations.examiner import EXAMINATIONS, Examiner

__all__ = ["EXAMINATIONS", "Examiner", "Scene"]
