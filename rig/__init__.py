"""rig updates nRF52 boards over the air, breaks the update on purpose, and says, with proof, whether the firmware survives.

The package reads in the order the data flows: `config` → `plan` → `bench` → `run` (with `inject`) → `journal` → `judge` → `report`.
Nouns are in `model`, what an instrument must do is in `ports`, and whose fault it was is in `errors`.
"""

__version__ = "0.1.0"
