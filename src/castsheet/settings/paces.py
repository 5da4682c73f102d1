"""Paces: what a run may leave out, from nothing to much. The setting `pace` is a key of `PACES`. No torch.

A pace sets several settings at once; a setting that is given beside it wins. `exact` leaves out nothing and
is every preset's. `benchmarks/pace.py` shows what each pace costs of mini's identity; docs/speed.md has the
table.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

EXACT = "exact"
PACES: dict[str, Mapping[str, Any]] = {
    EXACT: {
        "guidance_every": 1,
        "guidance_interval": (0.0, 1.0),
        "reference_every": 1,
        "residual_threshold": 0.0,
    },
    "brisk": {"guidance_every": 2, "reference_every": 2},
    "fast": {"guidance_every": 3, "reference_every": 3},
}


def paced(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with what their pace sets; an unknown pace is left for the check of its field."""
    named = overrides.get("pace")
    if not isinstance(named, str) or named not in PACES:
        return dict(overrides)
    return {**PACES[EXACT], **PACES[named], **overrides}
