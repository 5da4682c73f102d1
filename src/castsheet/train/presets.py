"""Presets of training runs: their differences from the published recipe, which config.py's defaults are.

Therefore `preset: card-recipe` adds nothing.
"""

from __future__ import annotations

from typing import Any

PRESETS: dict[str, dict[str, Any]] = {
    "card-recipe": {},
    "quick": {
        "steps": 2_000,
        "adapter": {"rank": 32, "alpha": 32.0},
        "optimiser": {"rate": [{"until": 2_000, "start": 2e-4, "end": 2e-5}]},
        "base": {"weights": "fp8"},
    },
    "mini": {
        "model": "mini",
        "steps": 3_000,
        "batch": 64,
        "save_every": 500,
        "adapter": {"rank": 32, "alpha": 32.0, "joined": True},
        "optimiser": {
            "name": "adamw",
            "betas": (0.9, 0.98),
            "average": 0.999,
            "rate": [{"until": 75, "start": 1e-5, "end": 1e-3}, {"until": 3_000, "start": 1e-3, "end": 2e-5}],
        },
        "base": {"recompute": "none"},
        "watch": {"log_every": 100, "page_every": 500},
    },
}
