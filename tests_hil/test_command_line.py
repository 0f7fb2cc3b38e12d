"""`rig` as its users call it: exit codes, interruption, resumption, and messages instead of tracebacks."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests_hil.campaigns import boards_file, scenario_file

RIG = (sys.executable, "-c", "from rig.cli import main; main()")
CUT = {"power_cut": {"trigger": {"phase": "install"}, "offset_ms": {"uniform": [0, 1500]}, "off_ms": 300}}


def rig(*arguments: object, folder: Path, **options: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(
        [*RIG, *map(str, arguments)], cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False, **options
    )
    assert "Traceback" not in done.stderr + done.stdout
    return done


def summary(campaign: Path) -> dict[str, dict[str, int]]:
    return json.loads((campaign / "summary.json").read_text())


def test_a_good_campaign_is_accepted_and_leaves_everything_behind(tmp_path: Path) -> None:
    scenario, boards = scenario_file(tmp_path, faults=["none", CUT], trials=6), boards_file(tmp_path)
    done = rig("run", scenario, "--boards", boards, "--out", "c", "--jobs", "2", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "ACCEPTED" in done.stdout
    assert {"plan.json", "provenance.json", "summary.json", "trials.csv", "report.html", "junit.xml", "campaign.sqlite"} <= {
        path.name for path in (tmp_path / "c").iterdir()
    }
    assert summary(tmp_path / "c")["trials"]["pass"] == 6
    assert {"journal.jsonl", "console.log", "radio.btsnoop", "judgement.json"} <= {
        path.name for path in (tmp_path / "c/trials/T-0001").iterdir()
    }


def test_one_job_or_two_give_the_same_journals(tmp_path: Path) -> None:
    scenario, boards = scenario_file(tmp_path, faults=["none", CUT], trials=6), boards_file(tmp_path)
    for jobs in (1, 2):
        assert rig("run", scenario, "--boards", boards, "--out", f"c{jobs}", "--jobs", jobs, folder=tmp_path).returncode == 0
    for trial in sorted((tmp_path / "c1/trials").iterdir()):
        for name in ("journal.jsonl", "radio.btsnoop", "console.log"):
            assert (trial / name).read_bytes() == (tmp_path / "c2/trials" / trial.name / name).read_bytes()


def test_a_bad_device_is_held(tmp_path: Path) -> None:
    bootloader = {"class": "rig.virtual.mcuboot:Mcuboot", "defects": ["no-revert"]}
    scenario = scenario_file(tmp_path, update={"request": "test", "confirm": False}, expect="rolled_back")
    done = rig("run", scenario, "--boards", boards_file(tmp_path, bootloader=bootloader), "--out", "c", folder=tmp_path)
    assert done.returncode == 1
    assert "HOLD" in done.stdout
    assert "NOT_REVERTED" in done.stdout + done.stderr


def test_a_broken_rig_is_inconclusive(tmp_path: Path) -> None:
    boards = boards_file(tmp_path, power={"back_power_mv": 1900})
    done = rig("run", scenario_file(tmp_path, faults=[CUT], trials=2), "--boards", boards, "--out", "c", folder=tmp_path)
    assert done.returncode == 2
    assert "NOT DECIDED" in done.stdout
    assert "dk1.supply" in done.stderr


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"faults": [{"power_cut": {"trigger": {"phase": "instal"}, "off_ms": 300}}]}, ["small.yaml:1:", "instal", "install"]),
        ({"images": {"old": {"file": "gone.bin"}, "new": {"file": "gone.bin"}}}, ["small.yaml:1:", "gone.bin"]),
        ({"trials": -3, "seed": "x"}, ["trials", "seed"]),
    ],
)
def test_bad_configuration_ends_with_3_before_anything_is_touched(tmp_path: Path, change: dict[str, object], words: list[str]) -> None:
    done = rig("run", scenario_file(tmp_path, **change), "--boards", boards_file(tmp_path), "--out", "c", folder=tmp_path)
    assert done.returncode == 3
    assert all(word in done.stderr for word in words), done.stderr
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("arguments", [("run",), ("walk",), ("run", "x", "--jobs", "0"), ("replay", "nowhere", "T-1")])
def test_bad_usage_is_a_message(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = rig(*arguments, folder=tmp_path)
    assert done.returncode in (2, 3)
    assert done.stderr


def test_a_killed_campaign_is_resumed_without_losing_or_repeating_a_trial(tmp_path: Path) -> None:
    scenario, boards = scenario_file(tmp_path, faults=["none", CUT], trials=40), boards_file(tmp_path)
    assert rig("plan", scenario, "--boards", boards, "--out", "c", folder=tmp_path).returncode == 0
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    for signal_number in (signal.SIGKILL, signal.SIGINT):
        with subprocess.Popen(
            [*RIG, "resume", "c", "--jobs", "2"], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True,
        ) as running:  # fmt: skip
            before = {path.parent.name: path.stat().st_mtime_ns for path in (tmp_path / "c/trials").glob("*/judgement.json")}
            while len(list((tmp_path / "c/trials").glob("*/judgement.json"))) < len(before) + 3:
                assert running.poll() is None
            if signal_number is signal.SIGKILL:
                os.killpg(running.pid, signal.SIGKILL)
            else:
                running.send_signal(signal.SIGINT)
            _, errors = running.communicate(timeout=60)
        if signal_number is signal.SIGINT:
            assert running.returncode == 130
            assert "rig resume" in errors
    judged = {path.parent.name: path.stat().st_mtime_ns for path in (tmp_path / "c/trials").glob("*/judgement.json")}
    assert 6 <= len(judged) < 40
    done = rig("resume", "c", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert summary(tmp_path / "c")["trials"]["pass"] == 40
    for name, when in judged.items():
        assert (tmp_path / "c/trials" / name / "judgement.json").stat().st_mtime_ns == when


def test_a_worker_that_dies_costs_its_trial_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "deadly.py").write_text(
        "import os\nfrom rig.virtual.smp_application import SmpApplication\n"
        "class Deadly(SmpApplication):\n"
        "    async def run(self, cpu):\n"
        "        if self._image.version == '1.1.0': os._exit(9)\n"
        "        await super().run(cpu)\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{Path(__file__).parents[1]}")
    boards = boards_file(tmp_path, application={"class": "deadly:Deadly"})
    environment = {**os.environ}
    done = subprocess.run(
        [*RIG, "run", str(scenario_file(tmp_path, trials=2)), "--boards", str(boards), "--out", "c", "--jobs", "1"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert summary(tmp_path / "c")["trials"]["error"] == 2
    assert "worker process died" in done.stderr


def test_judging_again_changes_nothing_and_replay_reproduces(tmp_path: Path) -> None:
    scenario, boards = scenario_file(tmp_path, faults=[CUT], trials=2), boards_file(tmp_path)
    assert rig("run", scenario, "--boards", boards, "--out", "c", folder=tmp_path).returncode == 0
    assert "0 of 2 judgements changed" in rig("judge", "c", folder=tmp_path).stdout
    done = rig("replay", "c", "T-0002", "--times", "2", folder=tmp_path)
    assert done.returncode == 0
    assert done.stdout.count("journal identical") == 2
    (tmp_path / "c/report.html").unlink()
    assert rig("report", "c", folder=tmp_path).returncode == 0
    assert (tmp_path / "c/report.html").exists()


def test_a_folder_that_cannot_be_written_is_said_so(tmp_path: Path) -> None:
    scenario, boards = scenario_file(tmp_path), boards_file(tmp_path)
    (tmp_path / "file").write_text("")
    done = rig("run", scenario, "--boards", boards, "--out", "file/c", folder=tmp_path)
    assert done.returncode == 2
    assert "file" in done.stderr


def test_a_full_disk_stops_with_a_message_and_the_campaign_goes_on_later(tmp_path: Path) -> None:
    """A limit on file sizes stands for the full disk: writes fail in the middle of the evidence."""
    scenario, boards = scenario_file(tmp_path, trials=2), boards_file(tmp_path)
    assert rig("plan", scenario, "--boards", boards, "--out", "c", folder=tmp_path).returncode == 0

    def limit() -> None:
        import resource

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))

    done = rig("resume", "c", "--jobs", "1", folder=tmp_path, preexec_fn=limit)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "rig resume" in done.stderr
    done = rig("resume", "c", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert shutil.disk_usage(tmp_path).free > 0


def test_every_command_has_help_with_an_example(tmp_path: Path) -> None:
    for command in ("check", "plan", "run", "resume", "judge", "report", "replay", "schema"):
        done = rig(command, "--help", folder=tmp_path)
        assert done.returncode == 0
        assert "Example:" in done.stdout
