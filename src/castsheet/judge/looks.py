"""What networks say of figures without a face and of places, made comparable with what colours say.

A figure is looked for in two ways: windows of the frame, of what stands out in them (`windows`), and each
thing that stands out, cut out and looked at by itself (`figures`). A place is what is left of the frame
without its figures (`grounds`). All are cosines of mean features. Cosines of different networks and colours'
likeness have different levels; each is told in deviations from what wrong pictures give.

Legend: H height, W width, C colour channel, h, w of a map, D features, N windows.
Source: mean-pooled features under masks (Sermanet et al., "OverFeat", 2014; Babenko and Lempitsky, 2015);
levels of impostors as in the verification of speakers (Auckenthaler et al., "Score normalization", 2000).
Blind to: faces; a figure that the mask does not tell from its ground.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from castsheet.judge.cast import Figure, Pixels
from castsheet.judge.protocols import Looker, cosine
from castsheet.sheet.box import Box

Floats = NDArray[np.float32]

LONG_SIDE = 448  # px: frames are looked at in this size
CUT = 160  # px: things that are cut out are stretched to such a square
TALL = 128  # px: a figure of the sheet beside a frame's windows
ROOM = 0.05  # of a thing's sides, around it
THINGS = 4  # of a frame, the largest ones
GREY = (124, 116, 104)  # of ImageNet: what is not there
GROUND_TALL = 252  # px: a place of the sheet
LEAST_GROUND = 0.05  # of the frame: a place of which less is seen is not compared
SPREADS = 4.0  # deviations between a wrong picture and the same picture, of a network without known levels
FILLED = 0.25  # of a window: with less figure in it, it is ground
SHARES, ASPECTS, STEP = (1.0, 0.75, 0.5, 0.35), (0.6, 1.0, 1.5), 4  # of windows, in the frame's height


@dataclass(frozen=True)
class Level:
    """Mean and deviation of what wrong pictures give."""

    mean: float
    spread: float

    def above(self, value: float) -> float:
        """How many deviations a value lies above that mean."""
        return (value - self.mean) / self.spread


@dataclass(frozen=True)
class Levels:
    """Of a network's three cosines."""

    windows: Level
    figures: Level
    grounds: Level


# Of the wrong characters and places of the tuning half (`benchmarks.judge_outside`).
KNOWN: dict[str, Levels] = {
    "mobilenet-v2": Levels(Level(0.488, 0.196), Level(0.699, 0.209), Level(0.419, 0.182)),
    "efficientnet-lite2": Levels(Level(0.395, 0.169), Level(0.548, 0.176), Level(0.599, 0.096)),
}
COLOURS, GROUNDS = Level(0.438, 0.218), Level(0.364, 0.194)  # of the likeness of figures, and of grounds
# Deviations at which right is as likely as wrong, on the same half, and how fast it changes there.
FIGURE_CURVE, PLACE_CURVE = (0.75, 4.0), (1.25, 2.0)
# Where the sheet has nothing to measure the levels of a network of the user's own by.
UNKNOWN = Levels(Level(0.7, 0.075), Level(0.7, 0.075), Level(0.7, 0.075))


@dataclass(frozen=True)
class Look:
    """One figure of the sheet as a network sees it: features (D,) beside others, and by itself."""

    beside_D: Floats
    alone_D: Floats


@dataclass(frozen=True)
class View:
    """One frame as a network sees it.

    Attributes:
        windows_ND: mean features of the figures in every window that holds some.
        things_ND: features of what stands out, each thing by itself.
        ground_D: mean features of the rest; None where the figures fill the frame.
    """

    windows_ND: Floats
    things_ND: Floats
    ground_D: Floats | None


class Examiner:
    """One network with the sheet's figures and places.

    Args:
        looker: the network. figures, places: the sheet's pictures by element.
    """

    def __init__(
        self,
        looker: Looker,
        figures: Mapping[str, Sequence[Figure]],
        places: Mapping[str, Sequence[Pixels]],
    ) -> None:
        self._looker = looker
        self._figures = {name: [self._look(one) for one in mine] for name, mine in figures.items()}
        self._places = {name: np.stack([self._place(one) for one in mine]) for name, mine in places.items()}
        self.levels = KNOWN.get(looker.name) or self._measured(places)

    def view(self, frame_HWC: Pixels, mask_HW: Floats, things: Sequence[Box]) -> View:
        """A frame, once for all elements.

        Args:
            mask_HW: 0..1, what stands out, at any size. things: boxes of what stands out, px of the frame.
        """
        scale = LONG_SIDE / max(frame_HWC.shape[:2])
        size = max(32, round(frame_HWC.shape[1] * scale)), max(32, round(frame_HWC.shape[0] * scale))
        maps = self._looker.maps(_sized(frame_HWC, size)[None])
        kinds_hwD, parts_hwD = maps.kinds_NhwD[0], maps.parts_NhwD[0]
        ground = 1 - _grid(mask_HW, parts_hwD)
        wanted = things[:THINGS] if self._figures else ()
        cut = [_cut(frame_HWC, mask_HW, box) for box in wanted]
        return View(
            _windows(kinds_hwD, _grid(mask_HW, kinds_hwD)),
            self._alone(cut) if cut else np.zeros((0, kinds_hwD.shape[-1]), np.float32),
            _pooled(parts_hwD, ground) if ground.mean() > LEAST_GROUND else None,
        )

    def figure(self, name: str, view: View) -> float:
        """How far above wrong ones a frame's best window and its best thing are, in deviations."""
        looks = self._figures[name]
        beside = _best(view.windows_ND, np.stack([one.beside_D for one in looks]))
        alone = float(max(self.things(name, view), default=0.0))
        return (self.levels.windows.above(beside) + self.levels.figures.above(alone)) / 2

    def things(self, name: str, view: View) -> Floats:
        """How much each of a frame's things (N,) is like a figure: cosines."""
        if not len(view.things_ND):
            return np.zeros(0, np.float32)
        known_MD = np.stack([one.alone_D for one in self._figures[name]])
        return np.asarray(cosine(view.things_ND, known_MD).max(axis=1), np.float32)

    def place(self, name: str, view: View) -> float | None:
        """How far above wrong ones a frame's ground is, in deviations; None where none is seen."""
        if view.ground_D is None:
            return None
        return self.levels.grounds.above(_best(view.ground_D[None], self._places[name]))

    def _look(self, figure: Figure) -> Look:
        cover = figure.mask_HW[..., None].astype(np.float32)
        bare = np.rint(figure.picture_HWC * cover + np.array(GREY) * (1 - cover)).astype(np.uint8)
        wide = max(16, round(bare.shape[1] * TALL / bare.shape[0]))
        canvas = np.empty((2 * TALL, max(2 * TALL, -(-(wide + TALL // 2) // 32) * 32), 3), np.uint8)
        canvas[:] = GREY
        mask = np.zeros(canvas.shape[:2], np.float32)
        y, x = TALL // 2, (canvas.shape[1] - wide) // 2
        canvas[y : y + TALL, x : x + wide] = _sized(bare, (wide, TALL))
        mask[y : y + TALL, x : x + wide] = _sized(255 * figure.mask_HW.astype(np.uint8), (wide, TALL)) / 255
        kinds = self._looker.maps(canvas[None]).kinds_NhwD[0]
        return Look(_pooled(kinds, _grid(mask, kinds)), self._alone([_sized(bare, (CUT, CUT))])[0])

    def _place(self, picture_HWC: Pixels) -> Floats:
        height, width = picture_HWC.shape[:2]
        size = max(96, round(width * GROUND_TALL / height)), GROUND_TALL
        parts = self._looker.maps(_sized(picture_HWC, size)[None]).parts_NhwD[0]
        return _pooled(parts, np.ones(parts.shape[:2], np.float32))

    def _alone(self, squares: Sequence[Pixels]) -> Floats:
        # Roots: a few loud features would decide else.
        mean = self._looker.maps(np.stack(squares)).kinds_NhwD.mean(axis=(1, 2))
        return np.asarray(np.sign(mean) * np.sqrt(np.abs(mean)), np.float32)

    def _measured(self, places: Mapping[str, Sequence[Pixels]]) -> Levels:
        """Levels of a network whose wrong pictures nobody counted: the sheet's figures against its places."""
        grounds = [_sized(one, (CUT, CUT)) for mine in places.values() for one in mine]
        looks = [look for mine in self._figures.values() for look in mine]
        if not grounds or not looks:
            return UNKNOWN
        alone = cosine(self._alone(grounds), np.stack([one.alone_D for one in looks]))
        maps = self._looker.maps(np.stack(grounds))
        pooled = maps.kinds_NhwD.mean(axis=(1, 2))
        beside = cosine(pooled, np.stack([one.beside_D for one in looks]))
        return Levels(_between(float(beside.max())), _between(float(alone.max())), UNKNOWN.grounds)


def figure_together(colours: float, networks: Sequence[float]) -> float:
    """Colours and networks as one likeness in 0..1; each network counts twice, for windows and for things."""
    mean = (COLOURS.above(colours) + 2 * sum(networks)) / (1 + 2 * len(networks))
    return _rising(mean, *FIGURE_CURVE)


def place_together(colours: float, networks: Sequence[float]) -> float:
    """The same of a place; each network counts once."""
    return _rising((GROUNDS.above(colours) + sum(networks)) / (1 + len(networks)), *PLACE_CURVE)


def _rising(mean: float, middle: float, slope: float) -> float:
    return round(float(1 / (1 + np.exp(-slope * (mean - middle)))), 4)


def _between(wrong: float) -> Level:
    return Level(wrong, max((1 - wrong) / SPREADS, 1e-3))


def _best(seen_ND: Floats, known_MD: Floats) -> float:
    return float(cosine(seen_ND, known_MD).max()) if len(seen_ND) else 0.0


def _sized(picture: Pixels, size: tuple[int, int]) -> Pixels:
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BOX))


def _grid(mask_HW: Floats, map_hwD: Floats) -> Floats:
    small = Image.fromarray(np.asarray(mask_HW, np.float32))
    return np.asarray(small.resize(map_hwD.shape[1::-1], Image.Resampling.BOX), np.float32)


def _pooled(map_hwD: Floats, weight_hw: Floats) -> Floats:
    total = max(float(weight_hw.sum()), 1e-6)
    return np.asarray((map_hwD * weight_hw[..., None]).sum(axis=(0, 1)) / total, np.float32)


def _cut(frame_HWC: Pixels, mask_HW: Floats, box: Box) -> Pixels:
    """A thing on grey, in a square."""
    height, width = frame_HWC.shape[:2]
    over = round(ROOM * box.w), round(ROOM * box.h)
    left, top = max(0, box.x - over[0]), max(0, box.y - over[1])
    right, bottom = min(width, box.right + over[0]), min(height, box.bottom + over[1])
    down, across = mask_HW.shape[0] / height, mask_HW.shape[1] / width
    part = (left * across, top * down, right * across, bottom * down)
    cover = Image.fromarray(np.asarray(mask_HW, np.float32)).resize(
        (CUT, CUT), Image.Resampling.BILINEAR, part
    )
    alpha = np.asarray(cover, np.float32)[..., None]
    seen = Image.fromarray(frame_HWC[top:bottom, left:right]).resize((CUT, CUT), Image.Resampling.BILINEAR)
    return np.clip(np.asarray(seen, np.float32) * alpha + np.array(GREY) * (1 - alpha), 0, 255).astype(
        np.uint8
    )


def _windows(map_hwD: Floats, mask_hw: Floats) -> Floats:
    """Mean features (N, D) of the figures in every window, through integral maps."""
    height, width = mask_hw.shape
    sums = np.zeros((height + 1, width + 1, map_hwD.shape[-1] + 1), np.float32)
    held = np.concatenate([map_hwD * mask_hw[..., None], mask_hw[..., None]], axis=-1)
    sums[1:, 1:] = held.cumsum(axis=0).cumsum(axis=1)
    found = []
    for share in SHARES:
        h = max(2, round(share * height))
        for aspect in ASPECTS:
            w = max(2, round(aspect * h))
            tops = range(0, height - h + 1, max(1, h // STEP))
            lefts = range(0, width - w + 1, max(1, w // STEP))
            y, x = (one.ravel() for one in np.meshgrid(tops, lefts, indexing="ij"))
            if y.size:
                part = sums[y + h, x + w] - sums[y, x + w] - sums[y + h, x] + sums[y, x]
                found.append(part[part[:, -1] > FILLED * h * w])
    every = np.concatenate(found) if found else np.zeros((0, sums.shape[-1]), np.float32)
    return np.asarray(every[:, :-1] / np.maximum(every[:, -1:], 1e-6), np.float32)
