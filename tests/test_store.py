"""Campaign folders: what is stored comes back, and nothing is judged twice."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from rig import fault, model
from rig.errors import StorageError
from rig.model import ADDED_LATER, Judgement, Outcome, Verdict
from rig.ports import SupplyTrace
from rig.store import Campaign, Plan, Session, collect_provenance, layout, summarise
from tests import synthetic
from tests.synthetic import Clock, Ending

ROOT = Path(__file__).parent.parent


@pytest.fixture
def fresh(tmp_path: Path) -> Campaign:
    """A campaign of six trials, none run."""
    return synthetic.campaign(tmp_path, trials=6, skip=range(6))


@pytest.fixture
def done(tmp_path: Path) -> Campaign:
    """A campaign of six trials, all run."""
    return synthetic.campaign(
        tmp_path, trials=6, endings={2: Ending(verdict=Verdict.FAIL, outcome=Outcome.BRICKED, reason="no boot")}
    )


def change(path: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    value = json.loads(path.read_text("utf-8"))
    edit(value)
    path.write_text(json.dumps(value), "utf-8")


# ------------------------------------------------------------------------------------------------------------------- files
def test_plan_and_provenance_come_back_as_they_were(tmp_path: Path) -> None:
    plan = synthetic.plan(tmp_path / "images", trials=20)
    provenance = collect_provenance(plan, argv=["rig", "run"], configs={"boards.yaml": "bänch: ✓ \udcff\n"}, source=ROOT)
    path = Campaign.create(tmp_path / "reports", plan, provenance).path
    again = Campaign.open(path)
    assert (again.plan, again.provenance) == (plan, provenance)
    assert {"rig", "python", "sqlite", "apsw"} <= again.provenance.versions.keys()
    assert [trial.id for trial in again.pending_trials()] == [trial.id for trial in plan.trials]


def test_the_plan_has_one_trial_per_line(fresh: Campaign) -> None:
    lines = (fresh.path / layout.PLAN).read_text("utf-8").splitlines()
    assert [sum(f'"id":"{trial.id}"' in line for line in lines) for trial in fresh.plan.trials] == [1] * 6


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every field of a JSON value, except inside those that may hold anything."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield (*path, key)
            if key not in ("options", "model", "versions", "images", "configs"):
                yield from _places(inner, (*path, key))
    elif isinstance(value, list) and value:
        yield from _places(value[0], (*path, 0))


def _named(path: tuple[Any, ...]) -> str:
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


@pytest.mark.parametrize("file", [layout.PLAN, layout.PROVENANCE])
def test_every_field_is_wanted_and_no_other(fresh: Campaign, file: str) -> None:
    path = fresh.path / file
    original = json.loads(path.read_text("utf-8"))
    records = [item for module in (model, fault) for item in vars(module).values() if isinstance(item, type) and is_dataclass(item)]
    later = {field.name for record in (*records, Plan) for field in fields(record) if field.metadata == ADDED_LATER}
    places = [place for place in _places(original) if place != ("format",) and place[-1] not in later]
    assert len(places) > 8

    def damaged(place: tuple[Any, ...], damage: Callable[[Any, Any], None]) -> str:
        value = json.loads(json.dumps(original))
        holder = value
        for step in place[:-1]:
            holder = holder[step]
        damage(holder, place[-1])
        path.write_text(json.dumps(value), "utf-8")
        with pytest.raises(StorageError) as caught:
            Campaign.open(fresh.path)
        return str(caught.value)

    for place in places:
        assert damaged(place, lambda holder, key: holder.pop(key)).startswith(f"{path}: {_named(place)}: missing field;")
        stray = (*place[:-1], "stray")
        assert damaged(stray, lambda holder, key: holder.update({key: 1})).startswith(f"{path}: {_named(stray)}: unknown field;")
        # Python takes True for a number and 1 for a truth value; the files must not.
        swap = damaged(place, lambda holder, key: holder.update({key: 1 if isinstance(holder[key], bool) else True}))
        assert swap.startswith(f"{path}: {_named(place)}: "), place


def test_a_plan_from_before_product_files_is_still_read(fresh: Campaign) -> None:
    def older(value: Any) -> None:
        del value["aimed"]
        for trial in value["trials"]:
            for name in ("inspect", "proves", "product", "further"):
                del trial[name]
            if trial["fault"] is not None:
                trial["fault"] = {name: trial["fault"][name] for name in ("trigger", "off_s", "repeat", "on_s")}
                for name in ("occurrence", "after"):
                    del trial["fault"]["trigger"][name]

    change(fresh.path / layout.PLAN, older)
    assert Campaign.open(fresh.path).plan.trials == fresh.plan.trials


@pytest.mark.parametrize("file", [layout.PLAN, layout.PROVENANCE, layout.JUDGEMENT, layout.EVIDENCE])
def test_another_version_of_a_file_is_refused(done: Campaign, file: str) -> None:
    path = done.path / file if (done.path / file).exists() else done.trial_folder("T-0001") / file
    change(path, lambda value: value.update(format=value["format"].replace("/1", "/2")))
    with pytest.raises(StorageError, match=rf"{path}: the format is 'rig\.\w+/2'; this version of rig reads 'rig\.\w+/1'"):
        list(Campaign.open(done.path).records())


def test_images_are_kept_and_checked(tmp_path: Path) -> None:
    plan = synthetic.plan(tmp_path / "images", trials=2)
    image = plan.trials[0].new
    data = Path(image.path).read_bytes()
    campaign = Campaign.create(tmp_path / "a", plan, synthetic.provenance(plan))
    assert campaign.image(image).read_bytes() == data
    Path(image.path).write_bytes(data + b"!")
    with pytest.raises(StorageError, match=rf"{image.path}: its SHA-256 is \w+, the plan says {image.sha256}; plan again"):
        Campaign.create(tmp_path / "b", plan, synthetic.provenance(plan))
    assert list((tmp_path / "b").iterdir()) == []


def test_a_campaign_is_never_created_over_another(fresh: Campaign) -> None:
    with pytest.raises(StorageError, match=f"exists already; continue it with `rig resume {fresh.path}`"):
        Campaign.create(fresh.path.parent, fresh.plan, fresh.provenance)


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "x" * 101, "T-1.attempt-1", "naïve", "end."])
def test_names_that_cannot_be_file_names_are_refused(fresh: Campaign, tmp_path: Path, name: str) -> None:
    with pytest.raises(StorageError, match="cannot be a file name"):
        Campaign.create(tmp_path / "other", replace(fresh.plan, campaign=name), fresh.provenance)
    trials = (replace(fresh.plan.trials[0], id=name),)
    with pytest.raises(StorageError, match="cannot be a file name"):
        Campaign.create(tmp_path / "other", replace(fresh.plan, campaign="c", trials=trials), fresh.provenance)


def test_a_plan_that_contradicts_itself_is_refused(fresh: Campaign, tmp_path: Path) -> None:
    first, second, *_ = fresh.plan.trials
    for trials, complaint in (
        ((first, replace(second, id=first.id.lower())), "two trials are called"),
        ((replace(first, board="dk9"),), "names the board 'dk9'"),
        ((replace(first, scenario="other"),), "names the scenario 'other'"),
    ):
        with pytest.raises(StorageError, match=complaint):
            Campaign.create(tmp_path / "other", replace(fresh.plan, trials=trials), fresh.provenance)


def test_a_folder_without_a_plan_is_no_campaign(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"no campaign here \(plan.json is missing\)"):
        Campaign.open(tmp_path)


# ---------------------------------------------------------------------------------------------------------------- attempts
def test_raw_evidence_is_kept_byte_by_byte_and_listed(fresh: Campaign) -> None:
    clock = Clock()
    with Session(fresh) as session, session.begin("T-0001", clock) as attempt:
        attempt.console(clock.time_s + 0.5, b"*** Boo")
        attempt.console(clock.time_s + 0.75, b"ting\r\n\xff")
        attempt.radio(b"btsnoop\0")
        attempt.radio(b"\0\0\0\x01")
        trace = SupplyTrace(start_s=1000.25, step_s=1e-5, current_ua=[4000.2, 4000.2, 0.0004, float("nan")], logic=b"\x01\x01\0\0")
        assert attempt.save_trace("supply-1", trace) == "supply-1.csv"
        assert attempt.save_trace("supply-2", replace(trace, logic=b"")) == "supply-2.csv"
        attempt.save("flash.bin", b"\xff" * 16)
        with pytest.raises(StorageError, match="saved it already"):
            attempt.save("flash.bin", b"other")
        with pytest.raises(StorageError, match="4 currents but 3 logic samples"):
            attempt.save_trace("supply-3", replace(trace, logic=b"\0\0\0"))
        with pytest.raises(StorageError, match="cannot be a file name"):
            attempt.save("../judgement.json", b"")
    folder = fresh.trial_folder("T-0001")
    assert (folder / "console.log").read_bytes() == b"*** Booting\r\n\xff"
    assert (folder / "console.times").read_text() == "500000000 0 7\n750000000 7 7\n"
    assert (folder / "radio.btsnoop").read_bytes() == b"btsnoop\0\0\0\0\x01"
    head = "# start_ns=250000000 step_ns=10000\nsamples,current_na,logic\n"
    assert (folder / "supply-1.csv").read_text() == head + "2,4000200,1\n1,0,0\n1,,0\n"
    assert (folder / "supply-2.csv").read_text() == head + "2,4000200,\n1,0,\n1,,\n"
    listed = {file["name"]: file["size"] for file in json.loads((folder / "evidence.json").read_text())["files"]}
    assert listed == {path.name: path.stat().st_size for path in folder.iterdir() if path.name != "evidence.json"}


def test_evidence_says_where_each_fault_fell_and_whether_it_was_proved(tmp_path: Path) -> None:
    unproved = Ending(verdict=Verdict.INCONCLUSIVE, reason="VDD did not fall")
    campaign = synthetic.campaign(tmp_path, trials=10, endings={1: unproved})
    proofs = [[mark.proved for mark in record.evidence.faults] for record in campaign.records() if record.evidence]
    assert proofs == [[True], [False], *([[True]] * 7), []]
    for record in campaign.records():
        assert record.evidence
        assert record.judgement
        for mark in record.evidence.faults:
            events = campaign.journal(record.trial.id).events
            (start,) = (event for event in events if event.kind == "phase.start" and event.data["phase"] == mark.phase)
            (delivered,) = (event for event in events if event.kind == "fault.delivered")
            assert mark.phase == record.judgement.fault_phase
            assert mark.into_phase_ns == delivered.data["vdd_fell_t_ns"] - start.t_ns > 0
            assert mark.operation == delivered.data["operation"] - start.data["operation"] >= 0


def test_evidence_that_changes_afterwards_is_noticed(done: Campaign) -> None:
    folder = done.trial_folder("T-0001")
    assert [done.altered(record) for record in done.records()] == [[]] * 6
    data = bytearray((folder / "journal.jsonl").read_bytes())
    data[300] ^= 1
    (folder / "journal.jsonl").write_bytes(data)
    (folder / "console.log").write_bytes(b"")
    (folder / "console.times").unlink()
    found = done.altered(done.record("T-0001"))
    assert [line.partition(":")[0] for line in found] == ["console.log", "console.times"] + ["journal.jsonl"] * 3
    assert "journal.jsonl: corrupt line 4" in found


# ----------------------------------------------------------------------------------------------------------------- session
def test_a_trial_is_marked_as_running_before_its_folder_exists(fresh: Campaign, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def mkdir(path: Path, **_: object) -> None:
        seen.append([(row.trial, row.state) for row in synthetic.rows(fresh)])
        os.makedirs(path)  # noqa: PTH103

    with Session(fresh) as session:
        monkeypatch.setattr(Path, "mkdir", mkdir)
        session.begin("T-0002", Clock()).close()
    assert seen == [[("T-0002", "running")]]


def test_judged_once_and_only_after_the_attempt(fresh: Campaign) -> None:
    judgement = Judgement(trial="T-0001", verdict=Verdict.PASS, outcome=Outcome.UPDATED, reason="fine")
    with Session(fresh) as session:
        attempt = session.begin("T-0001", Clock())
        with pytest.raises(StorageError, match="cannot be judged before its attempt has been closed"):
            session.record(judgement)
        attempt.close()
        session.record(judgement)
        with pytest.raises(StorageError, match="has been judged already"):
            session.record(replace(judgement, verdict=Verdict.FAIL))
        with pytest.raises(StorageError, match="has been judged already"):
            session.begin("T-0001", Clock())
        with pytest.raises(StorageError, match="no trial 'T-9999' in the plan"):
            session.begin("T-9999", Clock())
    assert fresh.record("T-0001").judgement == judgement
    assert [trial.id for trial in fresh.pending_trials()] == [f"T-{number:04d}" for number in range(2, 7)]


def test_a_second_look_keeps_the_first_judgement(done: Campaign) -> None:
    first = done.record("T-0003").judgement
    assert first is not None
    with Session(done) as session:
        session.record_again(replace(first, verdict=Verdict.PASS))
        session.record_again(replace(first, verdict=Verdict.INCONCLUSIVE))
    folder = done.trial_folder("T-0003")
    verdicts = [
        json.loads((folder / name).read_text())["verdict"] for name in ("judgement-1.json", "judgement-2.json", "judgement.json")
    ]
    assert verdicts == ["FAIL", "PASS", "INCONCLUSIVE"]
    assert [row.verdict for row in synthetic.rows(done) if row.trial == "T-0003"] == ["INCONCLUSIVE"]


def test_an_interrupted_attempt_is_kept_aside_and_the_trial_runs_again(fresh: Campaign) -> None:
    for number in (1, 2):
        with Session(fresh) as session, session.begin("T-0004", Clock()) as attempt:
            attempt.journal.emit("run", "trial.start", number=number)
    assert fresh.record("T-0004").interrupted == 2
    with Session(fresh) as session:
        synthetic.run_trial(session, fresh.trial("T-0004"))
    assert [folder.name for folder in fresh.aside("T-0004")] == ["T-0004.attempt-1", "T-0004.attempt-2"]
    kept = [
        json.loads((folder / "journal.jsonl").read_text().splitlines()[1])["e"]["data"]["number"]
        for folder in fresh.aside("T-0004")
    ]
    assert kept == [1, 2]
    record = fresh.record("T-0004")
    assert (record.interrupted, record.evidence and record.evidence.attempt) == (2, 3)
    assert [(row.number, row.state) for row in synthetic.rows(fresh)] == [(1, "interrupted"), (2, "interrupted"), (3, "judged")]


def test_repetitions_count_for_nothing(done: Campaign) -> None:
    before = summarise(done.plan, done.provenance, done.records())
    with Session(done) as session:
        folders = [session.begin_replay("T-0001", Clock()) for _ in range(2)]
        for attempt in folders:
            attempt.close()
    assert [attempt.folder.name for attempt in folders] == ["T-0001.replay-1", "T-0001.replay-2"]
    assert summarise(done.plan, done.provenance, done.records()) == before


def test_the_summary_counts_the_stored_judgements(tmp_path: Path) -> None:
    endings = {
        0: Ending(verdict=Verdict.FAIL, outcome=Outcome.BRICKED, reason="x"),
        1: Ending(verdict=Verdict.ERROR, outcome=Outcome.UNKNOWN, reason="x"),
        2: Ending(verdict=Verdict.INCONCLUSIVE, outcome=Outcome.UNKNOWN, reason="x"),
    }
    campaign = synthetic.campaign(tmp_path, trials=12, endings=endings, skip=[10, 11])
    summary = summarise(campaign.plan, campaign.provenance, campaign.records())
    assert summary["trials"] == {
        "planned": 12, "attempted": 10, "interrupted": 0, "pass": 7, "fail": 1, "inconclusive": 1, "error": 1,
    }  # fmt: skip
    assert summary["outcomes"]["BRICKED"] == 1
    assert sum(summary["outcomes"].values()) == 10
    assert summary["faults"] == {"planned": 11, "requested": 9, "delivered": 9, "proved": 7}
    assert (summary["campaign"], summary["seed"]) == (campaign.plan.campaign, campaign.plan.seed)
