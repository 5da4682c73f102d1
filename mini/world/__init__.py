"""The world of mini's first edition: a rendered person with a prop in a painted place, doing named actions.

The judge's calibration and other benchmarks are drawn in it; mini itself knows `mini.story` now.

Everything follows from one integer seed, so identities can be split by seed: training below 50,000,
validation 100,000-149,999, test 200,000-249,999.
"""

from __future__ import annotations

WIDTH, HEIGHT, FRAMES = 192, 112, 121
TRAINING = range(0, 50_000)
VALIDATION = range(100_000, 150_000)
TEST = range(200_000, 250_000)
