"""Copy: a panel pasted into the clip instead of re-posed. No model is needed.

Legend: F frames, H height, W width.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from castsheet.judge.cast import Figure, Member, Pixels
from castsheet.judge.leak import luma_of

Floats = NDArray[np.float32]

SCALES = (0.7, 0.85, 1.0, 1.2, 1.45, 1.75)  # of the figure's size on the conditioning image
LIT_AROUND = 128.0  # luma: if a panel's black is this bright in the frame, nothing is pasted
MARGIN = 3  # px of black around the figure that belong to the pasted patch


def pasted(frames_FHWC: Pixels, member: Member) -> Floats:
    """How far each frame (F,) contains one of the element's panels with the black around it; in -1..1.

    Definition: the normalised cross-correlation of a panel figure on its black with the frame's luma, times
    1 - m / 128, where m is the mean luma of the frame under the template's black; the largest value over
    positions and six scales. 1 is the panel itself. A person in the panel's pose has a lit place around them,
    a pasted panel has its black. Correlation alone would take any darker place for black.
    Source: zero-mean normalised cross-correlation by FFT (Lewis, "Fast normalized cross-correlation", 1995).
    Blind to: panels pasted without their black (then the figure does not move: see motion, still), turned
    panels, and night scenes, which are black themselves.
    """
    searched = _Searched(luma_of(frames_FHWC))
    best = np.full(len(frames_FHWC), -1.0, np.float32)
    for look in member.body:
        for scale in SCALES:
            template, black = _template(look, scale)
            if min(template.shape) >= 8:
                best = np.maximum(best, searched.likeness(template, black))
    return best


def _template(look: Figure, scale: float) -> tuple[Floats, Floats]:
    """The figure on black at a scale, and where it is black (0..1)."""
    picture = np.pad(look.picture_HWC * look.mask_HW[..., None], ((MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0)))
    height, width = picture.shape[:2]
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = Image.fromarray(picture).resize(size)
    cover = Image.fromarray(np.pad(look.mask_HW, MARGIN).astype(np.uint8) * 255).resize(size)
    black = np.float32(1) - np.asarray(cover, np.float32) / np.float32(255)
    return luma_of(np.asarray(small)[None])[0], black


class _Searched:
    """Frames made ready for many templates: spectra and integral images, computed once."""

    def __init__(self, grey_FHW: Floats) -> None:
        self.count, self.height, self.width = grey_FHW.shape
        self._spectra = np.fft.rfft2(grey_FHW)
        self._sums, self._squares = _integral(grey_FHW), _integral(grey_FHW**2)

    def likeness(self, template_hw: Floats, black_hw: Floats) -> Floats:
        """Largest likeness (F,) over all positions at which the template lies inside; -1 if it never does."""
        h, w = template_hw.shape
        centred = template_hw - template_hw.mean()
        norm = float(np.sqrt((centred**2).sum()))
        if h > self.height or w > self.width or norm < 1e-3:
            return np.full(self.count, -1.0, np.float32)
        cross = self._cross(centred)
        around = self._cross(black_hw) / max(float(black_hw.sum()), 1e-6)
        total, squares = _box_sum(self._sums, h, w), _box_sum(self._squares, h, w)
        spread = np.sqrt(np.maximum(squares - total**2 / (h * w), 0))
        # A flat window is similar to nothing; one grey level of spread avoids a division by zero.
        scores = cross / (norm * np.maximum(spread, np.sqrt(h * w)))
        scores = np.where(scores > 0, scores * np.clip(1 - around / LIT_AROUND, 0, 1), scores)
        return np.asarray(scores.reshape(self.count, -1).max(axis=1), np.float32)

    def _cross(self, kernel_hw: Floats) -> NDArray[np.float64]:
        """Cross-correlation with every frame, at positions where the kernel lies inside."""
        h, w = kernel_hw.shape
        kernel = np.conj(np.fft.rfft2(kernel_hw, (self.height, self.width)))
        every = np.fft.irfft2(self._spectra * kernel, (self.height, self.width))
        return every[:, : self.height - h + 1, : self.width - w + 1]


def _integral(values_FHW: Floats) -> NDArray[np.float64]:
    sums = np.zeros((values_FHW.shape[0], values_FHW.shape[1] + 1, values_FHW.shape[2] + 1))
    np.cumsum(np.cumsum(values_FHW, axis=1, dtype=np.float64), axis=2, out=sums[:, 1:, 1:])
    return sums


def _box_sum(sums_FHW: NDArray[np.float64], h: int, w: int) -> NDArray[np.float64]:
    return sums_FHW[:, h:, w:] - sums_FHW[:, :-h, w:] - sums_FHW[:, h:, :-w] + sums_FHW[:, :-h, :-w]
