"""Long work inside a node: ComfyUI's bar moves, and its Cancel button stops the node at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from PIL import Image

T = TypeVar("T")
Tell = Callable[[int, int, Image.Image | None], None]
"""Reports amount done, total, and a picture to show, or None."""

_LOOK_EVERY = 0.1  # seconds between looks at the Cancel button
_PREVIEW_SIDE = 512


class _Stopped(Exception):
    """Ends the work's thread after a cancel; nobody sees it."""


def watched(work: Callable[[Tell], T]) -> T:
    """Run `work` in a thread while this one watches for Cancel.

    After a cancel the node ends at once; the thread ends when it reports next, or when it is done.

    Args:
        work: is given a function by which it may report.

    Raises:
        Whatever `work` raises; ComfyUI's own exception after a cancel.
    """
    import comfy.model_management
    import comfy.utils

    bar = comfy.utils.ProgressBar(1)
    stopped, news = threading.Event(), threading.Event()
    told: list[tuple[int, int, Image.Image | None]] = []
    outcome: list[T] = []
    failures: list[BaseException] = []

    def tell(done: int, total: int, picture: Image.Image | None = None) -> None:
        if stopped.is_set():
            raise _Stopped
        told.append((done, total, picture))
        news.set()

    def run() -> None:
        try:
            outcome.append(work(tell))
        except BaseException as error:  # noqa: BLE001  the waiting thread raises it
            failures.append(error)
        finally:
            news.set()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            news.wait(_LOOK_EVERY)
            news.clear()
            comfy.model_management.throw_exception_if_processing_interrupted()
            if told:
                done, total, picture = told[-1]
                told.clear()
                preview = None if picture is None else ("JPEG", picture.convert("RGB"), _PREVIEW_SIDE)
                bar.update_absolute(done, total, preview)
    finally:
        stopped.set()
    if failures:
        raise failures[0]
    bar.update_absolute(bar.total, bar.total)
    return outcome[0]
