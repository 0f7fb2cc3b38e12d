"""What an operator sees while a campaign runs: a bar on a terminal, plain lines without one."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from rig.model import Judgement, Verdict
from rig.store import Campaign, Recovery

_LINE_EVERY_S = 10.0


class Progress:
    """Counts judgements as they come, anew whenever it is entered.

    FAIL and ERROR are told at once, with reason and trial, unless it is to be `quiet`.
    """

    def __init__(self, campaign: Campaign, *, quiet: bool = False) -> None:
        self._campaign, self._quiet = campaign, quiet
        self._total = self._before = 0
        self._counts: Counter[Verdict] = Counter()
        self._waiting = ""
        self._started = self._last_line = 0.0
        self._console = Console(file=sys.stderr, highlight=False)
        self._bar = Bar(
            TextColumn("[bold]trials[/bold]"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[counts]}{task.fields[waiting]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("trials", start=False, counts="", waiting="")

    def __enter__(self) -> Self:
        self._total = len(self._campaign.plan.trials)
        self._before = self._total - len(self._campaign.pending_trials())
        self._counts.clear()
        self._started = self._last_line = time.monotonic()
        self._bar.reset(self._task, total=self._total, completed=self._before, counts="", waiting="")
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.stop()

    def advance(self, judgement: Judgement) -> None:
        """Count one judgement and show it where it matters."""
        self._counts[judgement.verdict] += 1
        if judgement.verdict is not Verdict.PASS and not self._quiet:
            self._console.print(f"{judgement.trial} {judgement.verdict} {judgement.outcome}: {judgement.reason}", markup=False, soft_wrap=True)
        self._bar.update(self._task, advance=1, counts=self._text())
        done = self._before + self._counts.total()
        if not self._console.is_terminal and (time.monotonic() - self._last_line > _LINE_EVERY_S or done == self._total):
            self._last_line = time.monotonic()
            self._console.print(f"{done}/{self._total} trials: {self._text()}{self._waiting}; {self._left(done)}", markup=False, soft_wrap=True)

    def rescue(self, recovery: Recovery) -> None:
        """Tell what was done about a board after a lost trial, and whether that helped."""
        tried = ", ".join(f"{result.rung} {'failed' if result.trouble else 'helped'}" for result in recovery.climb.rungs)
        end = f"; quarantined: {recovery.quarantine}" if recovery.quarantine is not None else ""
        self._console.print(f"{recovery.board} recovery: {tried}{end}", markup=False, soft_wrap=True)

    def wait(self, waiting: Mapping[str, str]) -> None:
        """Show which boards wait, and for what."""
        self._waiting = "".join(f"; {board} waits for {what}" for board, what in waiting.items())
        self._bar.update(self._task, waiting=self._waiting)

    def warn(self, text: str) -> None:
        """Tell what the operator has to know."""
        self._console.print(text, markup=False, soft_wrap=True)

    def _text(self) -> str:
        return ", ".join(f"{self._counts[verdict]} {verdict.lower()}" for verdict in Verdict if self._counts[verdict])

    def _left(self, done: int) -> str:
        elapsed = time.monotonic() - self._started
        per_trial = elapsed / max(1, self._counts.total())
        return f"{elapsed:.0f} s gone, about {per_trial * (self._total - done):.0f} s left"
