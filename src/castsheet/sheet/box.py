"""The words in which panels are told: a box in pixels, what a panel holds, and which view of it."""

from __future__ import annotations

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
    def area(self) -> int:
        """Pixels covered."""
        return self.w * self.h

    def overlaps(self, other: Box) -> bool:
        """Whether the two share at least one pixel."""
        across = self.x < other.right and other.x < self.right
        return across and self.y < other.bottom and other.y < self.bottom

    def inside(self, width: int, height: int) -> bool:
        """Whether the box is not empty and lies on a canvas of this size."""
        corner = self.x >= 0 and self.y >= 0 and self.w > 0 and self.h > 0
        return corner and self.right <= width and self.bottom <= height
