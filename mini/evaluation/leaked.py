"""Whether frames show the sheet, by the judge's thresholds."""

from __future__ import annotations

import numpy as np

from castsheet.judge import leak
from castsheet.judge.verdict import LIKENESS, LINES
from castsheet.sheet.manifest import Sheet
from mini.evaluation.parts import Pixels


def leaked(frames_FHWC: Pixels, sheet: Sheet) -> list[bool]:
    """Of each frame, whether it is like the sheet or has a sheet's black lines."""
    height, width = frames_FHWC.shape[1:3]
    grey = leak.luma_of(frames_FHWC)
    seen = leak.luma_of(np.asarray(sheet.conditioning_image(width, height))[None])[0]
    like = leak.likeness(grey, seen) >= LIKENESS
    return [bool(one) or leak.part_lines(frame) >= LINES for one, frame in zip(like, grey, strict=True)]
