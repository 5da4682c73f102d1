"""Mini, the model that ships: weights, adapters and the demo scene. Data, and where they lie."""

from __future__ import annotations

from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights"
DEMO_SCENE = Path(__file__).parent / "demo" / "scene.yaml"
