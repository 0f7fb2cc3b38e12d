"""Three campaigns on the virtual bench and their reports: good (SHIP), two planted defects (HOLD), a broken rig (NOT DECIDED).

Exits with 1 when a report does not say what it must: the word, the planted defects' signatures on top, replay commands that work.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

RIG = (sys.executable, "-c", "from rig.cli import main; main()")
GATES = "gates.yaml"
EXIT_CODES = {"Ship": 0, "Hold": 1, "Not decided": 2}
DEFECTS = {"status-before-copy": "BRICKED", "no-revert": "NOT_REVERTED"}
"""Planted defects of the bootloader, and the outcome by which each must be found."""
INSTALL_OPERATIONS = 8200
"""About as many as the bench counts while 12 KiB are installed."""


def boards(folder: Path, name: str, **model: Any) -> Path:
    """A boards file with four virtual boards, `model` merged into every board; JSON is YAML."""
    bootloader = {"class": "rig.virtual.mcuboot:Mcuboot", "mode": "swap-offset", **model.pop("bootloader", {})}
    document = {
        "bench": {"driver": "virtual", "seed": 1},
        "defaults": {
            "protocol": "smp",
            "memory": {"preset": "swap-offset"},
            "probe": {"driver": "virtual"},
            "supply": {"driver": "ppk2"},
            "console": {"driver": "uart"},
            "radio": {"driver": "bleak", "adapter": "virtual"},
            "counter": {"driver": "virtual"},
            "model": {"bootloader": bootloader, "application": {"class": "rig.virtual.smp_application:SmpApplication"}, **model},
        },
        "boards": [
            {
                "name": f"dk{number}",
                "soc": "nrf52840" if number < 3 else "nrf52832",
                "ble": {"name": f"rig-dk{number}", "address": f"C0:00:00:00:00:0{number}"},
                "supply": {"port": f"virtual:dk{number}/ppk2"},
                "console": {"port": f"virtual:dk{number}/console"},
            }
            for number in range(1, 5)
        ],
    }
    return written(folder / f"{name}.boards.yaml", document)


def power_cuts(folder: Path, old: str, new: str, *, trials: int) -> Path:
    """Power cuts at any flash operation of the installation and in every other phase, and a control group."""

    def cut(share: int = 1, *, offset_ms: int = 0, **trigger: Any) -> dict[str, Any]:
        drawn = {"offset_ms": {"uniform": [0, offset_ms]}} if offset_ms else {}
        return {"power_cut": {"trigger": trigger, **drawn, "off_ms": 500, "share": share}}

    document = {
        "scenario": "power-cuts",
        "description": "Cut the power anywhere in the update; the device must end with the new image, by itself or at the next try.",
        "protocol": "smp",
        "images": {
            "old": {"build": {"version": old, "size": "12 KiB"}},
            "new": {"build": {"version": new, "size": "12 KiB"}},
            "again": {"build": {"version": "9.0.0", "size": "8 KiB"}},
        },
        "update": {"request": "test", "confirm": True, "again": 0.05},
        "faults": [
            {"none": {"share": 4}},
            cut(2, offset_ms=20, chunk={"uniform": [1, "all"]}),
            cut(offset_ms=60, phase="mark"),
            cut(6, phase="install", flash_operation={"uniform": [1, INSTALL_OPERATIONS]}),
            cut(offset_ms=400, phase="boot_new"),
            cut(offset_ms=60, phase="confirm"),
        ],
        "trials": trials,
        "seed": 20261121,
    }
    return written(folder / f"power-cuts-{new}-{trials}.yaml", document)


def rollback(folder: Path) -> Path:
    """An image that nobody confirms must be rolled back."""
    document = {
        "scenario": "rollback",
        "description": "The new image is never confirmed, so the next reset must bring the old one back.",
        "protocol": "smp",
        "images": {
            "old": {"build": {"version": "1.3.1", "size": "12 KiB"}},
            "new": {"build": {"version": "1.4.0", "size": "12 KiB"}},
        },
        "update": {"request": "test", "confirm": False},
        "expect": "rolled_back",
        "faults": ["none"],
        "trials": 12,
        "seed": 20261122,
    }
    return written(folder / "rollback.yaml", document)


def written(path: Path, document: dict[str, Any]) -> Path:
    path.write_text(json.dumps(document, indent=1))
    return path


def rig(*arguments: str | Path) -> int:
    """Run a command as a user would, and return its exit code."""
    print("$ rig", shlex.join(map(str, arguments)), flush=True)
    return subprocess.run([*RIG, *map(str, arguments)], check=False).returncode  # noqa: S603 - our own command


def report(campaign: Path, baseline: Path, word: str) -> list[str]:
    """Make the report of a campaign; returns what it should say and does not."""
    code = rig("report", campaign, "--baseline", baseline, "--gates", GATES)
    found = summary(campaign)["verdict"]
    right = found["word"] == word and found["exit_code"] == code == EXIT_CODES[word]
    return [] if right else [f"{campaign}: {word} is wanted, not {found['word']} (exit code {code})"]


def summary(campaign: Path) -> Any:
    return json.loads((campaign / "summary.json").read_text())


def planted(campaign: Path) -> list[str]:
    """Whether the first signatures are those of the planted defects, and whether their replay commands reproduce them."""
    signatures = summary(campaign)["signatures"]
    first = {one["outcome"] for one in signatures[: len(DEFECTS)]}
    complaints = [] if first == set(DEFECTS.values()) else [f"{campaign}: the first signatures are {sorted(first)}"]
    return complaints + [
        f"{campaign}: the replay of {one['first']} does not reproduce signature {one['id']}"
        for one in signatures[: len(DEFECTS)]
        if rig("replay", campaign, one["first"], "--times", "3")
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("reports/samples"), help="where to put everything; replaced")
    folder = parser.parse_args().folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    good = boards(folder, "good")
    bad = boards(folder, "two-defects", bootloader={"defects": list(DEFECTS)})
    broken = boards(folder, "broken-rig", power={"back_power_mv": 2500})
    base = folder / "baseline"
    rig("run", power_cuts(folder, "1.3.0", "1.3.1", trials=320), "--boards", good, "--out", base)
    rig("run", power_cuts(folder, "1.3.1", "1.4.0", trials=600), "--boards", good, "--out", folder / "good")
    found = power_cuts(folder, "1.3.1", "1.4.0", trials=320)
    rig("run", found, rollback(folder), "--boards", bad, "--out", folder / "two-defects")
    rig("run", power_cuts(folder, "1.3.1", "1.4.0", trials=60), "--boards", broken, "--out", folder / "broken-rig")
    complaints = report(folder / "good", base, "Ship")
    report(folder / "two-defects", base, "Hold")
    complaints += planted(folder / "two-defects")
    complaints += report(folder / "two-defects", base, "Hold")  # again, now that the repetitions are there
    complaints += report(folder / "broken-rig", base, "Not decided")
    print("\n".join(complaints) or f"the three reports say what they must: {folder}/*/report.html")
    sys.exit(bool(complaints))


if __name__ == "__main__":
    main()
