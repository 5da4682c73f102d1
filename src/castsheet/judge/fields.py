"""Frames made ready for templates: edges and detail, correlated at every place.

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

from castsheet.judge.cast import Pixels

Floats = NDArray[np.float32]
Place = tuple[int, int, int, int]  # (x, y, w, h)
Candidate = tuple[float, Place]  # likeness, and where
What = Literal["sheet", "panel", "figure"]

LONG_SIDE = 256  # px: a panel of an eighth of the frame still has some 30 px
CLOSE_SIDE = 512  # px: the size at which places that were found are looked at closely
BLACK, LIT_AROUND = 20.0, 128.0  # luma: the template's black, and what is surely no black in the frame
BLACK_SHARE = 0.1  # of a template: with less black it has none to compare

EDGE = 48.0  # luma: stronger edges count as this
REACH = 3  # px: what a figure's detail is told from is its blur of this reach


@dataclass(frozen=True)
class Find:
    """A panel and where it was found.

    Attributes:
        of: what was searched: "sheet", "panel" or "figure".
        element: whose; empty for the whole sheet.
        likeness: see `castsheet.judge.search` and `castsheet.judge.pasted`, in -1..1.
        frame: its number. box: (x, y, w, h) in pixels of the clip.
    """

    of: What
    element: str
    likeness: float
    frame: int
    box: Place


class Searched:
    """Frames made ready for many templates.

    Args:
        frames_FHWC: uint8 RGB, any size. numbers: which of them to search.
    """

    def __init__(self, frames_FHWC: Pixels, numbers: Sequence[int]) -> None:
        scale = min(1.0, LONG_SIDE / max(frames_FHWC.shape[1:3]))
        self.numbers, self.full_width = list(numbers), frames_FHWC.shape[2]
        self.full_FHWC = [frames_FHWC[at] for at in numbers]
        small_FHWC = np.stack([resized(one, scale) for one in self.full_FHWC])
        self.height, self.width = small_FHWC.shape[1:3]
        self.grey_FHW = grey = luma(small_FHWC)
        self.edges = Field(torch.from_numpy(np.stack([edges(one) for one in grey])))
        self.detail = Field(torch.from_numpy(np.stack([detail(one) for one in grey])))
        self._near: dict[int, Pixels] = {}

    def near(self, at: int) -> Pixels:
        """Frame number `at` of those that are searched, at 512 px or less: kept, many places of it are looked
        at."""
        if at not in self._near:
            full_HWC = self.full_FHWC[at]
            self._near[at] = resized(full_HWC, min(1.0, CLOSE_SIDE / max(full_HWC.shape[:2])))
        return self._near[at]

    def darkness(self, black_hw: NDArray[np.bool_], corners: Sequence[tuple[int, int]]) -> Floats:
        """How black each frame (F,) is under a template's black at its corner, in 0..1."""
        if black_hw.mean() < BLACK_SHARE:
            return np.ones(len(corners), np.float32)
        h, w = black_hw.shape
        parts = [grey[y : y + h, x : x + w] for grey, (y, x) in zip(self.grey_FHW, corners, strict=True)]
        lit = [float(part[black_hw].mean()) if part.shape == black_hw.shape else 0.0 for part in parts]
        return np.clip(1 - np.array(lit, np.float32) / LIT_AROUND, 0, 1)

    def find(self, of: What, element: str, values: Floats, boxes: Sequence[Place]) -> Find:
        """The best frame's find, in pixels of the clip; its likeness is the second best frame's."""
        at, up = int(np.argmax(values)), self.full_width / self.width
        x, y, w, h = (round(side * up) for side in boxes[at])
        # One lucky frame decides nothing, and what leaks for a second shows in two samples.
        value = float(np.sort(values)[-2:][0])
        return Find(of, element, round(value, 4), self.numbers[at], (x, y, w, h))


class Field:
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


def steps(smallest: float, largest: float, step: float) -> list[float]:
    """Sizes from the smallest to the largest, each `step` times the one before."""
    if smallest > largest:
        return []
    count = int(np.log(largest / smallest) / np.log(step)) + 1
    return [smallest * step**number for number in range(count)]


def resized(frame_HWC: Pixels, scale: float) -> Pixels:
    """A picture made smaller, by averages."""
    size = max(8, round(frame_HWC.shape[1] * scale)), max(8, round(frame_HWC.shape[0] * scale))
    return np.asarray(Image.fromarray(frame_HWC).resize(size, Image.Resampling.BOX))


def luma(pixels: Pixels) -> Floats:
    """BT.601 luma, 0..255."""
    return pixels.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)


def edges(grey_HW: Floats) -> Floats:
    """Strength of edges, softened by a pixel."""
    across = np.zeros_like(grey_HW)
    down = np.zeros_like(grey_HW)
    across[:, 1:-1] = (grey_HW[:, 2:] - grey_HW[:, :-2]) / 2
    down[1:-1] = (grey_HW[2:] - grey_HW[:-2]) / 2
    strength = np.minimum(np.hypot(across, down), EDGE)
    padded = np.pad(strength, 1, mode="edge")
    rows = padded[:-2] + 2 * padded[1:-1] + padded[2:]
    return np.asarray((rows[:, :-2] + 2 * rows[:, 1:-1] + rows[:, 2:]) / 16, np.float32)


def detail(grey_HW: Floats) -> Floats:
    """Luma less its blur."""
    return np.asarray(np.clip(grey_HW - blurred(grey_HW), -64, 64), np.float32)


def blurred(values_HW: NDArray[np.floating]) -> Floats:
    """Twice a box blur of 2 REACH + 1 px."""
    out = torch.from_numpy(np.ascontiguousarray(values_HW, np.float32))[None, None]
    for _ in range(2):
        out = avg_pool2d(out, 2 * REACH + 1, 1, REACH, count_include_pad=False)
    return np.asarray(out[0, 0].numpy())


def apart(tried: Sequence[Candidate], count: int) -> list[Candidate]:
    """The `count` best places that lie apart from each other."""
    kept: list[Candidate] = []
    for value, box in sorted(tried, reverse=True):
        x, y, w, h = box
        beside = (
            abs(x - a + (w - c) / 2) > w / 4 or abs(y - b + (h - d) / 2) > h / 8 for _, (a, b, c, d) in kept
        )
        if all(beside):
            kept.append((value, box))
        if len(kept) == count:
            break
    return kept


def nothing(count: int) -> tuple[Floats, list[Place]]:
    """No likeness and no place yet, for each frame."""
    return np.full(count, -1.0, np.float32), [(0, 0, 1, 1)] * count


def keep(
    values: Floats, places: list[Place], scored: tuple[Floats, list[tuple[int, int]]], size: tuple[int, int]
) -> None:
    """Keep each frame's best so far."""
    scores, corners = scored
    for at in np.flatnonzero(scores > values):
        values[at] = scores[at]
        places[at] = (corners[at][1], corners[at][0], *size)
