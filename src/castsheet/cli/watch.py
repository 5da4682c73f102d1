"""Shows on a terminal how a request is carried out: bars, findings, lines; all on stderr."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from rich.console import Console

from castsheet.cli import show
from castsheet.jobs.watcher import Tone, Watcher
from castsheet.machine.progress import progress, stderr_console
from castsheet.run import Run

_STYLES: dict[Tone, str | None] = {"plain": None, "quiet": "dim", "look": "yellow", "bad": "red"}


class Terminal(Watcher):
    """Shows what happens on a console; by default stderr."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or stderr_console()

    def working(self, what: str, total: int | None = None) -> AbstractContextManager[Callable[[int], None]]:
        return progress(what, total, console=self.console)

    def prepared(self, run: Run) -> None:
        show.doubts(run.sheet, self.console)
        show.findings(run.findings, self.console, brief=True)

    def said(self, line: str, tone: Tone = "plain") -> None:
        self.console.print(line, style=_STYLES[tone], markup=False)
