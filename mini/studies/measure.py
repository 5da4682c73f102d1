"""What a study measures of a clip. Imports no torch: processes that measure beside the model start fast.

Legend: R regions.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from castsheet.clip import Clip
from castsheet.judge.judge import Judge
from castsheet.sheet.manifest import Sheet
from mini.evaluation import deeds
from mini.evaluation.leaked import leaked
from mini.evaluation.parts import Floats, Pixels, mean_colours
from mini.evaluation.validation import MASK_FRAMES

VERSION = 1  # of what is measured; another number measures all clips anew
JUDGED = 3  # of the judge's score, likewise for clips that were judged
STRIP = (8, 56, 104)  # frames that are kept to be looked at


@dataclass(frozen=True)
class Row:
    """One clip's figures.

    Attributes:
        colours: CIELAB means by region, None where too few pixels; see `mini.evaluation.parts`.
        action: what the motion looks like; see `mini.evaluation.deeds`.
        leaked: share of frames that show the sheet; see `castsheet.judge.leak`.
        passed, score: the judge's, where it was asked.
    """

    colours: list[list[float] | None]
    action: str
    leaked: float
    passed: bool | None = None
    score: float | None = None

    @property
    def lab(self) -> Floats:
        """Colours as an array (R, 3), NaN where there are none."""
        return np.array([one or [np.nan] * 3 for one in self.colours], np.float64)


def measure(
    frames: Pixels, masks_FHW: Pixels, centroids_AM: deeds.Floats, sheet: Sheet, *, fps: float, judge: bool
) -> Row:
    """All figures of one clip of 121 frames; `judge` asks the whole judge too, which takes a second."""
    colours = mean_colours(frames[list(MASK_FRAMES)], masks_FHW)
    known: list[list[float] | None] = [
        one.round(2).tolist() if np.isfinite(one).all() else None for one in colours
    ]
    few = frames[list(deeds.INDICES)]
    verdict = Judge(sheet)(Clip(frames, fps)) if judge else None
    return Row(
        colours=known,
        action=deeds.classify(few, centroids_AM),
        leaked=float(np.mean(leaked(few, sheet))),
        passed=verdict.passed if verdict else None,
        score=verdict.score if verdict else None,
    )


Order = tuple[Pixels, Pixels, deeds.Floats, Sheet, float, bool, bool]


def measure_and_show(
    frames: Pixels,
    masks_FHW: Pixels,
    centroids_AM: deeds.Floats,
    sheet: Sheet,
    fps: float,
    judge: bool,
    shown: bool,
) -> tuple[Row, bytes | None]:
    """A clip's figures and, where it is `shown`, its strip; what a process beside the model does."""
    row = measure(frames, masks_FHW, centroids_AM, sheet, fps=fps, judge=judge)
    return row, strip(frames) if shown else None


def strip(frames: Pixels) -> bytes:
    """Three frames side by side, as JPEG."""
    picture = Image.fromarray(np.concatenate(list(frames[list(STRIP)]), axis=1))
    held = io.BytesIO()
    picture.save(held, format="JPEG", quality=92)
    return held.getvalue()
