"""Progress on stderr, with the time left, for work that takes longer than two seconds."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

Advance = Callable[[int], None]
Unit = Literal["steps", "bytes"]

# A bar that appears for one second distracts.
SHOW_AFTER_S = 2.0
# The log of a batch job gets a line now and then instead of a moving bar.
LINE_EVERY_S = 10.0


def stderr_console() -> Console:
    """The console for progress and findings; stdout is for paths and JSON.

    Names of files may look like rich's markup: who wants markup asks for it.
    """
    return Console(stderr=True, highlight=False, soft_wrap=True, markup=False)


def stdout_console() -> Console:
    """The console for reports that are a command's result; long lines stay whole and can be searched."""
    return Console(highlight=False, soft_wrap=True, markup=False)


@contextmanager
def progress(
    what: str,
    total: int | None = None,
    *,
    unit: Unit = "steps",
    console: Console | None = None,
    after: float = SHOW_AFTER_S,
    every: float = LINE_EVERY_S,
) -> Iterator[Advance]:
    """Show a bar (terminal) or occasional lines (log) while the block runs.

    Until the first report the bar pulses: loading has no known length and must not count as slow steps.

    Args:
        what: short text, e.g. "denoising".
        total: amount of work, or None when it is not known (a pulsing bar with elapsed time).
        unit: "bytes" adds size and speed.
        console: stderr by default.
        after: seconds before a bar appears.
        every: least seconds between two lines of a log.

    Yields:
        A function to call with the amount done so far.
    """
    console = console or stderr_console()
    if console.is_terminal:
        shown = _bar(what, total, _columns(total, unit), console, after)
    else:
        shown = _lines(what, total, console, every)
    with shown as advance:
        yield advance


@contextmanager
def _bar(
    what: str, total: int | None, columns: list[ProgressColumn], console: Console, after: float
) -> Iterator[Advance]:
    bar = Progress(*columns, console=console, transient=True)
    task = bar.add_task(what, total=None)
    lock = threading.Lock()
    ended = reported = False

    def advance(done: int) -> None:
        nonlocal reported
        if reported:
            bar.update(task, completed=done)
        else:
            bar.reset(task, total=total, completed=done)
            reported = True

    def show() -> None:
        with lock:
            if not ended:
                bar.start()

    timer = threading.Timer(after, show)
    timer.daemon = True
    timer.start()
    try:
        yield advance
    finally:
        timer.cancel()
        with lock:
            ended = True
        bar.stop()


@contextmanager
def _lines(what: str, total: int | None, console: Console, every: float) -> Iterator[Advance]:
    first: tuple[int, float] | None = None  # amount and time of the first report
    last = time.monotonic()

    def advance(done: int) -> None:
        nonlocal last, first
        now = time.monotonic()
        first = first or (done, now)
        if now - last < every:
            return
        last = now
        left = ""
        if total and done > first[0]:
            left = f", about {(now - first[1]) * (total - done) / (done - first[0]):.0f} s left"
        share = f"{100 * done / total:.0f} %" if total else str(done)
        console.print(f"{what}: {share}{left}", markup=False)

    yield advance


def _columns(total: int | None, unit: Unit) -> list[ProgressColumn]:
    columns: list[ProgressColumn] = [TextColumn("{task.description}", markup=False), BarColumn()]
    if total is None:
        return [*columns, TimeElapsedColumn()]
    if unit == "bytes":
        return [*columns, DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()]
    return [*columns, MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn()]
