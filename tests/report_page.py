"""A report as a reader of the page sees it and as a browser acts upon it."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

from rig.report import build_report
from rig.store import Campaign


class Page(HTMLParser):
    """What a reader of the page sees and a browser acts upon."""

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.source = path.read_text("utf-8")
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.figures: dict[str, str] = {}
        self.text = self.scripts = self.style = ""
        self._open: list[str] = []
        self._label = ""
        self.feed(self.source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "input", "br", "path", "line", "circle"):
            self._open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
        elif tag == "dt":
            self._label = ""

    def handle_endtag(self, tag: str) -> None:
        if tag in self._open:
            while self._open.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        self.text += data
        if "script" in self._open:
            self.scripts += data
        elif "style" in self._open:
            self.style += data
        elif "svg" in self._open:
            return
        elif "dt" in self._open:
            self._label += data
        elif "dd" in self._open and "small" not in self._open:
            self.figures[self._label] = self.figures.get(self._label, "") + data.strip()
        elif {"td", "th"} & set(self._open) and self.rows:
            self.rows[-1][-1] += data

    def row(self, *starts: str) -> list[str]:
        """The one row of a table that begins with these cells."""
        (found,) = (row for row in self.rows if tuple(row[: len(starts)]) == starts)
        return found

    def summary(self) -> dict[str, object]:
        (script,) = (attrs for tag, attrs in self.tags if tag == "script")
        assert script == {"type": "application/json", "id": "rig-summary"}
        value: dict[str, object] = json.loads(self.scripts)
        return value


def page_of(campaign: Campaign) -> Page:
    return Page(build_report([campaign.path]).written[0])


def judgements(campaign: Campaign) -> list[dict[str, object]]:
    """The stored judgements, read without the code under test."""
    return [json.loads(path.read_text("utf-8")) for path in sorted(campaign.path.glob("trials/*/judgement.json"))]
