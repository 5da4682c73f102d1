"""The world of the mini that ships: one or two people, up to two props, a place, sound; all from one seed.

Identities are split by seed as in `mini.world` (`TRAINING`, `VALIDATION`, `TEST`), the world before.
The judge's calibration is still drawn there.
"""

from __future__ import annotations

WIDTH, HEIGHT, FRAMES, FPS = 384, 224, 121, 24.0
