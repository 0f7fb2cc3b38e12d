"""A campaign folder: created once, then read by everybody.  Writing goes through `Session`."""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Self, TypeVar

from rig.errors import StorageError
from rig.journal import JournalContents, read_journal
from rig.model import ImageFile, Json, Judgement, Trial
from rig.store import disk, layout
from rig.store.codec import canonical, from_json, to_json
from rig.store.records import Evidence, Plan, Provenance, Recovery, Round, TrialRecord

T = TypeVar("T")
_TRIALS_BEGIN = '"trials":['


class Campaign:
    """A plan, where it came from, and everything stored about its trials.

    The files are read anew at each call, so a campaign that is running can be watched.  Every method raises `StorageError` when a
    file is missing, unreadable, or of another version.
    """

    def __init__(self, path: Path, plan: Plan, provenance: Provenance) -> None:
        """Use `create`, `open` or `open_head`."""
        self.path, self.plan, self.provenance = path, plan, provenance
        self.rounds: tuple[Round, ...] = ()
        """What has been planned while the campaign ran; its trials are among the plan's."""
        self._trials = {trial.id: trial for trial in plan.trials}

    @classmethod
    def create(cls, root: Path, plan: Plan, provenance: Provenance) -> Self:
        """Make the folder ``ROOT/CAMPAIGN`` with plan, provenance and copies of the images: all of it, or nothing.

        Raises:
            StorageError: the folder exists, an image is not what the plan says, a name cannot be a file name, or the disk refuses.
        """
        path = root / layout.checked_name(plan.campaign, what="campaign")
        _check(plan)
        if path.exists():
            raise StorageError(f"{path}: exists already; continue it with `rig resume {path}`, or name another folder")
        nascent = root / f".{plan.campaign}.new"
        try:
            shutil.rmtree(nascent, ignore_errors=True)  # left by a run that was killed here
            for folder in (layout.IMAGES, layout.TRIALS):
                (nascent / folder).mkdir(parents=True)
            for image in _images(plan):
                _copy_image(image, _image_path(nascent, image), campaign=path)
            disk.write_json(nascent / layout.PROVENANCE, layout.PROVENANCE_FORMAT, to_json(provenance), campaign=path)
            disk.write_whole(nascent / layout.PLAN, _plan_text(plan).encode("utf-8", "backslashreplace"), campaign=path)
            nascent.replace(path)
            disk.sync_folder(root)
        except OSError as error:
            raise disk.refused(path, error, campaign=path) from error
        finally:
            shutil.rmtree(nascent, ignore_errors=True)
        return cls(path, plan, provenance)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Read the plan and the provenance of an existing campaign."""
        if not (path / layout.PLAN).is_file():
            raise StorageError(f"{path}: no campaign here ({layout.PLAN} is missing)")
        plan = from_json(Plan, disk.read_json(path / layout.PLAN, layout.PLAN_FORMAT), file=str(path / layout.PLAN))
        rounds = _rounds(path)
        plan = replace(plan, trials=(*plan.trials, *(trial for found in rounds for trial in found.trials)))
        _check(plan)
        campaign = cls(path, plan, _provenance(path))
        campaign.rounds = rounds
        return campaign

    @classmethod
    def open_head(cls, path: Path) -> Self:
        """Read everything of a campaign but its list of trials, which may be a gigabyte; `plan.trials` is then empty.

        `judgement`, `evidence`, `journal` and the paths work as ever; `trial` and `record` look a single trial up in the file.
        """
        file = path / layout.PLAN
        if not file.is_file():
            raise StorageError(f"{path}: no campaign here ({layout.PLAN} is missing)")
        with file.open(encoding="utf-8") as lines:
            head = list(itertools.takewhile(lambda line: not line.startswith(_TRIALS_BEGIN), lines))
        plan = from_json(Plan, disk.parse_json("".join(head) + _TRIALS_BEGIN + "]}", file, layout.PLAN_FORMAT), file=str(file))
        return cls(path, plan, _provenance(path))

    # ------------------------------------------------------------------------------------------------------------ trials
    def trial(self, trial_id: str) -> Trial:
        """The planned trial of that name; raises `StorageError` when there is none."""
        if trial_id not in self._trials and not self.plan.trials:
            self._trials |= {trial.id: trial for trial in _sought(self.path / layout.PLAN, trial_id)}
            self._trials |= {trial.id: trial for found in _rounds(self.path) for trial in found.trials}
        try:
            return self._trials[trial_id]
        except KeyError:
            raise StorageError(f"{self.path}: no trial {trial_id!r} in the plan") from None

    def record(self, trial_id: str) -> TrialRecord:
        """What is stored about one trial."""
        trial, folder = self.trial(trial_id), self.trial_folder(trial_id)
        judgement = self.judgement(trial_id)
        evidence = self.evidence(trial_id) if judgement else None
        aside = len(self.aside(trial_id)) + (judgement is None and folder.exists())
        return TrialRecord(trial=trial, judgement=judgement, evidence=evidence, interrupted=aside)

    def add_round(self, round_: Round) -> None:
        """Write a round into the folder, durably, and take its trials into the plan; `Session.add_round` is what to call."""
        plan = replace(self.plan, trials=(*self.plan.trials, *round_.trials))
        _check(plan)
        folder = self.path / layout.ROUNDS
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise disk.refused(folder, error, campaign=self.path) from error
        disk.write_json(folder / f"{round_.number:04d}.json", layout.ROUND_FORMAT, to_json(round_), campaign=self.path)
        self.plan, self.rounds = plan, (*self.rounds, round_)
        self._trials |= {trial.id: trial for trial in round_.trials}

    def judgement(self, trial_id: str) -> Judgement | None:
        """The judgement of a trial, None while there is none."""
        return _read_if_there(Judgement, self.trial_folder(trial_id) / layout.JUDGEMENT, layout.JUDGEMENT_FORMAT)

    def evidence(self, trial_id: str) -> Evidence | None:
        """The list of what a trial's attempt left behind, None while there is none."""
        return _read_if_there(Evidence, self.trial_folder(trial_id) / layout.EVIDENCE, layout.EVIDENCE_FORMAT)

    def records(self) -> Iterator[TrialRecord]:
        """What is stored about every trial, in the order of the plan."""
        return (self.record(trial.id) for trial in self.plan.trials)

    def pending_trials(self) -> list[Trial]:
        """The trials without judgement, in the order of the plan."""
        return [trial for trial in self.plan.trials if not (self.trial_folder(trial.id) / layout.JUDGEMENT).exists()]

    def recoveries(self) -> list[Recovery]:
        """What was done about boards after lost trials, in its order."""
        files = sorted((self.path / layout.RECOVERIES).glob("*.json"))
        return [from_json(Recovery, disk.read_json(file, layout.RECOVERY_FORMAT), file=str(file)) for file in files]

    def quarantined(self) -> dict[str, Recovery]:
        """The boards that run no more trials, each with the recovery that failed; a later one that helped frees a board."""
        last = {recovery.board: recovery for recovery in self.recoveries()}
        return {board: recovery for board, recovery in last.items() if recovery.quarantine is not None}

    def journal(self, trial_id: str) -> JournalContents:
        """What can be read of a trial's journal."""
        return read_journal(self.trial_folder(trial_id) / layout.JOURNAL)

    def altered(self, record: TrialRecord) -> list[str]:
        """What no longer agrees with the record's list of evidence, as `altered_files` says it."""
        return self.altered_files(record.trial.id, record.evidence)

    def altered_files(self, trial_id: str, evidence: Evidence | None) -> list[str]:
        """What no longer agrees with the list of evidence, in words.

        The journal, on which the judgement rests, is compared by its hash; the other files by size.
        """
        found = []
        for file in evidence.files if evidence else ():
            path = self.trial_folder(trial_id) / file.name
            try:
                size = path.stat().st_size
            except OSError as error:
                found.append(f"{file.name}: {error.strerror}")
                continue
            if size != file.size:
                found.append(f"{file.name}: {size} bytes, was {file.size}")
            elif file.name == layout.JOURNAL and disk.sha256_of(path) != file.sha256:
                found.append(f"{file.name}: its hash has changed")
            else:
                continue
            if file.name == layout.JOURNAL:
                found += (f"{file.name}: {complaint}" for complaint in read_journal(path).complaints())
        return found

    # ------------------------------------------------------------------------------------------------------------- paths
    def trial_folder(self, trial_id: str) -> Path:
        """Where the present attempt of a trial lies."""
        return self.path / layout.TRIALS / trial_id

    def aside(self, trial_id: str) -> list[Path]:
        """The folders of interrupted attempts that a later attempt has replaced, in order."""
        folders = (self.trial_folder(f"{trial_id}{layout.ASIDE}{number}") for number in itertools.count(1))
        return list(itertools.takewhile(Path.exists, folders))

    def replays(self, trial_id: str) -> list[Path]:
        """The folders of a trial's repetitions, which never count, in order."""
        folders = (self.path / layout.REPLAYS / f"{trial_id}{layout.REPLAY}{number}" for number in itertools.count(1))
        return list(itertools.takewhile(Path.exists, folders))

    def replayed(self, folder: Path) -> JournalContents:
        """What can be read of a repetition's journal."""
        return read_journal(folder / layout.JOURNAL)

    def image(self, image: ImageFile) -> Path:
        """The campaign's own copy of an update package."""
        return _image_path(self.path, image)

    def product(self, name: str) -> Path:
        """Where a product of the report goes: one of `layout.REPORT`, `JUNIT`, `TABLE_CSV`, `TABLE_PARQUET`, `SUMMARY`."""
        return self.path / name

    def write_product(self, name: str, data: bytes) -> Path:
        """Replace a product of the report and return its path; raises `StorageError` when the disk refuses."""
        return write_product(self.path, name, data)

    def write_summary(self, summary: Mapping[str, Json]) -> Path:
        """Replace ``summary.json`` and return its path."""
        return write_summary(self.path, summary)


def write_product(folder: Path, name: str, data: bytes) -> Path:
    """Replace a product of the report in `folder` and return its path; raises `StorageError` when the disk refuses."""
    disk.write_whole(folder / name, data, campaign=folder)
    return folder / name


def write_summary(folder: Path, summary: Mapping[str, Json]) -> Path:
    """Replace ``summary.json`` in `folder` and return its path; raises `StorageError` when the disk refuses."""
    disk.write_json(folder / layout.SUMMARY, layout.SUMMARY_FORMAT, summary, campaign=folder)
    return folder / layout.SUMMARY


def _rounds(path: Path) -> tuple[Round, ...]:
    """The rounds of a campaign, in order."""
    files = sorted((path / layout.ROUNDS).glob("*.json"))
    return tuple(from_json(Round, disk.read_json(file, layout.ROUND_FORMAT), file=str(file)) for file in files)


def _read_if_there(kind: type[T], path: Path, form: str) -> T | None:
    return from_json(kind, disk.read_json(path, form), file=str(path)) if path.exists() else None


def _provenance(path: Path) -> Provenance:
    file = path / layout.PROVENANCE
    return from_json(Provenance, disk.read_json(file, layout.PROVENANCE_FORMAT), file=str(file))


def _sought(file: Path, trial_id: str) -> Iterator[Trial]:
    """The trial of that name, from the plan's one line about it."""
    mark = f'"id":{canonical(trial_id)}'
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            if mark in line and line.startswith(" {"):
                yield from_json(Trial, json.loads(line.strip().removesuffix(",")), file=str(file))


def _check(plan: Plan) -> None:
    """Refuse a plan that contradicts itself."""
    boards, scenarios = {board.name for board in plan.boards}, {scenario.name for scenario in plan.scenarios}
    seen: set[str] = set()
    for trial in plan.trials:
        layout.checked_name(trial.id, what="trial")
        for name, known, what in ((trial.board, boards, "board"), (trial.scenario, scenarios, "scenario")):
            if name not in known:
                raise StorageError(f"{plan.campaign}: trial {trial.id} names the {what} {name!r}, which the plan does not have")
        if trial.id.lower() in seen:
            raise StorageError(f"{plan.campaign}: two trials are called {trial.id}")
        seen.add(trial.id.lower())


def _plan_text(plan: Plan) -> str:
    """The plan with one trial per line, so that `grep` finds a trial and a diff shows one."""
    others = to_json(plan)
    trials = others.pop("trials")
    lines = [f'"format":{canonical(layout.PLAN_FORMAT)}', *(f"{canonical(key)}:{canonical(value)}" for key, value in others.items())]
    listed = ",\n ".join(map(canonical, trials))
    return "{" + ",\n".join(lines) + f",\n{_TRIALS_BEGIN}\n {listed}\n]}}\n"


def _images(plan: Plan) -> list[ImageFile]:
    """Every update package of the plan, once per content."""
    trials = (*plan.trials, *(template for aimed in plan.aimed for template in aimed.templates))
    used = (image for trial in trials for image in (trial.old, trial.new, trial.again) if image is not None)
    return list({file.sha256: file for image in used for file in (image, image.as_installed)}.values())


def _image_path(campaign: Path, image: ImageFile) -> Path:
    return campaign / layout.IMAGES / f"{image.sha256}{Path(image.path).suffix}"


def _copy_image(image: ImageFile, target: Path, *, campaign: Path) -> None:
    try:
        data = Path(image.path).read_bytes()
    except OSError as error:
        raise StorageError(f"{image.path}: {error.strerror}") from error
    found = hashlib.sha256(data).hexdigest()
    if found != image.sha256:
        raise StorageError(f"{image.path}: its SHA-256 is {found}, the plan says {image.sha256}; plan again")
    disk.write_whole(target, data, campaign=campaign)
