"""JUnit XML for CI: one case per scenario, stratum and fault, and one per scenario for its acceptance.

Names hold no counts, so that a CI server recognises a case from run to run.  A trial is a data point inside a case, never a case:
servers limit files to some 30 MB and treat equal names as one.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET  # only written, never parsed
from collections.abc import Iterator, Mapping, Sequence

from rig.accept import Decision, Word
from rig.model import Trial, Verdict
from rig.report import statistics
from rig.report.failures import described, folder_argument
from rig.report.table import fault_name
from rig.report.words import at_most, visible
from rig.store import Campaign, TrialRecord

_LISTED = 200


def junit_xml(campaign: Campaign, records: Sequence[TrialRecord], decisions: Mapping[str, Decision]) -> bytes:
    """The document, UTF-8."""
    suites = ET.Element("testsuites", name="rig")
    for scenario, decision in decisions.items():
        mine = [record for record in records if record.trial.scenario == scenario]
        suite = ET.SubElement(suites, "testsuite", name=visible(scenario), timestamp=campaign.provenance.created[:19])
        _acceptance(suite, scenario, decision)
        for (stratum, fault), group in _groups(mine):
            _case(suite, f"rig.{scenario}.{fault}", stratum, campaign, group)
        for attribute, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            suite.set(attribute, str(sum(1 for _ in suite.iter(tag))))
        suite.set("tests", str(len(suite)))
    ET.indent(suites)
    document: bytes = ET.tostring(suites, encoding="utf-8", xml_declaration=True)
    return document + b"\n"


def _groups(records: Sequence[TrialRecord]) -> Iterator[tuple[tuple[str, str], list[TrialRecord]]]:
    """The records by what their trials were planned to be, in an order that does not depend on the plan's draw."""

    def key(trial: Trial) -> tuple[str, str]:
        return trial.stratum, fault_name(trial.fault)

    for wanted in sorted({key(record.trial) for record in records}):
        yield wanted, [record for record in records if key(record.trial) == wanted]


def _acceptance(suite: ET.Element, scenario: str, decision: Decision) -> None:
    case = ET.SubElement(suite, "testcase", classname=visible(f"rig.{scenario}"), name="acceptance", time="0")
    if decision.word is Word.HOLD:
        ET.SubElement(case, "failure", type="HOLD", message=visible(decision.reason))
    elif decision.word is Word.INCONCLUSIVE:
        ET.SubElement(case, "error", type="INCONCLUSIVE", message=visible(decision.reason))


def _case(suite: ET.Element, classname: str, name: str, campaign: Campaign, group: Sequence[TrialRecord]) -> None:
    spent = sum(record.evidence.duration_ns for record in group if record.evidence) / 1e9
    case = ET.SubElement(suite, "testcase", classname=visible(classname), name=visible(name), time=f"{spent:.3f}")
    judged = [record.judgement for record in group if record.judgement]
    sound = [judgement for judgement in judged if judgement.verdict in (Verdict.PASS, Verdict.FAIL)]
    failed = [record for record in group if record.judgement and record.judgement.verdict is Verdict.FAIL]
    if failed:
        bound = at_most(statistics.upper_bound(len(failed), len(sound)))
        message = f"{len(failed)} of {len(sound)} trials failed; at most {bound} of such updates would, at 95 % confidence"
        failure = ET.SubElement(case, "failure", type="FAIL", message=message)
        failure.text = "\n".join(visible(_told(campaign, record)) for record in failed[:_LISTED])
        if len(failed) > _LISTED:
            failure.text += f"\nand {len(failed) - _LISTED} more in report.html"
        links = (link.target for record in failed[:_LISTED] for link in described(campaign, record).links)
        ET.SubElement(case, "system-out").text = "\n".join(f"[[ATTACHMENT|{target}]]" for target in links)  # as GitLab wants it
    elif not sound:
        reason = "no trial has been run" if not judged else f"none of {len(judged)} trials says anything about the device"
        ET.SubElement(case, "skipped", message=reason)


def _told(campaign: Campaign, record: TrialRecord) -> str:
    judgement = record.judgement
    assert judgement is not None
    where = f"{record.trial.id} on {record.trial.board}: {judgement.outcome.value} in {judgement.fault_phase or 'no fault'}"
    return f"{where}; {judgement.reason}; rig replay {folder_argument(campaign)} {record.trial.id}"
