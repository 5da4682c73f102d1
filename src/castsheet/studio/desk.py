"""Tells the queue where a job stands, and stops its work when the queue says so."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from castsheet.jobs.watcher import Tone, Watcher
from castsheet.machine.files import write_atomic
from castsheet.studio.job import Job
from castsheet.studio.queue import Queue

PREVIEW_EVERY_S = 1.0
TELL_EVERY_S = 0.5
_PREVIEW_SIDE = 192


class Stopped(Exception):
    """The job was cancelled, or its worker is asked to end."""


class Desk(Watcher):
    """Writes news of a job into the queue, and stops the work when the queue says so."""

    def __init__(self, queue: Queue, job: Job, ending: Callable[[], bool], preview: Path) -> None:
        self._queue, self._job, self._ending, self._preview = queue, job, ending, preview
        self._step, self._steps, self._what, self._shown = 0, 0, "", 0.0
        self._told = 0.0

    def look(self, *, preview: bool = False) -> None:
        """Report where the work stands.

        Raises:
            Stopped: the work is to end.
            Lost: the claim is over.
        """
        asked = self._queue.tell(self._job, self._step, self._steps, self._what, preview=preview)
        if asked or self._ending():
            raise Stopped

    @contextmanager
    def working(self, what: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
        """Work begins; its steps are told by the function."""
        self._what, self._step, self._steps = what, 0, total or 0
        self.look()

        def advance(done: int) -> None:
            self._step = done
            self.look()

        yield advance

    def drawn(self, step: int, steps: int, picture: Callable[[], Image.Image]) -> None:
        """Show the clip as the step predicts it; not the last step, and not more often than people look."""
        if step == steps or time.monotonic() - self._shown < PREVIEW_EVERY_S:
            return
        drawn = picture()
        drawn.thumbnail((_PREVIEW_SIDE, _PREVIEW_SIDE))
        write_atomic(self._preview, lambda path: drawn.save(path, format="WEBP", quality=80))
        self._shown = time.monotonic()
        self.look(preview=True)

    def said(self, line: str, _tone: Tone = "plain") -> None:
        """A line for people becomes the job's message."""
        self._what = line
        self.look()

    def stands(self, step: int, steps: int) -> bool:
        """Report a step of work that is stopped by a question, as training is; whether it is to stop.

        The queue hears of it now and then only: training may make many steps a second.
        """
        self._step, self._steps = step, steps
        if time.monotonic() - self._told < TELL_EVERY_S:
            return False
        self._told = time.monotonic()
        return self._queue.tell(self._job, step, steps, self._what) or self._ending()
