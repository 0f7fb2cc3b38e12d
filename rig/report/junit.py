"""JUnit XML for CI: one case per scenario, stratum and fault, one per scenario for its acceptance, one per release gate.

Names hold no counts, so that a CI server recognises a case from run to run.  A trial is a data point inside a case, never a case:
servers limit files to some 30 MB and treat equal names as one.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET  # only written, never parsed

import pandas as pd

from rig.accept import Decision, Word, decide_campaign
from rig.report import statistics
from rig.report.failures import Failure, Teller
from rig.report.gating import GateResult, State
from rig.report.stock import Stock
from rig.report.table import conclusive, failed, judged
from rig.report.verdict import Findings
from rig.report.words import at_most, encodable, visible

_LISTED = 200


def junit_xml(of: Findings, teller: Teller) -> bytes:
    """The document, UTF-8."""
    suites = ET.Element("testsuites", name="rig")
    stock = of.stock
    for scenario in dict.fromkeys(scenario.name for campaign in stock.campaigns for scenario in campaign.plan.scenarios):
        suite = ET.SubElement(suites, "testsuite", name=visible(scenario), timestamp=stock.campaigns[0].provenance.created[:19])
        _acceptance(suite, scenario, _decision(stock, scenario))
        mine = stock.trials[stock.trials["scenario"].eq(encodable(scenario))]
        groups = mine.groupby([mine["stratum"].astype(object), mine["fault"].astype(object)], sort=True)
        for (stratum, fault), group in groups:
            _case(suite, f"rig.{scenario}.{fault}", str(stratum), group, teller)
    if of.gates:
        gates = ET.SubElement(suites, "testsuite", name="gates", timestamp=stock.campaigns[0].provenance.created[:19])
        for result in of.gates:
            _gate(gates, result)
    for suite in suites:
        for attribute, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            suite.set(attribute, str(sum(1 for _ in suite.iter(tag))))
        suite.set("tests", str(len(suite)))
    ET.indent(suites)
    document: bytes = ET.tostring(suites, encoding="utf-8", xml_declaration=True)
    return document + b"\n"


def _decision(stock: Stock, scenario: str) -> Decision:
    """The decisions of all campaigns on a scenario, as one."""
    mine = {name: decision for name, decision in stock.decisions.items() if name == scenario or name.endswith(f": {scenario}")}
    return decide_campaign(mine)


def _acceptance(suite: ET.Element, scenario: str, decision: Decision) -> None:
    case = ET.SubElement(suite, "testcase", classname=visible(f"rig.{scenario}"), name="acceptance", time="0")
    if decision.word is Word.HOLD:
        ET.SubElement(case, "failure", type="HOLD", message=visible(decision.reason))
    elif decision.word is Word.INCONCLUSIVE:
        ET.SubElement(case, "error", type="INCONCLUSIVE", message=visible(decision.reason))


def _gate(suite: ET.Element, result: GateResult) -> None:
    case = ET.SubElement(suite, "testcase", classname="rig.gates", name=visible(result.gate.id), time="0")
    message = visible(f"{result.gate.require}: {result.measured}, limit {result.limit}" + (f"; {result.why}" if result.why else ""))
    if result.state is State.FAIL:
        ET.SubElement(case, "failure", type="FAIL", message=message)
    elif result.state is State.NOT_DECIDED:
        ET.SubElement(case, "error", type="NOT_DECIDED", message=message)


def _case(suite: ET.Element, classname: str, name: str, group: pd.DataFrame, teller: Teller) -> None:
    spent = float(group["duration_s"].sum())
    case = ET.SubElement(suite, "testcase", classname=visible(classname), name=visible(name), time=f"{spent:.3f}")
    ran, sound, bad = judged(group), conclusive(group), failed(group)
    if len(bad):
        bound = at_most(statistics.upper_bound(len(bad), len(sound)))
        message = f"{len(bad)} of {len(sound)} trials failed; at most {bound} of such updates would, at 95 % confidence"
        failure = ET.SubElement(case, "failure", type="FAIL", message=message)
        told = [teller.told(str(row.campaign), str(row.trial)) for row in bad.head(_LISTED).itertuples()]
        failure.text = "\n".join(visible(_line(one)) for one in told)
        if len(bad) > _LISTED:
            failure.text += f"\nand {len(bad) - _LISTED} more in report.html"
        targets = (link.target for one in told for link in one.links)
        ET.SubElement(case, "system-out").text = "\n".join(f"[[ATTACHMENT|{target}]]" for target in targets)  # as GitLab wants it
    elif not len(sound):
        reason = "no trial has been run" if not len(ran) else f"none of {len(ran)} trials says anything about the device"
        ET.SubElement(case, "skipped", message=reason)


def _line(one: Failure) -> str:
    where = "no fault" if one.phase == "control" else one.phase or "no fault"
    return f"{one.trial} on {one.board}: {one.outcome} in {where}; {one.reason}; {one.replay}"
