"""What several processes share of a guided step: its passes, each pass's sequence, or both. No torch."""

from __future__ import annotations

from typing import Literal, get_args

Split = Literal["auto", "passes", "sequence"]
SPLITS: tuple[Split, ...] = get_args(Split)
