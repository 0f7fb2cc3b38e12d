"""`rig selfcheck` as its users call it, on a sample of the suite: the matrix on the screen and in its file, and the exit code."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

from tests_hil.campaigns import ROOT, SCENARIOS
from tests_hil.test_command_line import rig

PRODUCTS = ROOT / "products"
PLAIN_UPDATE = "smp-undisturbed"


def suite(folder: Path, *names: str) -> Path:
    """A folder with these scenarios of the practice suite and no others."""
    chosen = folder / "suite"
    chosen.mkdir()
    for name in names:
        (file,) = (SCENARIOS / "practices").rglob(f"{name}.yaml")
        shutil.copy(file, chosen)
    return chosen


def selfcheck(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """One worker is enough: a second would import everything once more for a handful of trials."""
    return rig("selfcheck", *arguments, "--jobs", 1, "--out", "s", folder=folder)


def matrix(folder: Path, product: str = "sample-smp") -> list[dict[str, Any]]:
    return json.loads((folder / product / "matrix.json").read_text(encoding="utf-8"))


def by_defect(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {row["defect"]: row for row in rows if row["defect"]}


def test_every_planted_defect_is_caught_on_the_right_practice(tmp_path: Path) -> None:
    chosen = suite(tmp_path, PLAIN_UPDATE, "smp-access", "smp-lower-version", "smp-unit")

    done = selfcheck(tmp_path, PRODUCTS / "sample-smp", "--short", "--suite", chosen, "--only", "M17,M25,M59,M78")

    assert done.returncode == 0, done.stdout + done.stderr
    rows = matrix(tmp_path / "s")
    assert [(row["board"], row["trials"], row["failed"], row["lost"]) for row in rows if row["defect"] is None] == [
        ("smp1", 3, 0, 0), ("unit", 1, 0, 0)
    ], "the short form shares one run of the suite among the good boards"  # fmt: skip
    found = {
        defect: (row["board"], row["trials"], row["blamed"], row["expected"], row["scenarios"]) for defect, row in by_defect(rows).items()
    }
    assert found == {
        "M17": ("smp1-M17", 2, ["channel"], ["channel"], ["smp-access"]),
        "M25": ("smp1-M25", 2, ["versions"], ["versions"], ["smp-lower-version"]),
        "M59": ("smp1-M59", 1, ["logging"], ["logging"], [PLAIN_UPDATE]),
        "M78": ("unit-M78", 1, ["keys"], ["keys"], ["smp-unit"]),
    }, "the short form: the plain update first, then what concerns a defect, until it is convicted"
    assert {row["caught"] for row in by_defect(rows).values()} == {"right practice"}
    assert "good boards: 4 trials, 0 FAIL, 0 lost" in done.stdout
    assert "defects: 4 on 4 boards, 4 caught, 4 on the right practice" in done.stdout
    assert all(f"{defect:6} right practice" in done.stdout for defect in found)


def test_a_suite_without_the_scenario_that_would_show_it_does_not_catch_a_defect(tmp_path: Path) -> None:
    done = selfcheck(tmp_path, PRODUCTS / "sample-smp", "--suite", suite(tmp_path, PLAIN_UPDATE), "--only", "M25")

    assert done.returncode == 1, done.stdout + done.stderr
    (row,) = by_defect(matrix(tmp_path / "s")).values()
    assert (row["board"], row["trials"], row["failed"], row["lost"], row["blamed"]) == ("smp1-M25", 1, 0, 0, [])
    assert row["caught"] == "not caught"
    assert "M25    not caught" in done.stdout
    assert "defects: 1 on 1 boards, 0 caught, 0 on the right practice" in done.stdout


def test_a_defect_is_planted_once_for_all_products_of_a_protocol(tmp_path: Path) -> None:
    products = [PRODUCTS / name for name in ("sample-smp", "sample-smp-overwrite")]

    done = selfcheck(tmp_path, *products, "--suite", suite(tmp_path, "smp-unit"), "--only", "M78")

    assert done.returncode == 0, done.stdout + done.stderr
    first, second = (matrix(tmp_path / "s", product.name) for product in products)
    assert [row["defect"] for row in first if row["defect"]] == ["M78"]
    assert [row["defect"] for row in second if row["defect"]] == []
    assert all(row["trials"] for row in second), "its good boards run nevertheless"
    assert "defects: 1 on 1 boards, 1 caught" in done.stdout
