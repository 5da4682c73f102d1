"""Boxes in pixels, and the names of what a panel holds and of its views."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["character", "prop", "location"]
PanelView = Literal["face", "turnaround", "product", "place"]
Side = Literal["left", "top", "right", "bottom"]


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels of the composed sheet; `x`, `y` is its upper left corner."""

    x: int
    y: int
    w: int
    h: int

    @property
    def right(self) -> int:
        """First column to the right of the box."""
        return self.x + self.w

    @property
    def bottom(self) -> int:
        """First row below the box."""
        return self.y + self.h

    @property
    def corners(self) -> tuple[int, int, int, int]:
        """Left, top, right, bottom: what Pillow's `crop` takes."""
        return self.x, self.y, self.right, self.bottom

    @classmethod
    def around(cls, boxes: Sequence[Box]) -> Box:
        """The smallest box that holds all of these, one at least."""
        x, y = min(box.x for box in boxes), min(box.y for box in boxes)
        return cls(x, y, max(box.right for box in boxes) - x, max(box.bottom for box in boxes) - y)

    @property
    def area(self) -> int:
        """Pixels covered."""
        return self.w * self.h

    def overlaps(self, other: Box) -> bool:
        """Whether the two share at least one pixel."""
        across = self.x < other.right and other.x < self.right
        return across and self.y < other.bottom and other.y < self.bottom

    def shared(self, other: Box) -> int:
        """Pixels that both cover."""
        across = min(self.right, other.right) - max(self.x, other.x)
        down = min(self.bottom, other.bottom) - max(self.y, other.y)
        return max(0, across) * max(0, down)

    def inside(self, width: int, height: int) -> bool:
        """Whether the box is not empty and lies on a canvas of this size."""
        corner = self.x >= 0 and self.y >= 0 and self.w > 0 and self.h > 0
        return corner and self.right <= width and self.bottom <= height


@dataclass(frozen=True)
class Crop:
    """How a picture fills a size of another shape: scaled in proportion, then cropped at the centre.

    Sizes are (width, height) in pixels. The scaled size and the start of the crop are whole pixels, as in the
    picture that the model sees. All code that asks where something lies on that picture uses this class.

    Attributes:
        size: the picture's own.
        scaled: after scaling; at least `target` on both sides.
        offset: the first column and row that are kept.
        target: what is left.
    """

    size: tuple[int, int]
    scaled: tuple[int, int]
    offset: tuple[int, int]
    target: tuple[int, int]

    @classmethod
    def fill(cls, size: tuple[int, int], target: tuple[int, int]) -> Crop:
        """The crop that brings a picture of `size` to `target`."""
        (width, height), (out_w, out_h) = size, target
        scale = max(out_w / width, out_h / height)
        full_w, full_h = max(out_w, round(width * scale)), max(out_h, round(height * scale))
        return cls(size, (full_w, full_h), ((full_w - out_w) // 2, (full_h - out_h) // 2), target)

    def seen(self, box: Box) -> tuple[float, float, float, float]:
        """A box's left, top, right and bottom on the target, in fractions of a pixel; it may lie outside."""
        (width, height), (full_w, full_h), (left, top) = self.size, self.scaled, self.offset
        return (
            box.x * full_w / width - left,
            box.y * full_h / height - top,
            box.right * full_w / width - left,
            box.bottom * full_h / height - top,
        )
