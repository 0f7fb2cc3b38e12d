"""`pytest tests_hil/contract --boards lab.yaml`: the contracts on real instruments instead of those made here."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--boards", metavar="FILE", help="boards file of a lab: run the contracts on its sacrificial boards, which are overwritten")
    parser.addoption("--image", metavar="FILE", help="with --boards: signed image for the boards with MCUboot, programmed by their probes first")
