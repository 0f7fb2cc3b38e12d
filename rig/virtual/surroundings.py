"""What stands around the boards of a virtual bench: an interferer and an attenuator, as far as the boards file names them."""

from __future__ import annotations

from collections.abc import Sequence

from rig.errors import ConfigError
from rig.model import Board
from rig.virtual.air import Air
from rig.virtual.attenuator import VirtualAttenuator
from rig.virtual.endpoints import Endpoint
from rig.virtual.interference import Spectrum
from rig.virtual.radio_test_kit import RadioTestKit
from rig.virtual.wires import Wires

INTERFERER = "interferer"
"""The wire to the interferer: ``virtual:interferer``.  One disturbs every board of the bench."""


def surround(boards: Sequence[Board], *, air: Air, wires: Wires) -> dict[str, Endpoint]:
    """Put what the boards name around them; returns what is reached by name instead of a wire, for instance ``dk1/attenuator``.

    Raises:
        ConfigError: several boards have an attenuator: there is one place for it, between all boards and the rest of the air.
    """
    spectrum = Spectrum(air)
    interferer = next((board.interferer for board in boards if board.interferer is not None), None)
    if interferer is not None:
        end = wires.add(INTERFERER, baudrate=int(interferer.options.get("baudrate", 115200)))
        RadioTestKit(end, spectrum)  # its wire keeps it alive
    attenuated = [board.name for board in boards if board.attenuator is not None]
    if len(attenuated) > 1:
        raise ConfigError(f"a virtual bench has room for one attenuator; {' and '.join(attenuated)} have one each")
    return {f"{name}/attenuator": VirtualAttenuator(spectrum) for name in attenuated}
