"""The bar: remembers what it was told."""

from __future__ import annotations

from typing import Any

bars: list[ProgressBar] = []


class ProgressBar:
    def __init__(self, total: int) -> None:
        self.total = total
        self.told: list[tuple[Any, ...]] = []
        bars.append(self)

    def update_absolute(self, value: int, total: int | None = None, preview: Any = None) -> None:
        self.total = total or self.total
        self.told.append((value, total, preview))
