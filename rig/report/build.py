"""From folders to files: reads the campaigns, holds them against the gates, and writes every product that was asked for."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rig.errors import ConfigError
from rig.gates import Gates
from rig.model import Json
from rig.report import markdown, pdf, words
from rig.report.coverage import stretches
from rig.report.failures import Teller
from rig.report.gating import Material, evaluate
from rig.report.junit import junit_xml
from rig.report.operations import operations
from rig.report.page import Contents, gate_lines, render
from rig.report.recoveries import rescues
from rig.report.signatures import signatures
from rig.report.stock import Stock, read_stock
from rig.report.summary import summarised
from rig.report.table import as_csv, as_parquet, has_parquet
from rig.report.timing import timing
from rig.report.verdict import Findings, Verdict, decide
from rig.store import layout, write_product, write_summary

FORMATS = ("html", "pdf", "junit", "md", "csv", "parquet")
DEFAULT_FORMATS = ("html", "junit", "md", "csv")
"""And Parquet, where pyarrow is installed."""

_NAMES = {
    "html": layout.REPORT,
    "pdf": layout.PDF,
    "junit": layout.JUNIT,
    "md": layout.MARKDOWN,
    "csv": layout.TABLE_CSV,
    "parquet": layout.TABLE_PARQUET,
}


@dataclass(frozen=True, kw_only=True)
class Built:
    """What a report says, and where its files are: the page first where it was asked for, the summary last."""

    verdict: Verdict
    summary: Mapping[str, Json]
    gates: tuple[str, ...]
    """One line of text per release gate."""
    written: tuple[Path, ...]


def build_report(
    campaigns: Sequence[Path],
    *,
    baseline: Sequence[Path] = (),
    gates: Gates | None = None,
    formats: Collection[str] | None = None,
    out: Path | None = None,
) -> Built:
    """Report on campaigns, read together, from their stored files only.  The same files always give the same bytes.

    `out` is the folder for the products, made where it is missing; without it the only campaign's own, or ``report-of-N`` beside the
    first of several.

    Raises:
        ConfigError: no campaign, one named twice, a baseline of another product, or a format that this machine cannot write.
        StorageError: a folder is no campaign, was written by another version, cannot be read, or refuses the products.
    """
    wanted = _wanted(formats)
    stock = read_stock(campaigns)
    base = read_stock(baseline) if baseline else None
    if base is not None:
        check_baseline(stock, base)
    findings = _findings(stock, base, gates)
    verdict = decide(stock, findings.gates, findings.signatures)
    folder = _folder(stock, out)
    summary = summarised(findings, verdict, gates)
    own = folder == stock.campaigns[0].path
    contents = Contents(
        findings=findings,
        verdict=verdict,
        gates=gates,
        summary=summary,
        products=frozenset({*(_NAMES[form] for form in wanted if form != "html"), layout.SUMMARY}),
        folder=None if own and stock.single else folder,
    )
    written = [write_product(folder, _NAMES[form], data) for form, data in _products(contents, wanted)]
    written.append(write_summary(folder, summary))
    return Built(verdict=verdict, summary=summary, gates=tuple(gate_lines(findings.gates)), written=tuple(written))


def _wanted(formats: Collection[str] | None) -> list[str]:
    if formats is None:
        return [form for form in FORMATS if form in DEFAULT_FORMATS or (form == "parquet" and has_parquet())]
    for form in formats:
        if form not in FORMATS:
            raise ConfigError(f"no format {form!r}; known formats: {', '.join(FORMATS)}")
    if "parquet" in formats and not has_parquet():
        raise ConfigError("Parquet needs pyarrow: pip install 'rig-ota[parquet]'")
    if "pdf" in formats:
        pdf.browser()  # said now, not after a minute of work
    return [form for form in FORMATS if form in formats]


def check_baseline(stock: Stock, base: Stock) -> None:
    """A baseline must be the same product: a board of the same SoC, protocol and memory map, and none of the same campaigns."""

    def products(of: Stock) -> set[tuple[str, str, str]]:
        return {(board.soc, board.protocol.value, repr(board.memory)) for campaign in of.campaigns for board in campaign.plan.boards}

    def told(of: Stock) -> str:
        return ", ".join(sorted({f"{soc} over {protocol}" for soc, protocol, _ in products(of)})) or "no boards"

    both = {campaign.path.resolve() for campaign in stock.campaigns} & {campaign.path.resolve() for campaign in base.campaigns}
    if both:
        raise ConfigError(f"{min(both)}: is both reported and baseline")
    if not products(stock) & products(base):
        same = " with another memory map" if told(stock) == told(base) else ""
        raise ConfigError(f"the baseline is of another product{same}: {told(base)}, where the report is about {told(stock)}")


def _findings(stock: Stock, base: Stock | None, gates: Gates | None) -> Findings:
    found = tuple(stretches(stock))
    material = Material(stock=stock, baseline=base, stretches=found)
    return Findings(
        stock=stock,
        baseline=base,
        gates=tuple(evaluate(gate, material) for gate in gates.gates) if gates else (),
        signatures=tuple(signatures(stock, base)),
        timing=timing(stock, base),
        stretches=found,
        operations=operations(stock),
        rescues=rescues(stock),
    )


def _folder(stock: Stock, out: Path | None) -> Path:
    if out is None:
        first = stock.campaigns[0].path
        out = first if stock.single else first.parent / f"report-of-{words.count(len(stock.labels), 'campaign').replace(' ', '-')}"
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{out}: {os.strerror(error.errno or 0)}") from error
    return out


def _products(contents: Contents, wanted: Sequence[str]) -> list[tuple[str, bytes]]:
    """Each format's bytes, in the order of the formats."""
    findings = contents.findings
    html = render(contents).encode("utf-8", "backslashreplace") if {"html", "pdf"} & set(wanted) else b""
    makers: Mapping[str, Callable[[], bytes | None]] = {
        "html": lambda: html,
        "pdf": lambda: pdf.printed(html),
        "junit": lambda: junit_xml(findings, Teller(findings.stock, contents.folder)),
        "md": lambda: markdown.summary(findings, contents.verdict, contents.gates).encode("utf-8", "backslashreplace"),
        "csv": lambda: as_csv(findings.stock.trials),
        "parquet": lambda: as_parquet(findings.stock.trials),
    }
    return [(form, data) for form in wanted if (data := makers[form]()) is not None]
