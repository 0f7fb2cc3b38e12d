"""The process while real instruments wait for it, and afterwards."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rig.errors import StorageError
from rig.model import InstrumentSpec
from rig.run import single
from rig.run.promptness import prompt

ASK = "import os; print(os.sched_getscheduler(0))"
ORDINARY = getattr(os, "SCHED_RESET_ON_FORK", 0)


class Node:
    """Something that keeps itself alive."""

    def __init__(self) -> None:
        self.me = self


def test_the_collector_does_not_run_meanwhile_and_sees_only_what_is_new_afterwards() -> None:
    with prompt():
        assert not gc.isenabled()
        assert gc.get_freeze_count() > 10_000
        Node()
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0
    assert gc.collect() > 0


def test_within_another_one_it_changes_nothing() -> None:
    with prompt():
        with prompt():
            pass
        assert not gc.isenabled()
        assert gc.get_freeze_count() > 0


@pytest.mark.skipif(not hasattr(os, "sched_setscheduler"), reason="the operating system has no such call")
def test_it_runs_first_where_permitted_and_what_it_starts_does_not() -> None:
    before = os.sched_getscheduler(0) & ~ORDINARY
    with prompt():
        child = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True, check=True).stdout
        assert os.sched_getscheduler(0) & ~ORDINARY in (os.SCHED_RR, before)
    assert int(child) == os.SCHED_OTHER
    assert os.sched_getscheduler(0) & ~ORDINARY == before


@pytest.mark.skipif(not hasattr(os, "sched_setscheduler"), reason="the operating system has no such call")
def test_without_permission_it_does_without(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    with prompt():
        assert not gc.isenabled()
    assert gc.isenabled()


@pytest.mark.parametrize(("driver", "collects"), [("lab", False), ("virtual", True)])
def test_a_trial_on_real_instruments_runs_so_and_one_on_a_virtual_bench_does_not(driver: str, collects: bool) -> None:
    found: list[bool] = []

    def begin(_now: object) -> None:
        found.append(gc.isenabled())
        raise StorageError("the disk is full")

    with pytest.raises(StorageError):
        single.run_one(None, None, InstrumentSpec(driver=driver), clock="wall", begin=begin, image_path=Path)  # type: ignore[arg-type]
    assert found == [collects]
