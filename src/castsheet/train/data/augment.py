"""Variants of a sheet for training: panels moved, left out, shrunk. The manifest says where panels are.

The model should learn from what a panel shows, not from its place. Variants are made before encoding, because
panels cannot be cut out of latents.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from castsheet.errors import SettingsError
from castsheet.sheet.box import Box
from castsheet.sheet.manifest import Panel, Sheet


@dataclass(frozen=True)
class Augment:
    """Which variants are made.

    Attributes:
        variants: versions of each sheet, the plain one included.
        shuffle: chance that a variant's panels change places.
        drop: chance of each panel to be left out; one always stays.
        jitter: the most pixels of the sheet by which each side of a panel moves inwards.
    """

    variants: int = 1
    shuffle: float = 0.0
    drop: float = 0.0
    jitter: int = 0

    def __post_init__(self) -> None:
        """Raise SettingsError if a value is out of range, or options would have no effect."""
        counts = 1 <= self.variants <= 1000 and 0 <= self.jitter <= 8192
        if not (counts and 0 <= self.shuffle <= 1 and 0 <= self.drop < 1):
            raise SettingsError(
                f"{self}: out of range",
                remedy="use chances from 0 to 1, 1 to 1000 variants, and a jitter from 0 to 8192",
            )
        if (self.variants > 1) != bool(self.shuffle or self.drop or self.jitter):
            raise SettingsError(
                f"{self}: variants and what makes them differ go together",
                remedy="use variants of 2 or more with shuffle, drop or jitter",
            )

    def record(self) -> dict[str, float]:
        """The augmentations that are on, for the adapter's metadata; empty if none is."""
        values = {
            "variants": self.variants,
            "shuffle": self.shuffle,
            "drop": self.drop,
            "jitter": self.jitter,
        }
        return {name: float(value) for name, value in values.items() if value} if self.variants > 1 else {}


def variant(sheet: Sheet, augment: Augment, random: np.random.Generator) -> Sheet:
    """One random variant.

    Raises:
        SettingsError: the sheet has no manifest: its panels are unknown.
    """
    if not sheet.panels:
        raise SettingsError(
            f"{sheet.path}: a picture without a manifest cannot be varied",
            remedy="compose it with `castsheet sheet`, or encode without variants",
        )
    places = list(range(len(sheet.panels)))
    if random.random() < augment.shuffle:
        random.shuffle(places)
    kept = random.random(len(places)) >= augment.drop
    kept[random.integers(len(places))] |= not kept.any()
    image = Image.new("RGB", sheet.image.size)
    panels = []
    for panel, place, stays in zip(sheet.panels, places, kept, strict=True):
        room = _inset(sheet.panels[place].box, random.integers(0, augment.jitter + 1, 4).tolist())
        if stays:
            panels.append(_draw(image, sheet, panel, room))
    return replace(sheet, image=image, panels=tuple(panels), path=None)


def _inset(box: Box, edges: list[int]) -> Box:
    left, top = min(edges[0], box.w // 4), min(edges[1], box.h // 4)
    right, bottom = min(edges[2], box.w // 4), min(edges[3], box.h // 4)
    return Box(box.x + left, box.y + top, box.w - left - right, box.h - top - bottom)


def _draw(image: Image.Image, sheet: Sheet, panel: Panel, room: Box) -> Panel:
    """The panel in the middle of a place, as large as it fits without stretching."""
    own = panel.box
    factor = min(room.w / own.w, room.h / own.h)
    w, h = max(1, round(own.w * factor)), max(1, round(own.h * factor))
    box = Box(room.x + (room.w - w) // 2, room.y + (room.h - h) // 2, w, h)
    piece = sheet.image.crop(own.corners)
    image.paste(piece.resize((w, h), Image.Resampling.LANCZOS), (box.x, box.y))
    return replace(panel, box=box)
