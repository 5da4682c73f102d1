"""Does this machine draw mini's world as the shipped files have it? `python -m mini.render_check`.

Draws some validation identities and compares: the same seed twice gives the same bytes; regions and colours
are those that ship. Needs the `mini` extra and an EGL driver, and so is a command of its own and no test.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np

from castsheet.errors import CastsheetError
from mini.evaluation.identities import Stage
from mini.evaluation.parts import eroded, mean_colours
from mini.evaluation.validation import COUNT, MASK_FRAMES, ValidationSet, action_of, seed_of

# Another driver may put a pixel of an edge elsewhere, and a level of a colour up or down.
_SAME_PIXELS, _SAME_COLOUR = 0.995, 1.0


def check(stage: Stage, truths: ValidationSet, index: int) -> list[str]:
    """What is wrong with one identity; empty when all is well."""
    faults = []
    frames, regions = stage.regions(seed_of(index), action_of(index), MASK_FRAMES)
    again = stage.frames(seed_of(index), action_of(index), MASK_FRAMES)
    if not np.array_equal(frames, again):
        faults.append("the same seed gave other bytes")
    alike = float((eroded(regions) == truths.masks_NFHW[index]).mean())
    if alike < _SAME_PIXELS:
        faults.append(f"{alike:.2%} of the regions' pixels are as shipped")
    colours, shipped = mean_colours(frames, truths.masks_NFHW[index]), truths.colours_NR3[index]
    error = float(np.nanmax(np.linalg.norm(colours - shipped, axis=-1)))
    if not error <= _SAME_COLOUR:
        faults.append(f"a colour differs by {error:.1f} CIE76")
    return faults


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=12, help="identities to draw")
    options = parser.parse_args()
    try:
        stage, truths = Stage(), ValidationSet.load()
        faults = {index: check(stage, truths, index) for index in range(min(options.count, COUNT))}
    except CastsheetError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)
    for index, found in faults.items():
        print(f"{seed_of(index)} {action_of(index):10} {'; '.join(found) or 'as shipped'}")
    sys.exit(1 if any(faults.values()) else 0)


if __name__ == "__main__":
    main()
