"""Paper films: figures of a few colours before painted places, and a detector of their faces."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from castsheet.media.encoding import encode
from castsheet.sheet.box import Box
from castsheet.sheet.look.faces import Face

SIZE = (192, 128)
FACE = (250, 205, 160)  # looks at us
PROFILE = (238, 185, 150)  # looks to the side


@dataclass(frozen=True)
class Doll:
    """A figure: colours of hair, top and trousers."""

    hair: tuple[int, int, int]
    top: tuple[int, int, int]
    trousers: tuple[int, int, int]


ANN = Doll((40, 20, 10), (220, 30, 40), (20, 40, 160))
BOB = Doll((240, 230, 90), (30, 150, 60), (250, 120, 10))


@dataclass(frozen=True)
class Shot:
    """A shot: who, in which place, from where to where (middle of the figure, px), which view, how near."""

    doll: Doll | None
    place: int
    way: tuple[float, float] = (60, 110)
    view: str = "front"
    near: bool = False
    frames: int = 52


def place(number: int) -> np.ndarray:
    """A painted place (H, W, 3): smooth blotches and posts, nothing like faces or clothes."""
    random = np.random.default_rng([7, number])
    rough = (random.random((8, 12, 3)) * 90 + 70).astype(np.uint8)
    picture = np.asarray(Image.fromarray(rough).resize(SIZE, Image.Resampling.BICUBIC)).copy()
    for left in random.integers(0, SIZE[0] - 6, 6):
        picture[20:90, left : left + 4] = random.integers(60, 190, 3)
    return picture


def frame_of(shot: Shot, at: int) -> np.ndarray:
    """One frame of a shot."""
    picture = place(shot.place)
    if shot.doll is None:
        return picture
    share = at / max(1, shot.frames - 1)
    x = round(shot.way[0] + share * (shot.way[1] - shot.way[0]))
    bob = round(2 * np.sin(at / 3))
    top = 16 if shot.near else 18 + 4 * shot.place  # no two places show a figure in one spot
    face = {"front": FACE, "side": PROFILE, "back": shot.doll.hair}[shot.view]
    parts = ((10, 0, 10, shot.doll.hair), (8, 9, 20, face), (14, 20, 58, shot.doll.top))
    for half, first, last, colour in (*parts, (11, 58, 98, shot.doll.trousers)):
        scale = 2.5 if shot.near else 1.0
        rows = round(top + scale * first) + bob * (first < 20), round(top + scale * last) + bob * (last <= 20)
        _box(picture, round(x - scale * half), rows[0], round(x + scale * half), rows[1], colour)
    return picture


def _box(picture, left, top, right, bottom, colour):
    height, width = picture.shape[:2]
    picture[max(0, top) : min(height, bottom), max(0, left) : min(width, right)] = colour


def write_film(path, shots, fps=24.0):
    """Encode the shots one after the other; the first frame of each."""
    frames = [frame_of(shot, at) for shot in shots for at in range(shot.frames)]
    encode(path, np.stack(frames), fps, crf=14)
    return np.cumsum([0, *(shot.frames for shot in shots)])[:-1].tolist()


class PaperFaces:
    """Finds the two colours of paper faces."""

    name = "paper"

    def find(self, rgb):
        pixels = np.asarray(rgb.convert("RGB")).astype(int)
        found = []
        for colour, turned in ((FACE, 0), (PROFILE, 1)):
            rows, columns = np.nonzero(np.abs(pixels - colour).max(axis=2) < 8)
            if len(rows) < 60:
                continue
            box = Box(int(columns.min()), int(rows.min()), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1)
            found.append(Face(box, _points(box, turned), 0.9))
        return tuple(found)


def _points(box, turned):
    """Eyes, nose and mouth of a face that looks at us, or to the right."""
    x, y = box.x + box.w / 2, box.y + box.h / 2
    down, apart = 0.4 * box.h, 0.4 * box.h * 0.96 * (1 - turned) / 2
    nose = 0.4 * box.h * 0.38 * turned
    eyes, mouth = y - down / 2, y + down / 2
    return ((x - apart, eyes), (x + apart, eyes), (x + nose, y), (x - apart, mouth), (x + apart, mouth))
