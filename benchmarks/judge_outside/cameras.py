"""Real cameras: windows of clips that test suites carry, in which there is nothing to find."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import av
import numpy as np

from benchmarks.judge_outside.case import Case, Half
from benchmarks.judge_outside.packages import one
from castsheet.judge.cast import Pixels

LENGTH = 49
# A file of a package, the frames at which windows begin, and the half to which they belong.
WINDOWS: dict[str, tuple[Half, tuple[int, ...]]] = {
    "widgets/cityCC0.mpg": ("tuning", (0, 60, 130)),
    "stimuli/jwpIntro.mp4": ("held out", (0, 60, 120)),
    "tests/data/testMovie.mp4": ("held out", (20, 100, 180)),
    "WolfgangLanger_Pexels.mp4": ("tuning", (0, 120, 240, 360)),
    "face_noface.mov": ("held out", (0, 60, 110)),
    "no_face.mp4": ("tuning", (0,)),
    "noface_face.mov": ("tuning", (0, 60)),
    "single_face.mp4": ("held out", (0, 20)),
    "data/bikes.mp4": ("held out", (0, 60, 120, 180)),
    "carphone_pristine.mp4": ("tuning", (0, 60)),
    "data/bigbuckbunny.mp4": ("held out", (0, 50)),
    "data/vtest.avi": ("held out", tuple(range(0, 746, 49))),
    "data/tree.avi": ("tuning", (0,)),
    "video/small.mp4": ("tuning", (0, 60, 117)),
    "video/obama_speech.mp4": ("tuning", (0, 50)),
    "video/shot_change.mp4": ("held out", (0,)),
    "videos/world.mp4": ("held out", (0, 300, 600, 850)),
}


def cases(packages: Path, sheets: dict[Half, tuple[str, ...]]) -> Iterator[Case]:
    """Every window against sheets of its half, in turns; the film's opening among them."""
    number = 0
    for file, (half, starts) in WINDOWS.items():
        for start in starts:
            sheet = sheets[half][number % len(sheets[half])]
            number += 1
            made = partial(window, one(packages, file), start)
            yield Case(f"camera/{Path(file).stem}-{start}", half, "camera", sheet, made)


def window(path: Path, start: int) -> Pixels:
    """Frames (F, H, W, 3) from `start` on, long side at most 768."""
    found: list[Pixels] = []
    with av.open(str(path)) as container:
        for number, frame in enumerate(container.decode(container.streams.video[0])):
            if number < start:
                continue
            if len(found) == LENGTH:
                break
            scale = min(1.0, 768 / max(frame.width, frame.height))
            size = round(frame.width * scale / 2) * 2, round(frame.height * scale / 2) * 2
            picture = frame.reformat(width=size[0], height=size[1], format="rgb24", interpolation="AREA")
            found.append(picture.to_ndarray())
    return np.stack(found)
