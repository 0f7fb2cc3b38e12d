"""The eleven practices of a good over-the-air update, as far as the stored trials prove them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from rig.model import Trial
from rig.practices import Practice, PracticeScore, RequirementScore, Shown, Standing, score
from rig.product import Product
from rig.report.stock import Stock
from rig.store import Campaign

TITLES: Mapping[Practice, str] = {
    Practice.SIGNING: "Digital signing",
    Practice.ENCRYPTION: "Encryption of the image",
    Practice.CHANNEL: "Protection of the channel",
    Practice.VERSIONS: "Versioning without downgrade",
    Practice.RECOVERY: "Recoverability",
    Practice.LOGGING: "Logging and status reports",
    Practice.TIMELY: "Timely updates",
    Practice.DOWNTIME: "Minimal downtime",
    Practice.AWARENESS: "User awareness",
    Practice.CRYPTO: "Hardware-accelerated crypto",
    Practice.KEYS: "Secure cryptoprocessor and keys",
}
_TONES: Mapping[Standing, str] = {
    Standing.PROVEN: "ok",
    Standing.PARTLY: "warn",
    Standing.FAILED: "bad",
    Standing.ACCEPTED_RISK: "warn",
    Standing.NOT_COVERED: "warn",
    Standing.NOT_APPLICABLE: "mut",
    Standing.INSPECTION_NEEDED: "mut",
}
_LINKS = 3
"""Trials that the page names for each requirement; all are in the table of trials."""


@dataclass(frozen=True, kw_only=True)
class Card:
    """All practices of one product."""

    product: Product
    practices: tuple[PracticeScore, ...]


def cards(stock: Stock) -> tuple[Card, ...]:
    """One card for each product that trials were to prove something about, in the order in which they come."""
    products: dict[str, Product] = {}
    shown: dict[str, list[Shown]] = {}
    for label, campaign in zip(stock.labels, stock.campaigns, strict=True):
        for trial, mine in _findings(stock, label, campaign):
            assert trial.product is not None
            products.setdefault(trial.product.name, trial.product)
            shown.setdefault(trial.product.name, []).extend(mine)
    return tuple(Card(product=product, practices=score(product, shown[name])) for name, product in products.items())


def _findings(stock: Stock, label: str, campaign: Campaign) -> Iterator[tuple[Trial, list[Shown]]]:
    """Every trial that was to prove something, with what it shows; campaigns without any are not read at all."""
    if not any(scenario.proves for scenario in campaign.plan.scenarios):
        return
    whole = campaign if campaign.plan.trials else Campaign.open(campaign.path)
    for record in whole.records():
        if record.trial.product is not None and record.trial.proves:
            name = stock.key(label, record.trial.id)
            findings = record.judgement.findings if record.judgement else ()
            yield record.trial, [Shown(scenario=record.trial.scenario, trial=name, finding=finding) for finding in findings]


def proven(stock: Stock) -> Mapping[int, bool | None]:
    """Which practices (1 to 11) are proven (true) or failed (false) for every product; a practice between the two is missing."""
    standings: dict[int, list[Standing]] = {}
    for card in cards(stock):
        for one in card.practices:
            standings.setdefault(one.practice.value, []).append(one.standing)
    found: dict[int, bool | None] = {}
    for number, all_of_it in standings.items():
        if Standing.FAILED in all_of_it:
            found[number] = False
        elif set(all_of_it) == {Standing.PROVEN}:
            found[number] = True
    return found


# ------------------------------------------------------------------------------------------------------------ the page
def section(stock: Stock) -> Markup:
    """The section of the page; empty where no trial was to prove anything."""
    found = cards(stock)
    if not found:
        return Markup()
    return Markup(  # noqa: S704 - the template escapes whatever comes from outside
        _template().render(cards=found, titles=TITLES, tones=_TONES, tally=_tally, evidence=_evidence, single=stock.single)
    )


def _tally(card: Card) -> str:
    """How many practices stand where, the worst first."""
    counts = {standing: sum(one.standing is standing for one in card.practices) for standing in Standing}
    order = (Standing.FAILED, Standing.ACCEPTED_RISK, Standing.NOT_COVERED, Standing.PARTLY, Standing.PROVEN)
    words = [f"{counts[standing]} {standing}" for standing in order if counts[standing]]
    rest = counts[Standing.NOT_APPLICABLE] + counts[Standing.INSPECTION_NEEDED]
    return ", ".join(words + ([f"{rest} not to be tested here"] if rest else []))


def _evidence(one: RequirementScore) -> list[str]:
    """The trials that show it: those against it, else some of those for it."""
    return [trial for _, trial in (one.failed or one.proved_by)[:_LINKS]]


@cache
def _template() -> Template:
    text = resources.files("rig.report").joinpath("scorecard.html.j2").read_text(encoding="utf-8")
    return Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True).from_string(text)
