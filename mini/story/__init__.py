"""The world of mini's second edition: one or two people, up to two props, a place, sound; all from one seed.

It stands beside `mini.world`, the first edition's, until the second edition's weights ship; then it takes its
place. Identities are split by seed as there (`mini.world.TRAINING`, `VALIDATION`, `TEST`).
"""

from __future__ import annotations

WIDTH, HEIGHT, FRAMES, FPS = 384, 224, 121, 24.0
