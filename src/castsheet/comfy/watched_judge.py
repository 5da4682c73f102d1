"""The judge, reporting each frame that it looks at; a report is also where it can be stopped."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from PIL import Image

from castsheet.judge.colour import Finder, Sighting
from castsheet.judge.judge import SAMPLES, Judge, Options
from castsheet.sheet.manifest import Sheet

if TYPE_CHECKING:
    from castsheet.comfy.watch import Tell
    from castsheet.judge.cast import Cast, Pixels


class _WatchedFinder(Finder):
    """A finder that tells of every search."""

    _tell: Tell
    _looked = 0

    def find(self, picture_HWC: Pixels) -> dict[str, Sighting]:
        """The best sighting of every member."""
        self._looked += 1
        # Clips differ in how many frames are looked at; the bar ends when the node does.
        self._tell(min(self._looked, SAMPLES), SAMPLES + 1, Image.fromarray(picture_HWC))
        return super().find(picture_HWC)


class WatchedJudge(Judge):
    """A judge of one clip.

    Args:
        tell: hears of every frame.
    """

    def __init__(self, sheet: Sheet, options: Options, tell: Tell) -> None:
        super().__init__(sheet, options)
        self._tell = tell

    def cast(self, width: int, height: int) -> tuple[Cast, Finder]:
        """The sheet, prepared for clips of this size, and a finder that reports."""
        cast, finder = super().cast(width, height)
        watched = copy.copy(finder)
        watched.__class__ = _WatchedFinder
        assert isinstance(watched, _WatchedFinder)
        watched._tell = self._tell
        return cast, watched
