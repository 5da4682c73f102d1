"""One question to the judge: a clip, a sheet, and what is true of the two."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from castsheet.judge.cast import Pixels

Half = Literal["tuning", "held out"]


@dataclass(frozen=True)
class Case:
    """Attributes:
    name: unique; the key of everything cached.
    half: thresholds are chosen on "tuning" cases only, the tables show "held out" ones only.
    group: the row of the table to which it belongs.
    sheet: name of the sheet, see `sheets`.
    frames: makes uint8 (F, H, W, 3).
    truth: by element of the sheet, whether it is in the clip; elements whose truth is unclear are left out.
    fault: name of the fault that was put in, empty for a clean clip.
    """

    name: str
    half: Half
    group: str
    sheet: str
    frames: Callable[[], Pixels]
    truth: dict[str, bool] = field(default_factory=dict)
    fault: str = ""
