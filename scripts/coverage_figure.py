"""Strikes every flash operation of an update on two virtual nRF52840, inside and at its boundary, mode by mode, and prints what that took.

Exits with 1 when one was left out, a trial failed or was lost otherwise than at MCUboot's own weak spot, or all modes together took longer
than 20 minutes, which two idle cores do not.  CPU time counts all processes, planning and report included.
"""

from __future__ import annotations

import argparse
import json
import resource
import shlex
import shutil
import subprocess
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rig.coverage import Coverage, coverage
from rig.model import CutPlace, Outcome, Verdict
from rig.plan import Progress
from rig.run.rounds import Rounds
from rig.store import Campaign

RIG = (sys.executable, "-c", "from rig.cli import main; main()")
LIMIT_S = 20 * 60
BOOTLOADERS = {"smp": "rig.virtual.mcuboot:Mcuboot", "secure_dfu": "rig.virtual.secure_dfu:SecureDfuBootloader"}
APPLICATIONS = {"smp": "rig.virtual.smp_application:SmpApplication", "secure_dfu": "rig.virtual.dfu_application:DfuApplication"}


@dataclass(frozen=True, kw_only=True)
class Mode:
    """One way to install.  `phases` are those whose operations are struck, empty for all; `reverts`: the new image is never confirmed."""

    memory: str
    bootloader: dict[str, Any]
    protocol: str = "smp"
    phases: tuple[str, ...] = ()
    reverts: bool = False
    in_place: bool = False


BEHIND_THE_UPLOAD = ("mark", "install", "confirm")
MODES = {
    "swap-offset": Mode(memory="swap-offset", bootloader={"mode": "swap-offset"}),
    "swap-offset-revert": Mode(memory="swap-offset", bootloader={"mode": "swap-offset"}, phases=("install",), reverts=True),
    "swap-move": Mode(memory="swap-move", bootloader={"mode": "swap-move"}, phases=BEHIND_THE_UPLOAD),
    "swap-scratch": Mode(memory="swap-scratch", bootloader={"mode": "swap-scratch"}, phases=BEHIND_THE_UPLOAD),
    "dfu-two-banks": Mode(memory="secure-dfu", bootloader={}, protocol="secure_dfu"),
    "dfu-one-bank": Mode(memory="secure-dfu", bootloader={"single_bank": True}, protocol="secure_dfu", in_place=True),
}
"""Uploads are alike in all modes of MCUboot, so that one of them stands for all."""
COPY_DONE = 32
"""Bytes before the end of the primary slot.  Torn, this word of MCUboot's trailer leaves nothing to revert (docs/virtual-bench.md)."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """What one mode took.  `inside` and `edges` are operations cut there, as docs/faults.md defines it; times in seconds."""

    mode: str
    known: int
    inside: int
    edges: int
    cuts: int
    staged: int
    trials: int
    weak: int
    """Trials that did not revert because the cut struck `copy_done`."""
    passed: int
    wall_s: float
    cpu_s: float

    @property
    def ok(self) -> bool:
        return self.inside == self.edges == self.known > 0 and self.passed + self.weak == self.trials

    def __str__(self) -> str:
        return (
            f"{self.mode:20} {self.known:6} {self.inside:6} {self.edges:6} {self.cuts:6} {self.staged:7} "
            f"{self.weak:6} {self.trials - self.passed - self.weak:6} {self.wall_s:8.0f} {self.cpu_s:8.0f}"
        )


HEAD = f"{'mode':20} {'known':>6} {'inside':>6} {'edges':>6} {'cuts':>6} {'staged':>7} {'weak':>6} {'failed':>6} {'wall s':>8} {'CPU s':>8}"


# ----------------------------------------------------------------------------------------------------------------- files
def boards(folder: Path, mode: Mode) -> Path:
    """A boards file with two boards; JSON is YAML."""
    document = {
        "bench": {"driver": "virtual", "seed": 1},
        "defaults": {
            "soc": "nrf52840",
            "protocol": mode.protocol,
            "memory": {"preset": mode.memory},
            "probe": {"driver": "virtual"},
            "supply": {"driver": "ppk2"},
            "console": {"driver": "uart"},
            "radio": {"driver": "bleak", "adapter": "virtual"},
            "counter": {"driver": "virtual"},
            "in_place": mode.in_place,
            "model": {
                "bootloader": {"class": BOOTLOADERS[mode.protocol], **mode.bootloader},
                "application": {"class": APPLICATIONS[mode.protocol]},
            },
        },
        "boards": [
            {
                "name": name,
                "ble": {"name": f"rig-{name}", "address": f"C0:00:00:00:00:{16 * number:02X}"},
                "supply": {"port": f"virtual:{name}/ppk2"},
                "console": {"port": f"virtual:{name}/console"},
            }
            for number, name in enumerate(("dk1", "dk2"), start=1)
        ],
    }
    return written(folder / "boards.yaml", document)


def scenario(folder: Path, name: str, mode: Mode, *, size_kib: int) -> Path:
    """Every operation of the mode's phases, inside and at its boundary, in large rounds."""
    size = f"{size_kib} KiB"
    aim = {"plan": "every", "places": list(CutPlace), "round": 240, **({"phases": list(mode.phases)} if mode.phases else {})}
    document: dict[str, Any] = {
        "scenario": name,
        "protocol": mode.protocol,
        "images": {
            "old": {"build": {"version": "1.0.0", "size": size}},
            "new": {"build": {"version": "1.1.0", "size": size}},
        },
        "update": {"confirm": not mode.reverts} if mode.protocol == "smp" else {},
        "faults": [{"power_cut": {"aim": aim, "off_ms": 300}}],
        "trials": 4000,
        "seed": 20261123,
        "expect": "rolled_back" if mode.reverts else "updated",
    }
    return written(folder / "scenario.yaml", document)


def written(path: Path, document: dict[str, Any]) -> Path:
    path.write_text(json.dumps(document, indent=1))
    return path


# --------------------------------------------------------------------------------------------------------------- running
def measured(folder: Path, name: str, *, jobs: int, size_kib: int) -> Row:
    """Run one mode as a user would."""
    folder.mkdir(parents=True)
    mode = MODES[name]
    files = scenario(folder, name, mode, size_kib=size_kib), boards(folder, mode)
    arguments = ["run", str(files[0]), "--boards", str(files[1]), "--out", str(folder / "campaign"), "--jobs", str(jobs)]
    print("$ rig", shlex.join(arguments), flush=True)
    wall_s, cpu_s = time.monotonic(), children_s()
    with (folder / "output.txt").open("w") as output:
        subprocess.run([*RIG, *arguments], stdout=output, stderr=subprocess.STDOUT, check=False)  # noqa: S603 - our own command
    return row(folder / "campaign", name, wall_s=time.monotonic() - wall_s, cpu_s=children_s() - cpu_s)


def row(path: Path, name: str, *, wall_s: float, cpu_s: float) -> Row:
    """What the campaign at `path` has struck."""
    campaign = Campaign.open(path)
    trials, progress = campaign.plan.trials, Rounds(campaign).progress(0)
    verdicts = Counter(record.judgement.verdict for record in campaign.records() if record.judgement)
    struck = struck_by(campaign, progress)
    copy_done = campaign.plan.boards[0].memory.primary.end - COPY_DONE
    return Row(
        mode=name,
        known=len(struck.known),
        inside=sum(struck.done[CutPlace.INSIDE][known.site] > 0 for known in struck.known),
        edges=sum(struck.done[CutPlace.BOUNDARY][known.site] > 0 for known in struck.known),
        cuts=sum(trial.fault is not None for trial in trials),
        staged=sum(trial.fault is not None and trial.staged for trial in trials),
        trials=len(trials),
        weak=sum(shot.outcome is Outcome.NOT_REVERTED and shot.address == copy_done for shot in progress.shots),
        passed=verdicts[Verdict.PASS],
        wall_s=round(wall_s, 1),
        cpu_s=round(cpu_s, 1),
    )


def struck_by(campaign: Campaign, progress: Progress) -> Coverage:
    """The operations that were aimed at."""
    (aimed,) = campaign.plan.aimed
    wanted = [known for known in progress.known if aimed.aims_at(known.site.phase, known.kind, known.site.number)]
    return coverage(wanted, progress.shots)


def children_s() -> float:
    """CPU seconds of all processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("reports/coverage-figure"), help="where to put everything; replaced")
    parser.add_argument("--modes", nargs="+", choices=tuple(MODES), default=list(MODES), metavar="MODE", help=", ".join(MODES))
    parser.add_argument("--jobs", type=int, default=2, help="worker processes, 2 when left out; each mode has two boards")
    parser.add_argument("--size", type=int, default=200, metavar="KIB", help="size of the images, 200 when left out")
    parser.add_argument("--json", type=Path, help="write the rows there")
    options = parser.parse_args()
    shutil.rmtree(options.folder, ignore_errors=True)
    rows = [measured(options.folder / name, name, jobs=options.jobs, size_kib=options.size) for name in options.modes]
    wall_s, cpu_s = sum(row.wall_s for row in rows), sum(row.cpu_s for row in rows)
    print("", HEAD, *rows, sep="\n")
    print(f"{len(rows)} of {len(MODES)} modes, {sum(row.cuts for row in rows)} cuts: {wall_s / 60:.1f} minutes, {cpu_s:.0f} s of CPU time")
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))
    sys.exit(not all(row.ok for row in rows) or wall_s > LIMIT_S)


if __name__ == "__main__":
    main()
