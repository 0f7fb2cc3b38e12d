"""A summary in Markdown, for pull requests and CI job pages, which drop whatever exceeds a megabyte."""

from __future__ import annotations

from collections.abc import Sequence

from rig.gates import Gates
from rig.report import breakdown, words
from rig.report.verdict import Findings, Verdict, figures, steps

_SIGNATURES, _BOARDS = 50, 200


def summary(of: Findings, verdict: Verdict, gates: Gates | None) -> str:
    """The verdict, the figures, the gates, what it takes to ship, the failures by signature, and the boards."""
    parts = [f"# {verdict.word.value}", _escaped(verdict.reason)]
    parts.append(_table(("Figure", "Value", ""), [(one.label, one.value, one.note) for one in figures(of)]))
    if gates:
        rows = [(one.gate.id, one.gate.require, one.limit, one.measured, one.state.value, one.why) for one in of.gates]
        parts += [f"## Release gates ({gates.file}, sha256 {gates.sha256[:12]}…)", _table(("Gate", "Requirement", "Limit", "Measured", "Result", ""), rows)]
    todo = steps(of, verdict)
    if todo:
        lines = [f"1. {_escaped(step.text)}" + (f" `{step.command.replace('`', '')}`" if step.command else "") for step in todo]
        parts += ["## What it takes to ship", "\n".join(lines)]
    if of.signatures:
        found = [
            (one.id, f"{len(one.members):,} \N{MULTIPLICATION SIGN} {one.outcome}", words.phase(one.phase), words.listed(one.boards), _known(one.known), one.last_line)
            for one in of.signatures[:_SIGNATURES]
        ]
        parts += ["## Failures", _table(("Signature", "Trials", "Phase", "Boards", "Baseline", "Last console line"), found)]
    groups = breakdown.boards(of.stock)
    boards = [(row.name, f"{row.trials:,}", f"{row.failed:,}", f"{row.lost:,}") for row in groups.rows[:_BOARDS]]
    parts += ["## Boards", _table(("Board", "Conclusive", "Failed", "Lost to the rig"), boards), _escaped(groups.homogeneity.note) + "."]
    return "\n\n".join(parts) + "\n"


def _known(number: int | None) -> str:
    return words.DASH if number is None else "new" if number == 0 else f"{number:,}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_escaped(cell) for cell in line) + " |" for line in lines)


def _escaped(text: str) -> str:
    """Text of a device as Markdown shows it, not as it would obey it."""
    safe = words.visible(words.encodable(text)).replace("\\", "\\\\").replace("&", "&amp;").replace("<", "&lt;")
    for char in "|`*_[]":
        safe = safe.replace(char, f"\\{char}")
    return safe
