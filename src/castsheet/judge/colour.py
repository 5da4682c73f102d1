"""Finding the sheet's elements in frames by their colours: no model, no training, any subject.

Every colour of the sheet becomes one of a few dozen codes; a frame becomes a map of codes (or "not on the
sheet"). A figure is a stack of strips (head, trunk, legs), each a histogram of codes. A window of a frame is
as similar to a figure as their strips' histograms overlap.

Legend: F frames, H height, W width, K codes, S strips, N windows, L looks.
Source: histogram intersection (Swain and Ballard, "Color indexing", 1991) with the spatial strips of
pedestrian re-identification (Gray and Tao, 2008). Range of every similarity: 0..1.
Blind to: shape, faces and texture; people lying down; light that tints the scene; two elements in the same
colours; close-ups, in which most of a figure is out of the picture.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from castsheet.judge.cast import Cast, Figure, Member, Pixels, working_frames
from castsheet.judge.protocols import Detection
from castsheet.sheet.box import Box, Kind

Floats = NDArray[np.float32]

CODES = 32
# Distances are in YCbCr with luma at half weight: shading changes luma, identity is in the hue.
LUMA_WEIGHT = 0.5
REACH = 26.0  # a pixel farther than this from every code is not on the sheet
SOFT = 14.0  # codes this near count as partly equal
STEP = 4  # px between windows
HEIGHTS: dict[Kind, tuple[float, ...]] = {
    "character": (0.35, 0.45, 0.55, 0.66, 0.78, 0.92),
    "prop": (0.12, 0.18, 0.25, 0.34, 0.45),
    "location": (1.0,),
}
STRIPS: dict[Kind, int] = {"character": 4, "prop": 3, "location": 2}
SPREAD = 1.25  # windows are this much wider than the figure, for arms and strides
PLACE_FILL = 0.55  # share of a place that gives full marks; people may hide the rest
LEAST_TONE = 0.01  # of a figure: less of one colour in one strip says little of its tint


@dataclass(frozen=True)
class Sighting:
    """The best window for one element in one frame."""

    box: Box
    similarity: float
    others: dict[str, float] = field(default_factory=dict)  # similarity to others of its kind
    tint: float = 0.0  # colour distance to the nearest of its figures


class Finder:
    """Looks for a cast in frames.

    Args:
        cast: the elements; their colours make the codebook.
    """

    def __init__(self, cast: Cast) -> None:
        self.members = cast.members
        self._codes_K3 = _codebook(cast)
        self._table = _table(self._codes_K3)
        near = np.exp(-((_distance(self._codes_K3, self._codes_K3) / SOFT) ** 2))
        self._soften = (near / near.sum(axis=1, keepdims=True)).astype(np.float32)
        self._figures = {
            member.id: [self._model(look, member.kind) for look in member.body] for member in cast.members
        }

    def code_map(self, picture_HWC: Pixels) -> NDArray[np.int64]:
        """Code (H, W) of every pixel, below K; K itself means not on the sheet."""
        small = picture_HWC.astype(np.int64) >> 3
        return self._table[(small[..., 0] << 10) | (small[..., 1] << 5) | small[..., 2]]

    def find(self, picture_HWC: Pixels) -> dict[str, Sighting]:
        """The best sighting of every member."""
        codes = self.code_map(picture_HWC)
        view, tones = _View(self._sums(codes)), _ycc(picture_HWC)
        found = {member.id: self._best(view, member) for member in self.members}
        for member in self.members:
            others = [one for one in self.members if one.kind == member.kind and one.id != member.id]
            at = found[member.id].box
            values = {one.id: self._at(view, one, at) for one in others}
            tint = self._tint(tones, member, at)
            found[member.id] = replace(found[member.id], others=values, tint=tint)
        return found

    def find_one(self, picture_HWC: Pixels, element: str) -> Sighting:
        """The best sighting of one member, without the scores of others there."""
        (member,) = (one for one in self.members if one.id == element)
        return self._best(_View(self._sums(self.code_map(picture_HWC))), member)

    def _sums(self, codes: NDArray[np.int64]) -> Floats:
        """Integral image (H + 1, W + 1, K) of softened codes (H, W)."""
        count = len(self._codes_K3)
        lookup = np.concatenate([self._soften, np.zeros((1, count), np.float32)])
        sums = np.zeros((codes.shape[0] + 1, codes.shape[1] + 1, count), np.float32)
        np.cumsum(lookup[codes], axis=0, out=sums[1:, 1:])
        np.cumsum(sums[1:, 1:], axis=1, out=sums[1:, 1:])
        return sums

    def _model(self, look: Figure, kind: Kind) -> _Figure:
        codes, mask = self.code_map(look.picture_HWC), look.mask_HW
        height, width = mask.shape
        count = len(self._codes_K3)
        # A place has no height in the frame: shares of its area are compared with shares of the frame.
        scale = PLACE_FILL / mask.size if kind == "location" else 1.0 / height**2
        edges = np.linspace(0, height, STRIPS[kind] + 1).round().astype(int)
        strips = []
        for top, bottom in pairwise(edges):
            part = codes[top:bottom][mask[top:bottom]]
            counts = np.bincount(part, minlength=count + 1)[:count].astype(np.float32)
            strips.append(counts @ self._soften * scale)
        tones = _tones(codes, _ycc(look.picture_HWC), mask, edges)
        return _Figure(np.stack(strips), width / height, tones, float(mask.sum() * scale))

    def _tint(self, tones_HW3: Floats, member: Member, box: Box) -> float:
        """The colour distance of a window to the member's nearest figure."""
        window = tones_HW3[box.y : box.bottom, box.x : box.right]
        area = float(box.area if member.kind == "location" else box.h**2)
        if member.kind == "location":  # of so many pixels every fourth says the same
            window, area = window[::2, ::2], area / 4
        return min(one.apart(window, area) for one in self._figures[member.id])

    def _best(self, view: _View, member: Member) -> Sighting:
        figures = self._figures[member.id]
        if member.kind == "location":
            whole = np.array([[0, view.height, 0, view.width]])
            seen = view.seen(whole, STRIPS["location"])
            score = max(float(one.scores(seen, float(view.width * view.height))[0]) for one in figures)
            return Sighting(Box(0, 0, view.width, view.height), score)
        best = Sighting(Box(0, 0, view.width, view.height), -1.0)
        aspect = max(one.aspect for one in figures)
        for share in HEIGHTS[member.kind]:
            h = max(8, round(share * view.height))
            # Widths come in steps: elements then share windows.
            w = min(view.width, max(8, 4 * round(h * aspect * SPREAD / 4)))
            windows, seen = view.windows(w, h, STRIPS[member.kind], ring=member.kind == "prop")
            for one in figures:
                scores = one.scores(seen, float(h * h))
                at = int(np.argmax(scores))
                if scores[at] > best.similarity:
                    top, bottom, left, right = (int(v) for v in windows[at])
                    best = Sighting(Box(left, top, right - left, bottom - top), float(scores[at]))
        return best

    def _at(self, view: _View, member: Member, box: Box) -> float:
        """Similarity of a given window to `member`."""
        window = np.array([[box.y, box.bottom, box.x, box.right]])
        area = float(box.area if member.kind == "location" else box.h**2)
        seen = view.seen(window, STRIPS[member.kind])
        return max(float(one.scores(seen, area)[0]) for one in self._figures[member.id])


class ColourDetector:
    """One element's sightings as detections, in place of the published metric's detector."""

    name = "castsheet.judge.colour"

    def __init__(self, finder: Finder, element: str) -> None:
        self._finder, self._element = finder, element

    def detect(self, frame_HWC: Pixels) -> list[Detection]:
        """The best window; its similarity is the confidence."""
        small = working_frames(frame_HWC[None])[0]
        seen = self._finder.find_one(small, self._element)
        scale = frame_HWC.shape[1] / small.shape[1]
        x, y, w, h = (round(scale * side) for side in (seen.box.x, seen.box.y, seen.box.w, seen.box.h))
        return [Detection(Box(x, y, w, h), seen.similarity)]


@dataclass(frozen=True)
class _Tones:
    """A figure's colours, each where it lies: strips (T,), shares (T,) of the figure, and mean colours (T, 3)
    in weighted YCbCr."""

    strips_T: NDArray[np.int64]
    shares_T: Floats
    means_T3: Floats


@dataclass(frozen=True)
class _Figure:
    """A look in codes: softened pixel counts (S, K) for a figure of height 1, and width over height; its
    colours, and how many pixels it has at that height."""

    strips_SK: Floats
    aspect: float
    tones: _Tones
    mass: float

    def scores(self, seen_SNK: Floats, area: float) -> Floats:
        """Similarity (N,) of windows in which `seen` was counted; `area` is the figure's height squared."""
        wanted = self.strips_SK * np.float32(area)
        got = np.minimum(seen_SNK, wanted[:, None]).sum(axis=(0, 2))
        return np.asarray(got / max(float(wanted.sum()), 1e-6), np.float32)

    def apart(self, window_HW3: Floats, area: float) -> float:
        """How far the figure's colours are off in a window: each is sought in its own strip, as much of it as
        the figure has, wherever that is nearest; the distance is that of the means, weighted by amount."""
        edges = np.linspace(0, len(window_HW3), len(self.strips_SK) + 1).round().astype(int)
        total = 0.0
        for strip, (top, bottom) in enumerate(pairwise(edges)):
            seen_P3 = window_HW3[top:bottom].reshape(-1, 3)
            mine = self.tones.strips_T == strip
            if not mine.any() or not len(seen_P3):
                continue
            means_T3, shares_T = self.tones.means_T3[mine], self.tones.shares_T[mine]
            # Squares of distances, less what is equal for all pixels.
            far_TP = (seen_P3**2).sum(axis=1) - 2 * means_T3 @ seen_P3.T
            counts_T = np.clip(np.rint(shares_T * self.mass * area), 1, len(seen_P3)).astype(int)
            for share, mean, count, far_P in zip(shares_T, means_T3, counts_T, far_TP, strict=True):
                nearest = np.argpartition(far_P, count - 1)[:count]
                total += float(share * np.linalg.norm(seen_P3[nearest].mean(axis=0) - mean))
        return total / max(float(self.tones.shares_T.sum()), 1e-6)


class _View:
    """One frame: counts of codes in windows, each set of windows counted once."""

    def __init__(self, sums: Floats) -> None:
        self._sums = sums
        self.height, self.width = sums.shape[0] - 1, sums.shape[1] - 1
        self._cache: dict[tuple[int, int, int, bool], tuple[NDArray[np.int64], Floats]] = {}

    def windows(self, w: int, h: int, strips: int, *, ring: bool) -> tuple[NDArray[np.int64], Floats]:
        """Windows (N, 4) of one size and their counts (S, N, K).

        With `ring`, colours that are as dense around the window do not count: a green ball is not found in
        every part of a meadow.
        """
        key = (w, h, strips, ring)
        if key not in self._cache:
            windows = _windows(self.width, self.height, w, h)
            seen = self.seen(windows, strips)
            if ring:
                seen = np.maximum(seen - self._around(windows, seen), 0)
            self._cache[key] = windows, seen
        return self._cache[key]

    def seen(self, windows_N4: NDArray[np.int64], strips: int) -> Floats:
        """Softened counts (S, N, K) in each window's strips."""
        top, bottom, left, right = windows_N4.T
        edges = [np.rint(top + (bottom - top) * s / strips).astype(int) for s in range(strips + 1)]
        right_edge, left_edge = ([self._sums[edge, side] for edge in edges] for side in (right, left))
        columns = [a - b for a, b in zip(right_edge, left_edge, strict=True)]
        return np.stack([after - before for before, after in pairwise(columns)])

    def _around(self, windows_N4: NDArray[np.int64], seen_SNK: Floats) -> Floats:
        """The counts of each strip if it were like the window's surroundings."""
        margin = 6
        top, bottom, left, right = windows_N4.T
        wide = np.stack(
            [
                np.maximum(top - margin, 0),
                np.minimum(bottom + margin, self.height),
                np.maximum(left - margin, 0),
                np.minimum(right + margin, self.width),
            ],
            axis=1,
        )
        inner = ((bottom - top) * (right - left))[:, None]
        outer = ((wide[:, 1] - wide[:, 0]) * (wide[:, 3] - wide[:, 2]))[:, None] - inner
        density = (self.seen(wide, 1)[0] - seen_SNK.sum(axis=0)) / np.maximum(outer, 1)
        return np.asarray(density * inner / len(seen_SNK), np.float32)[None]


def _windows(width: int, height: int, w: int, h: int) -> NDArray[np.int64]:
    """All windows (top, bottom, left, right) of one size; figures may stand a fifth outside the picture."""
    tops = np.arange(0, max(height - h, 0) + 1, STEP)
    out = round(w * 0.2)
    lefts = np.arange(-out, max(width - w + out, 0) + 1, STEP)
    grid = np.stack(np.meshgrid(tops, lefts, indexing="ij"), axis=-1).reshape(-1, 2)
    left = np.clip(grid[:, 1], 0, width)
    right = np.clip(grid[:, 1] + w, 0, width)
    return np.stack([grid[:, 0], np.minimum(grid[:, 0] + h, height), left, right], axis=1)


def _tones(
    codes_HW: NDArray[np.int64], tones_HW3: Floats, mask_HW: NDArray[np.bool_], edges: NDArray[np.int64]
) -> _Tones:
    """A figure's colours by strip: what has one code counts as one colour."""
    strips, shares, means = [], [], []
    for strip, (top, bottom) in enumerate(pairwise(edges)):
        here = mask_HW[top:bottom]
        code, tone = codes_HW[top:bottom][here], tones_HW3[top:bottom][here]
        for one in np.unique(code):
            mine = tone[code == one]
            if len(mine) >= LEAST_TONE * mask_HW.sum():
                strips.append(strip)
                shares.append(len(mine) / float(mask_HW.sum()))
                means.append(mine.mean(axis=0))
    return _Tones(
        np.array(strips, np.int64), np.array(shares, np.float32), np.array(means, np.float32).reshape(-1, 3)
    )


def _codebook(cast: Cast) -> Floats:
    """Up to `CODES` colours (K, 3) of all figures, by median cut; every figure has the same weight."""
    samples = []
    for member in cast.members:
        for look in member.looks:
            pixels = look.picture_HWC[look.mask_HW]
            at = np.linspace(0, len(pixels) - 1, 600).astype(int)
            order = np.lexsort(pixels.T[::-1])
            samples.append(pixels[order][at])
    strip = np.concatenate(samples)[None]
    palette = Image.fromarray(strip).quantize(CODES, method=Image.Quantize.MEDIANCUT, kmeans=3)
    flat = palette.getpalette() or []
    used = np.unique(np.asarray(palette))
    return np.array(flat, np.float32).reshape(-1, 3)[used]


def _distance(a_N3: Floats, b_M3: Floats) -> Floats:
    """Weighted YCbCr distance (N, M) of RGB colours."""
    a, b = _ycc(a_N3), _ycc(b_M3)
    return np.sqrt(((a[:, None] - b[None]) ** 2).sum(axis=-1))


def _ycc(rgb_N3: Floats | Pixels) -> Floats:
    matrix = np.array([[0.299, 0.587, 0.114], [-0.169, -0.331, 0.5], [0.5, -0.419, -0.081]], np.float32)
    return rgb_N3.astype(np.float32) @ matrix.T * np.array([LUMA_WEIGHT, 1, 1], np.float32)


def _table(codes_K3: Floats) -> NDArray[np.int64]:
    """Nearest code of every 5-bit RGB colour (32768,); K if none is within reach."""
    levels = np.arange(32, dtype=np.float32) * 8 + 4
    grid = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(-1, 3)
    distance = _distance(grid, codes_K3)
    nearest = distance.argmin(axis=1)
    return np.where(distance.min(axis=1) <= REACH, nearest, len(codes_K3)).astype(np.int64)
