"""Progress on stderr, with time left, for whatever takes longer than two seconds."""

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

# A bar that flashes up for work of a second is noise.
SHOW_AFTER_S = 2.0
# Logs of batch jobs get a line now and then instead of a moving bar.
LINE_EVERY_S = 10.0


def stderr_console() -> Console:
    """Where progress and findings go, so that stdout stays clean for paths and JSON."""
    return Console(stderr=True, highlight=False)


@contextmanager
def progress(
    what: str, total: int | None = None, *, unit: Unit = "steps", console: Console | None = None
) -> Iterator[Advance]:
    """Show a bar (terminal) or occasional lines (log) while the block runs.

    Args:
        what: short text, e.g. "denoising".
        total: amount of work, or None when it is not known (a pulsing bar with elapsed time).
        unit: "bytes" adds size and speed.

    Yields:
        A function to call with the amount done so far.
    """
    console = console or stderr_console()
    shown = _bar(what, total, unit, console) if console.is_terminal else _lines(what, total, console)
    with shown as advance:
        yield advance


@contextmanager
def _bar(what: str, total: int | None, unit: Unit, console: Console) -> Iterator[Advance]:
    bar = Progress(*_columns(total, unit), console=console, transient=True)
    task = bar.add_task(what, total=total)
    lock = threading.Lock()
    ended = False

    def show() -> None:
        with lock:
            if not ended:
                bar.start()

    timer = threading.Timer(SHOW_AFTER_S, show)
    timer.daemon = True
    timer.start()
    try:
        yield lambda done: bar.update(task, completed=done)
    finally:
        timer.cancel()
        with lock:
            ended = True
        bar.stop()


@contextmanager
def _lines(what: str, total: int | None, console: Console) -> Iterator[Advance]:
    begun = last = time.monotonic()
    first: int | None = None

    def advance(done: int) -> None:
        nonlocal last, first
        # A resumed download starts above zero: speed is counted from where this run began.
        first = done if first is None else first
        now = time.monotonic()
        if now - last < LINE_EVERY_S:
            return
        last = now
        elapsed, share = now - begun, ""
        if total:
            share = f" {100 * done / total:.0f} %"
            if done > first:
                share += f", about {elapsed * (total - done) / (done - first):.0f} s left"
        console.print(f"{what}:{share or f' {elapsed:.0f} s'}")

    yield advance


def _columns(total: int | None, unit: Unit) -> list[ProgressColumn]:
    columns: list[ProgressColumn] = [TextColumn("{task.description}"), BarColumn()]
    if total is None:
        return [*columns, TimeElapsedColumn()]
    if unit == "bytes":
        return [*columns, DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()]
    return [*columns, MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn()]
