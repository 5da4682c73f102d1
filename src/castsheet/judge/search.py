"""Search: panels of the sheet anywhere in the picture, at any size. No model is needed.

A sheet rarely leaks as a whole. It leaks as framed pictures on a wall, as a small sheet in a corner, as a
third of the screen, zoomed, or as one figure pasted from its panel, with its black or without.

Legend: F frames, H height, W width, C colour channel; h, w of a template.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn.functional import avg_pool2d

from castsheet.judge.cast import Cast, Figure, Pixels
from castsheet.sheet.box import Kind
from castsheet.sheet.manifest import Sheet

Floats = NDArray[np.float32]
Place = tuple[int, int, int, int]
What = Literal["sheet", "panel", "figure"]

LONG_SIDE = 256  # px: a panel of an eighth of the frame still has some 30 px
STEP = 1.1  # from size to size: between two of them edges lie off by less than their own width
PANEL_WIDEST = 0.55  # of the frame: a place that fills more of it, either way, is where the clip plays
BLACK, LIT_AROUND = 20.0, 128.0  # luma: the template's black, and what is surely no black in the frame
BLACK_SHARE = 0.1  # of a template: with less black it has none to compare
BUSY = 0.15  # share of a place's pixels with edges: a plainer one is like any sky
SMALLEST_PANEL = 0.14  # heights or widths of the frame, whichever is less
SMALLEST_FIGURE, FIGURE_STEP = 0.3, 1.05  # of the frame's height: smaller ones are like anything
SMALL_SHEETS = (0.22, 0.55, 1.06)  # smallest, largest, step: a sheet in a corner
LARGE_SHEETS = (0.97, 1.35, 1.035)  # a sheet as large as the frame, or zoomed
EDGE, FAINT = 48.0, 6.0  # luma: stronger edges count as this, weaker ones as none
REACH = 3  # px: what a figure's detail is told from is its blur of this reach
RIM = 0.8  # of a blurred mask: below it is the figure's rim, where the ground shows
SAME = 0.7  # likeness from which a figure's colours are compared too


@dataclass(frozen=True)
class Find:
    """A panel and where it was found.

    Attributes:
        of: what was searched: "sheet", "panel" or "figure".
        element: whose; empty for the whole sheet.
        likeness: see `panels`, `whole` and `figures`, in -1..1.
        apart: for `figures`, mean difference of colours, of 255.
        frame: its number. box: (x, y, w, h) in pixels of the clip.
    """

    of: What
    element: str
    likeness: float
    frame: int
    box: Place
    apart: float = 0.0


class Searched:
    """Frames made ready for many templates.

    Args:
        frames_FHWC: uint8 RGB, any size. numbers: which of them to search.
    """

    def __init__(self, frames_FHWC: Pixels, numbers: Sequence[int]) -> None:
        scale = min(1.0, LONG_SIDE / max(frames_FHWC.shape[1:3]))
        self.numbers, self.full_width = list(numbers), frames_FHWC.shape[2]
        self.pictures_FHWC = np.stack([_resized(frames_FHWC[at], scale) for at in numbers])
        self.height, self.width = self.pictures_FHWC.shape[1:3]
        self.grey_FHW = grey = _luma(self.pictures_FHWC)
        self.edges = _Field(torch.from_numpy(np.stack([_edges(one) for one in grey])))
        self.detail = _Field(torch.from_numpy(np.stack([_detail(one) for one in grey])))

    def darkness(self, black_hw: NDArray[np.bool_], corners: Sequence[tuple[int, int]]) -> Floats:
        """How black each frame (F,) is under a template's black at its corner, in 0..1."""
        if black_hw.mean() < BLACK_SHARE:
            return np.ones(len(corners), np.float32)
        h, w = black_hw.shape
        parts = [grey[y : y + h, x : x + w] for grey, (y, x) in zip(self.grey_FHW, corners, strict=True)]
        lit = [float(part[black_hw].mean()) if part.shape == black_hw.shape else 0.0 for part in parts]
        return np.clip(1 - np.array(lit, np.float32) / LIT_AROUND, 0, 1)

    def find(
        self, of: What, element: str, values: Floats, boxes: Sequence[Place], apart: float = 0.0
    ) -> Find:
        """The best frame's find, in pixels of the clip; its likeness is the second best frame's."""
        at, up = int(np.argmax(values)), self.full_width / self.width
        x, y, w, h = (round(side * up) for side in boxes[at])
        # One lucky frame decides nothing, and what leaks for a second shows in two samples.
        value = float(np.sort(values)[-2:][0])
        return Find(of, element, round(value, 4), self.numbers[at], (x, y, w, h), round(apart, 2))


Template = tuple[str, Kind, Image.Image]


def templates(sheet: Sheet, cast: Cast) -> list[Template]:
    """Whole panels, and each figure of a turnaround on its black, by element."""
    image = sheet.image.convert("RGB")
    panels = [(panel, panel.box) for panel in sheet.panels if panel.kind != "prop"]
    found: list[Template] = [
        (panel.element, panel.kind, image.crop((box.x, box.y, box.right, box.bottom)))
        for panel, box in panels
    ]
    for member in cast.members:
        if member.kind == "character" and (len(member.looks) > 1 or not panels):
            found += [(member.id, member.kind, Image.fromarray(look.picture_HWC)) for look in member.looks]
    return found


def panels(searched: Searched, templates: Sequence[Template]) -> list[Find]:
    """The best place of every panel, black and all.

    Definition: normalised cross-correlation of the strength of edges of a panel's whole rectangle with the
    frame's, largest over positions and sizes from 0.14 of the frame to its whole height; places up to 0.55
    of its width.
    A panel with black in it counts by 1 - m / 128, where m is the frame's mean luma under that black: a
    person who takes the panel's pose has a lit place around him. Props are not searched, since a prop that
    is kept well looks like its panel.
    Source: zero-mean normalised cross-correlation by FFT (Lewis, "Fast normalized cross-correlation", 1995).
    Blind to: turned and mirrored panels, panels without their black, and honest black around the same pose.
    """
    found = []
    for element, kind, picture in templates:
        if kind == "location" and not _busy(picture):
            continue
        smallest = SMALLEST_PANEL * min(searched.width / picture.width, searched.height / picture.height)
        smallest = max(smallest, 16 / min(picture.size))
        room = PANEL_WIDEST if kind == "location" else 1.0
        largest = min(room * searched.width / picture.width, room * searched.height / picture.height)
        values, places = _nothing(len(searched.numbers))
        for scale in _steps(smallest, largest, STEP):
            size = round(picture.width * scale), round(picture.height * scale)
            grey = _luma(np.asarray(picture.resize(size, Image.Resampling.BOX)))
            scores, corners = searched.edges.likeness(_edges(grey))
            _keep(values, places, (scores * searched.darkness(grey < BLACK, corners), corners), size)
        found.append(searched.find("panel", element, values, places))
    return found


def _busy(picture: Image.Image) -> bool:
    small = picture.resize((120, max(1, round(120 * picture.height / picture.width))), Image.Resampling.BOX)
    return bool((_edges(_luma(np.asarray(small))) > FAINT).mean() >= BUSY)


def whole(searched: Searched, sheet: Sheet) -> Find:
    """The best place of the whole sheet: smaller than the frame, or larger, when the frame shows a part of
    it."""
    values, places = _nothing(len(searched.numbers))
    size = searched.width, searched.height
    for scale in [*_steps(*SMALL_SHEETS), *_steps(*LARGE_SHEETS)]:
        shape = round(size[0] * scale), round(size[1] * scale)
        edges = _edges(_luma(np.asarray(sheet.conditioning_image(*shape))))
        if scale <= 1:
            _keep(values, places, searched.edges.likeness(edges), shape)
            continue
        field = _Field(torch.from_numpy(edges[None]))
        scores = [float(field.likeness(one)[0][0]) for one in searched.edges.values_FHW.numpy()]
        _keep(values, places, (np.array(scores, np.float32), [(0, 0)] * len(scores)), size)
    return searched.find("sheet", "", values, places)


def search(frames_FHWC: Pixels, numbers: Sequence[int], sheet: Sheet, cast: Cast) -> list[Find]:
    """Everything that can be searched, in the given frames: one find for the sheet, and for each element
    one of its panels and one of its figures."""
    searched = Searched(frames_FHWC, numbers)
    every = panels(searched, templates(sheet, cast))
    best = {one.element: one for one in sorted(every, key=lambda one: one.likeness)}
    return [whole(searched, sheet), *best.values(), *figures(searched, cast)]


def figures(searched: Searched, cast: Cast) -> list[Find]:
    """The best place of every figure as it is, whatever lies around it.

    Definition: as `panels`, of luma less its blur and under the figure's own mask; `apart` is the mean
    difference of colours there. A pasted figure has the panel's own pixels, a person in its pose has not.
    Source: masked normalised cross-correlation (Padfield, 2012), without the mean, which the blur took.
    """
    found = []
    for member in cast.members:
        best: Find | None = None
        for look in member.body if member.kind == "character" else ():
            one = _figure(searched, member.id, look)
            if best is None or (one.apart, -one.likeness) < (best.apart, -best.likeness):
                best = one
        if best is not None:
            found.append(best)
    return found


def _figure(searched: Searched, element: str, look: Figure) -> Find:
    values, places = _nothing(len(searched.numbers))
    tall, wide = look.picture_HWC.shape[:2]
    largest = min(searched.height / tall, searched.width / wide)
    sizes = _steps(max(SMALLEST_FIGURE * searched.height / tall, 14 / wide), largest, FIGURE_STEP)
    for scale in sizes:
        _try(searched, look, scale, values, places)
    if not sizes or np.sort(values)[-2:][0] < SAME:
        return searched.find("figure", element, values, places, 255.0)
    near = places[int(np.argmax(values))][3] / tall
    for scale in near * np.array([0.98, 1.02]):
        if scale <= largest:
            _try(searched, look, float(scale), values, places)
    two = np.argsort(values)[-2:]
    apart = max(_apart(searched.pictures_FHWC[at], look, places[at]) for at in two)
    return searched.find("figure", element, values, places, apart)


def _try(searched: Searched, look: Figure, scale: float, values: Floats, places: list[Place]) -> None:
    size = round(look.picture_HWC.shape[1] * scale), round(look.picture_HWC.shape[0] * scale)
    _keep(values, places, searched.detail.masked(*_masked(look, size)), size)


def _masked(look: Figure, size: tuple[int, int]) -> tuple[Floats, Floats]:
    """Detail and mask (h, w) of a figure at a size, without its rim."""
    cover = np.asarray(Image.fromarray(look.mask_HW.astype(np.uint8) * 255).resize(size), np.float32) / 255
    grey = _luma(np.asarray(Image.fromarray(look.picture_HWC).resize(size, Image.Resampling.BOX)))
    mask = (_blurred(cover) > RIM).astype(np.float32)
    # Blur under the mask: across the rim it would mix in the sheet's black.
    inside = _blurred(grey * cover) / np.maximum(_blurred(cover), 0.05)
    return np.asarray(np.clip(grey - inside, -64, 64) * mask, np.float32), mask


def _apart(picture_HWC: Pixels, look: Figure, box: Place) -> float:
    """Mean difference of colours under the figure's mask."""
    x, y, w, h = box
    seen = picture_HWC[y : y + h, x : x + w].astype(np.float32)
    mine = np.asarray(Image.fromarray(look.picture_HWC).resize((w, h), Image.Resampling.BOX), np.float32)
    cover = np.asarray(Image.fromarray(look.mask_HW.astype(np.uint8) * 255).resize((w, h)), np.float32) / 255
    mask = _blurred(cover) > RIM
    if not mask.any():
        return 255.0
    difference = seen[mask] - mine[mask]
    return float(np.abs(difference).mean())


def _steps(smallest: float, largest: float, step: float) -> list[float]:
    if smallest > largest:
        return []
    count = int(np.log(largest / smallest) / np.log(step)) + 1
    return [smallest * step**number for number in range(count)]


def _nothing(count: int) -> tuple[Floats, list[Place]]:
    return np.full(count, -1.0, np.float32), [(0, 0, 1, 1)] * count


def _keep(
    values: Floats, places: list[Place], scored: tuple[Floats, list[tuple[int, int]]], size: tuple[int, int]
) -> None:
    """Keep each frame's best so far."""
    scores, corners = scored
    for at in np.flatnonzero(scores > values):
        values[at] = scores[at]
        places[at] = (corners[at][1], corners[at][0], *size)


def _resized(frame_HWC: Pixels, scale: float) -> Pixels:
    size = max(8, round(frame_HWC.shape[1] * scale)), max(8, round(frame_HWC.shape[0] * scale))
    return np.asarray(Image.fromarray(frame_HWC).resize(size, Image.Resampling.BOX))


def _luma(pixels: Pixels) -> Floats:
    return pixels.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)


def _edges(grey_HW: Floats) -> Floats:
    """Strength of edges, softened by a pixel."""
    across = np.zeros_like(grey_HW)
    down = np.zeros_like(grey_HW)
    across[:, 1:-1] = (grey_HW[:, 2:] - grey_HW[:, :-2]) / 2
    down[1:-1] = (grey_HW[2:] - grey_HW[:-2]) / 2
    strength = np.minimum(np.hypot(across, down), EDGE)
    padded = np.pad(strength, 1, mode="edge")
    rows = padded[:-2] + 2 * padded[1:-1] + padded[2:]
    return np.asarray((rows[:, :-2] + 2 * rows[:, 1:-1] + rows[:, 2:]) / 16, np.float32)


def _detail(grey_HW: Floats) -> Floats:
    return np.asarray(np.clip(grey_HW - _blurred(grey_HW), -64, 64), np.float32)


def _blurred(values_HW: NDArray[np.floating]) -> Floats:
    """Twice a box blur of 2 REACH + 1 px."""
    out = torch.from_numpy(np.ascontiguousarray(values_HW, np.float32))[None, None]
    for _ in range(2):
        out = avg_pool2d(out, 2 * REACH + 1, 1, REACH, count_include_pad=False)
    return np.asarray(out[0, 0].numpy())


class _Field:
    """Values (F, H, W) with their spectra and integral images, computed once."""

    def __init__(self, values_FHW: Tensor) -> None:
        self.values_FHW = values_FHW
        self.count, self.height, self.width = values_FHW.shape
        self._spectra = torch.fft.rfft2(values_FHW)
        self._energy = torch.fft.rfft2(values_FHW**2)
        self._sums, self._squares = _integral(values_FHW), _integral(values_FHW**2)

    def likeness(self, template_hw: Floats) -> tuple[Floats, list[tuple[int, int]]]:
        """Zero-mean correlation: the largest of each frame, and the template's corner (row, column) there."""
        h, w = template_hw.shape
        centred = template_hw - template_hw.mean()
        norm = float(np.sqrt((centred**2).sum()))
        if h > self.height or w > self.width or norm < 1e-3:
            return self._none()
        total, squares = _sum(self._sums, h, w), _sum(self._squares, h, w)
        spread = torch.sqrt(torch.clamp(squares - total**2 / (h * w), min=float(h * w)))
        return self._best(self._cross(self._spectra, centred) / (norm * spread))

    def masked(self, template_hw: Floats, mask_hw: Floats) -> tuple[Floats, list[tuple[int, int]]]:
        """The same of zero-mean detail under a mask."""
        h, w = template_hw.shape
        norm = float(np.sqrt((template_hw**2).sum()))
        if h > self.height or w > self.width or norm < 1e-3 or mask_hw.sum() < 60:
            return self._none()
        energy = self._cross(self._energy, mask_hw)
        # A flat window is like nothing; two grey levels of detail keep it from dividing by zero.
        spread = torch.sqrt(torch.clamp(energy, min=4.0 * float(mask_hw.sum())))
        return self._best(self._cross(self._spectra, template_hw) / (norm * spread))

    def _none(self) -> tuple[Floats, list[tuple[int, int]]]:
        return np.full(self.count, -1.0, np.float32), [(0, 0)] * self.count

    def _best(self, scores_FHW: Tensor) -> tuple[Floats, list[tuple[int, int]]]:
        best, at = scores_FHW.reshape(self.count, -1).max(dim=1)
        columns = scores_FHW.shape[2]
        return np.asarray(best.numpy(), np.float32), [(int(one) // columns, int(one) % columns) for one in at]

    def _cross(self, spectra: Tensor, kernel_hw: Floats) -> Tensor:
        h, w = kernel_hw.shape
        size = (self.height, self.width)
        kernel = torch.fft.rfft2(torch.from_numpy(np.ascontiguousarray(kernel_hw)), s=size).conj()
        every = torch.fft.irfft2(spectra * kernel, s=size)
        return every[:, : self.height - h + 1, : self.width - w + 1]


def _integral(values_FHW: Tensor) -> Tensor:
    sums = torch.zeros(
        values_FHW.shape[0], values_FHW.shape[1] + 1, values_FHW.shape[2] + 1, dtype=torch.float64
    )
    sums[:, 1:, 1:] = values_FHW.double().cumsum(1).cumsum(2)
    return sums


def _sum(sums_FHW: Tensor, h: int, w: int) -> Tensor:
    return sums_FHW[:, h:, w:] - sums_FHW[:, :-h, w:] - sums_FHW[:, h:, :-w] + sums_FHW[:, :-h, :-w]
