"""The page: one self-contained HTML file, computed here and laid out by ``report.html.j2``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FunctionLoader, StrictUndefined, Template
from markupsafe import Markup

from rig.accept import Word as Accepted
from rig.gates import Gates
from rig.model import Json, OperationKind, Protocol
from rig.report import breakdown, cutmap, interference, scorecard, trend, words
from rig.report.edges import LATEST, edges
from rig.report.failures import EXCERPTS, Excerpt, Failure, Teller, folder_argument
from rig.report.figures import ShareAxis
from rig.report.gating import GateResult
from rig.report.operations import still_to_strike
from rig.report.recoveries import set_aside
from rig.report.signatures import Member, Signature
from rig.report.statistics.unseen import Unseen, unseen_share
from rig.report.stock import Alteration, Stock
from rig.report.strip import KINDS, strip
from rig.report.table import PARQUET_HINT, has_parquet
from rig.report.timeline import timeline
from rig.report.timing import ChangeAxis
from rig.report.verdict import Findings, Verdict, bound_if_lost, figures, steps
from rig.store import layout

if TYPE_CHECKING:
    from rig.report.statistics.releases import ReleaseComparison

_LISTED = 100
"""Rows of trials lost to the rig that the page shows; all are in the table beside it."""
_LISTED_SCENARIOS = 6
"""With more scenarios than these the page shows the criteria of those that miss them, and folds the others."""
_MEMBERS = 40
"""Trials of a signature that are listed."""
_GAPS = 6
_PROTOCOLS = {Protocol.SMP: "SMP over BLE, MCUboot", Protocol.SECURE_DFU: "Nordic Secure DFU over BLE"}


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What the page is made of.  `folder` is where it will lie, None for beside its only campaign."""

    findings: Findings
    verdict: Verdict
    gates: Gates | None
    summary: Mapping[str, Json]
    products: frozenset[str]
    """Names of the files that are written beside the page."""
    folder: Path | None

    @property
    def stock(self) -> Stock:
        return self.findings.stock

    @property
    def baseline(self) -> Stock | None:
        return self.findings.baseline


@dataclass(frozen=True, kw_only=True)
class Told:
    """A signature as the page tells it: some members in full, the first with an excerpt, the worst of all with a figure."""

    signature: Signature
    members: tuple[Failure, ...]
    more: int
    first: Failure
    excerpt: Excerpt | None
    clock: Markup | None


def render(contents: Contents) -> str:
    """The page as text."""
    return _template().render(_Page(contents).values())


class _Page:
    """Computes what the template shows."""

    def __init__(self, contents: Contents) -> None:
        self.contents, self.stock, self.baseline = contents, contents.stock, contents.baseline
        self.findings = contents.findings
        self.teller = Teller(self.stock, contents.folder)
        self._listed: set[Member] = {
            member for signature in self.findings.signatures for member in signature.members[:_MEMBERS]
        }
        self._home = {
            (member.label, member.trial): signature.id for signature in self.findings.signatures for member in signature.members
        }

    def values(self) -> dict[str, Any]:
        contents, stock, trials = self.contents, self.stock, self.stock.trials
        return {
            "verdict": contents.verdict,
            "word": contents.verdict.word.value,
            "release": self._release,
            "baseline": self._baseline_name,
            "identity": self._identity(),
            "single": stock.single,
            "alterations": self._alterations(),
            "compared": stock.compared,
            "figures": figures(self.findings),
            "gates": contents.gates,
            "results": self.findings.gates,
            "anchors": _ANCHORS,
            "decisions": stock.decisions,
            "met": {name: one for name, one in stock.decisions.items() if one.word is Accepted.ACCEPTED},
            "unmet": {name: one for name, one in stock.decisions.items() if one.word is not Accepted.ACCEPTED},
            "scenarios_listed": _LISTED_SCENARIOS,
            "purposes": {scenario.name: scenario.purpose for campaign in stock.campaigns for scenario in campaign.plan.scenarios},
            "steps": steps(self.findings, contents.verdict),
            **self._recovery(),
            **self._cuts(),
            **self._operations(),
            "signatures": [self._told(index, signature) for index, signature in enumerate(self.findings.signatures)],
            "failed": stock.count.failed,
            "count": stock.count,
            **self._groups(),
            **self._rig(),
            "timing": self.findings.timing,
            "kinds": int(trials["soc"].nunique()),
            "change": ChangeAxis(self.findings.timing.phases),
            **self._interference(),
            "nights": trend.figure(trend.nights(stock, self.baseline)),
            "practices": scorecard.section(stock),
            "outcomes": breakdown.outcomes(trials),
            **self._method(),
        }

    @cached_property
    def _release(self) -> str:
        """The version under test, when there is only one."""
        versions = list(dict.fromkeys(self.stock.trials["new_version"].astype(object)))
        return str(versions[0]) if len(versions) == 1 else ""

    @property
    def _baseline_name(self) -> str:
        if self.baseline is None:
            return ""
        versions = list(dict.fromkeys(map(str, self.baseline.trials["new_version"].astype(object))))
        return versions[0] if len(versions) == 1 and versions[0] != self._release else "the baseline"

    def _identity(self) -> list[str]:
        stock = self.stock
        trials = stock.trials
        spent = float(trials["duration_s"].sum())
        simulated = any(campaign.plan.clock == "virtual" for campaign in stock.campaigns)
        protocols = [_PROTOCOLS[Protocol(name)] for name in dict.fromkeys(trials["protocol"].astype(object))]
        pairs = list(dict.fromkeys(zip(trials["old_version"].astype(object), trials["new_version"].astype(object), strict=True)))
        versions = [" \N{RIGHTWARDS ARROW} ".join(pairs[0])] if len(pairs) == 1 else [f"{len(pairs)} pairs of versions"] if pairs else []
        started = min(campaign.provenance.created for campaign in stock.campaigns)
        return [
            *versions,
            *protocols,
            words.count(len({board.name for campaign in stock.campaigns for board in campaign.plan.boards}), "board"),
            started.replace("T", " ").replace("+00:00", " UTC"),
            f"{words.seconds(spent)} of trials" + (" (simulated time)" if simulated else ""),
            stock.labels[0] if stock.single else words.count(len(stock.labels), "campaign"),
        ]

    def _alterations(self) -> list[tuple[str, Alteration]]:
        """Damaged evidence with the words that stand before the trial's name."""
        theirs = self.baseline.alterations if self.baseline else ()
        return [*(("", one) for one in self.stock.alterations), *(("baseline, ", one) for one in theirs)]

    def _recovery(self) -> dict[str, Any]:
        shares = breakdown.recovery(self.stock.trials)
        before = {share.name: share for share in breakdown.recovery(self.baseline.trials)} if self.baseline else {}
        axis = ShareAxis(shares)
        return {
            "shares": [(share, axis.row(share, before.get(share.name))) for share in shares],
            "share_scale": axis.scale(),
            "comparison": self._comparison(),
        }

    def _comparison(self) -> ReleaseComparison | None:
        if self.baseline is None:
            return None
        from rig.report.statistics.releases import compare_failures  # noqa: PLC0415 - half a second, not needed without a baseline

        return compare_failures(
            breakdown.interrupted_updates(self.stock.trials)[0], breakdown.interrupted_updates(self.baseline.trials)[0]
        )

    def _cuts(self) -> dict[str, Any]:
        stock, stretches = self.stock, self.findings.stretches
        cuts = cutmap.proved_cuts(stock)
        by_operation = cutmap.map_by_operation(stock, cuts, stretches, self._anchor)
        by_time = cutmap.map_by_time(stock, cuts, self._anchor)
        named = (("By flash operation", by_operation), ("By time", by_time))
        gaps = sorted(
            ((first, last, stretch) for stretch in stretches for first, last in stretch.gaps()[:_GAPS]),
            key=lambda gap: (gap[0] - gap[1], gap[2].phase, gap[0]),
        )
        return {
            "maps": [(name, figure) for name, figure in named if figure is not None],
            "cuts": len(cuts),
            "stretches": stretches,
            "gaps": gaps[:_GAPS],
        }

    def _operations(self) -> dict[str, Any]:
        found = self.findings.operations
        status = [cell for one in found for cell in one.coverage.cells() if cell.kind is OperationKind.STATUS]
        return {
            "operations": [(one, strip(one, f"operations-{index}")) for index, one in enumerate(found)],
            "missed": still_to_strike(found, _GAPS),
            "aims": [
                (one, folder_argument(campaign))
                for one in found if one.aimed
                for campaign in self.stock.campaigns if one.aimed in campaign.plan.aimed
            ],
            "kinds_of_operation": KINDS,
            "status_writes": sum(cell.known for cell in status),
            "status_never": sum(len(cell.never) for cell in status),
        }  # fmt: skip

    def _anchor(self, label: str, trial: str) -> str:
        """The element that tells about a failed trial: its own line, or its signature where that lists others."""
        signature = self._home.get((label, trial))
        listed = any((member.label, member.trial) == (label, trial) for member in self._members_of(signature))
        return f"trial-{self.stock.key(label, trial)}" if listed else f"S{signature}"

    @cache  # noqa: B019 - lives as long as the page is made
    def _members_of(self, signature: str | None) -> tuple[Member, ...]:
        return next((one.members[:_MEMBERS] for one in self.findings.signatures if one.id == signature), ())

    def _told(self, index: int, signature: Signature) -> Told:
        members = tuple(self.teller.told(member.label, member.trial) for member in signature.members[:_MEMBERS])
        first = signature.members[0]
        excerpt = self.teller.excerpt(first.label, first.trial) if index < EXCERPTS else None
        folder = self.stock.campaign(first.label).trial_folder(first.trial)
        return Told(
            signature=signature,
            members=members,
            more=len(signature.members) - len(members),
            first=members[0],
            excerpt=excerpt,
            clock=timeline(excerpt, folder, f"clock-{signature.id}") if excerpt is not None and index == 0 else None,
        )

    def _interference(self) -> dict[str, Any]:
        found = interference.levels(self.stock.trials)
        before = interference.levels(self.baseline.trials) if self.baseline else []
        return {"levels": found, "level_figures": interference.figures(found, before) if found else (), "levels_before": before}

    def _groups(self) -> dict[str, Any]:
        return {"boards": breakdown.boards(self.stock), "campaigns": None if self.stock.single else breakdown.nights(self.stock)}

    def _rig(self) -> dict[str, Any]:
        trials = self.stock.trials
        return {
            "lost": self.teller.lost(_LISTED),
            "edges": edges(self.stock),
            "latest": LATEST,
            "rescues": self.findings.rescues[-_LISTED:],
            "rescues_left_out": max(0, len(self.findings.rescues) - _LISTED),
            "set_aside": set_aside(self.findings.rescues),
            "pending": int(trials["verdict"].isna().sum()),
            "interrupted": self._interrupted(),
            "bound_if_lost": bound_if_lost(self.stock),
        }

    def _interrupted(self) -> list[str]:
        """The folders of interrupted attempts, relative to their campaign."""
        trials = self.stock.trials
        torn = trials[trials["interrupted"].gt(0)]
        found = []
        for label, trial in zip(torn["campaign"], torn["trial"], strict=True):
            campaign = self.stock.campaign(label)
            found += [folder.relative_to(campaign.path).as_posix() for folder in campaign.aside(trial)]
        return found

    def _method(self) -> dict[str, Any]:
        stock, contents = self.stock, self.contents
        return {
            "aimed": int(stock.trials["aim"].isin(["coverage", "boundary"]).sum()),
            "staged": int(stock.trials["staged"].astype(bool).sum()),
            "unseen": self._unseen(),
            "simulated": [label for label, c in zip(stock.labels, stock.campaigns, strict=True) if c.plan.clock == "virtual"],
            "sources": list(zip(stock.labels, stock.campaigns, strict=True)),
            "images": self._images(),
            "files": layout,
            "products": contents.products,
            "parquet_hint": "" if has_parquet() else PARQUET_HINT,
            "command": " ".join(folder_argument(campaign) for campaign in stock.campaigns),
            "summary": _script_json(contents.summary),
        }

    def _unseen(self) -> Unseen:
        """Behaviour not seen yet, where a signature is an outcome in a phase, or the signature of a failure."""
        trials = self.stock.trials
        passed = trials[trials["verdict"].eq("PASS")]
        usual = passed.groupby([passed["outcome"].astype(object), passed["fault_phase"].astype(object).fillna("")]).size()
        return unseen_share([*map(int, usual), *(len(signature.members) for signature in self.findings.signatures)])

    def _images(self) -> list[tuple[str, str]]:
        """Every update package, by the path it was read from, and its SHA-256."""
        return sorted({item for campaign in self.stock.campaigns for item in campaign.provenance.images.items()})


_ANCHORS: Mapping[str, str] = {
    "failures": "failures",
    "failure_probability": "phases",
    "flash_coverage": "cuts",
    "spoiled_accepted": "outcomes",
    "update_time": "timing",
    "downtime": "timing",
    "lost_to_rig": "rig",
    "faults_proved": "rig",
    "practices": "practices",
}
"""Which section tells more about a kind of gate."""


@cache
def _template() -> Template:
    """The template with its style sheet; everything that it shows is escaped unless it is markup already."""
    here = resources.files("rig.report")
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=FunctionLoader(lambda name: here.joinpath(name).read_text("utf-8")),
    )
    environment.filters |= {
        "visible": words.visible,
        "percent": words.percent,
        "at_most": words.at_most,
        "seconds": words.seconds,
        "milliseconds": words.milliseconds,
        "signed_seconds": words.signed_seconds,
        "signed_percent": words.signed_percent,
        "phase": words.phase,
        "thousands": lambda number: f"{number:,}",
    }
    environment.globals |= {"counted": words.count, "bounds": words.bounds, "DASH": words.DASH, "listed": words.listed}
    environment.globals["style"] = Markup(here.joinpath("report.css").read_text("utf-8"))  # noqa: S704 - our own file
    # Whatever a template forgets to filter still cannot smuggle in direction marks or control characters.
    environment.finalize = _finalized
    return environment.get_template("report.html.j2")


def _finalized(value: Any) -> Any:
    return words.visible(value) if type(value) is str else value


def _script_json(value: Mapping[str, Json]) -> Markup:
    """JSON that cannot end the script element or open a comment in it."""
    text = json.dumps(value, indent=1, sort_keys=True)
    for char in "<>&":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return Markup(text)  # noqa: S704 - escaped above


def gate_lines(results: Sequence[GateResult]) -> list[str]:
    """The gates as lines of text, for terminals."""
    return [f"{result.gate.id:6} {result.state.value:12} {result.measured:>14} {result.limit:>12}  {result.gate.require}" for result in results]
