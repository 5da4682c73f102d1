"""How several processes divide a guided step: by passes, by each pass's sequence, or by both. No torch."""

from __future__ import annotations

from typing import Literal, get_args

Split = Literal["auto", "passes", "sequence"]
SPLITS: tuple[Split, ...] = get_args(Split)
