"""What a study measures of a clip, and where it keeps that: one small JSON a clip, named by a hash.

Legend: R regions.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from castsheet.clip import Clip
from castsheet.files import write_atomic
from castsheet.judge import leak
from castsheet.judge.judge import Judge
from castsheet.judge.verdict import LIKENESS, LINES
from castsheet.mini import deeds
from castsheet.mini.parts import Floats, Pixels, mean_colours
from castsheet.mini.validation import MASK_FRAMES
from castsheet.sheet.manifest import Sheet

VERSION = 1  # of what is measured; another number measures all clips anew
STRIP = (8, 56, 104)  # frames that are kept to be looked at


@dataclass(frozen=True)
class Row:
    """One clip's figures.

    Attributes:
        colours: CIELAB means by region, None where too few pixels; see `castsheet.mini.parts`.
        action: what the motion looks like; see `castsheet.mini.deeds`.
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
        leaked=float(np.mean(_leaked(few, sheet))),
        passed=verdict.passed if verdict else None,
        score=verdict.score if verdict else None,
    )


def _leaked(frames: Pixels, sheet: Sheet) -> list[bool]:
    """Frames that show the sheet, by the judge's thresholds."""
    height, width = frames.shape[1:3]
    grey = leak.luma_of(frames)
    seen = leak.luma_of(np.asarray(sheet.conditioning_image(width, height))[None])[0]
    like = leak.likeness(grey, seen) >= LIKENESS
    return [bool(one) or leak.part_lines(frame) >= LINES for one, frame in zip(like, grey, strict=True)]


class Store:
    """Rows and picture strips in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def row(self, key: str) -> Row | None:
        """A clip's figures; None when it was not made, or the file is damaged."""
        try:
            return Row(**json.loads((self._folder / f"{key}.json").read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def keep(self, key: str, row: Row, frames: Pixels | None) -> None:
        """Store figures and, where frames are given, a strip of three; the figures come last."""
        if frames is not None:
            strip = Image.fromarray(np.concatenate(list(frames[list(STRIP)]), axis=1))
            write_atomic(self._folder / f"{key}.png", lambda path: strip.save(path, format="PNG"))
        text = json.dumps(asdict(row)) + "\n"
        write_atomic(self._folder / f"{key}.json", lambda path: _write(path, text))

    def strips(self, keys: Sequence[str]) -> Image.Image | None:
        """The strips that are there, one below the other."""
        found = [path for key in keys if (path := self._folder / f"{key}.png").is_file()]
        if not found:
            return None
        return Image.fromarray(
            np.concatenate([np.asarray(Image.open(path).convert("RGB")) for path in found])
        )


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
