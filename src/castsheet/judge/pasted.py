"""Figures of the sheet that stand in the picture as they are, whatever lies around them. No model is needed.

Legend: F frames, H height, W width, C colour channel; h, w of a template.
"""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from castsheet.judge.cast import Cast, Figure, Pixels
from castsheet.judge.fields import (
    CLOSE_SIDE,
    Candidate,
    Field,
    Find,
    Floats,
    Place,
    Searched,
    apart,
    blurred,
    detail,
    luma,
    resized,
    steps,
)

SMALLEST, STEP = 0.3, 1.05  # of the frame's height: smaller ones are like anything
RIM = 0.8  # of a blurred mask: below it is the figure's rim, where the ground shows
ROUGHLY = 0.66  # likeness from which a place is looked at closely
CANDIDATES = 2  # places of a frame: who acts in the panel's pose is often more like it from afar
CLOSE_STEPS = np.exp(np.linspace(-0.03, 0.03, 7))  # sizes beside the one that was found


def figures(searched: Searched, cast: Cast) -> list[Find]:
    """The best place of every figure as it is.

    Definition: correlation of luma less its blur under the figure's own mask, first in small frames over all
    positions and sizes from 0.3 of the frame's height; then the two best places of each frame at 512 px. A
    pasted figure has the panel's own pixels; a person in its pose and clothes has other folds and strands.
    Source: masked normalised cross-correlation (Padfield, 2012), without the mean, which the blur took.
    Blind to: turned, mirrored and smaller figures; and to all in clips of less than 512 px, where an actor in
    the panel's pose keeps too little detail of his own.
    """
    found: list[Find] = []
    if max(searched.full_FHWC[0].shape[:2]) < CLOSE_SIDE:
        return found
    for member in cast.members:
        looks = member.body if member.kind == "character" else ()
        every = [_figure(searched, member.id, look) for look in looks]
        if every:
            found.append(max(every, key=lambda one: one.likeness))
    return found


def _figure(searched: Searched, element: str, look: Figure) -> Find:
    rough = _roughly(searched, look)
    values, places = [], []
    for frame_HWC, candidates in zip(searched.full_FHWC, rough, strict=True):
        frame = resized(frame_HWC, CLOSE_SIDE / max(frame_HWC.shape[:2]))
        up = frame.shape[1] / searched.width
        near = [
            (_closely(frame, look, box, up), box) if value >= ROUGHLY else (0.0, box)
            for value, box in candidates
        ]
        value, place = max(near, key=lambda one: one[0], default=(0.0, (0, 0, 1, 1)))
        values.append(value)
        places.append(place)
    return searched.find("figure", element, np.array(values, np.float32), places)


def _roughly(searched: Searched, look: Figure) -> list[list[Candidate]]:
    """The most likely places of each frame, apart from each other."""
    tall, wide = look.picture_HWC.shape[:2]
    largest = min(searched.height / tall, searched.width / wide)
    tried: list[list[Candidate]] = [[] for _ in searched.numbers]
    for scale in steps(max(SMALLEST * searched.height / tall, 14 / wide), largest, STEP):
        size = round(wide * scale), round(tall * scale)
        values, corners = searched.detail.masked(*_masked(look, size))
        for mine, value, (y, x) in zip(tried, values, corners, strict=True):
            mine.append((float(value), (x, y, *size)))
    return [apart(one, CANDIDATES) for one in tried]


def _closely(frame_HWC: Pixels, look: Figure, box: Place, up: float) -> float:
    """The same at the clip's own size, around one place of the small frame."""
    x, y, w, h = (round(up * side) for side in box)
    room = round(0.08 * h) + 4
    part = frame_HWC[max(0, y - room) : y + h + room, max(0, x - room) : x + w + room]
    field = Field(torch.from_numpy(detail(luma(part))[None]))
    tall, wide = look.picture_HWC.shape[:2]
    sizes = [(round(wide * h / tall * by), round(h * by)) for by in CLOSE_STEPS]
    return max(float(field.masked(*_masked(look, size))[0][0]) for size in sizes)


def _masked(look: Figure, size: tuple[int, int]) -> tuple[Floats, Floats]:
    """Detail and mask (h, w) of a figure at a size, without its rim."""
    cover = np.asarray(Image.fromarray(look.mask_HW.astype(np.uint8) * 255).resize(size), np.float32) / 255
    grey = luma(np.asarray(Image.fromarray(look.picture_HWC).resize(size, Image.Resampling.BOX)))
    mask = (blurred(cover) > RIM).astype(np.float32)
    # Blur under the mask: across the rim it would mix in the sheet's black.
    inside = blurred(grey * cover) / np.maximum(blurred(cover), 0.05)
    return np.asarray(np.clip(grey - inside, -64, 64) * mask, np.float32), mask
