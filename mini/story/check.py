"""Does this machine draw mini's world? `python -m mini.story.check`: exit code 1 when something is wrong.

Draws some validation stories: the same seed twice gives the same bytes; masks cover exactly what the picture
shows; what is drawn is recognised as what it is, and its faults as faults. Needs the `mini` extra and EGL.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np

from mini.script import finish
from mini.story.measure import INDICES, action_shown, named_one_acts, prop_handled
from mini.story.plot import Plot, plot_of, varied
from mini.story.render import Renderer
from mini.story.sample import cast, draw, shots
from mini.world import VALIDATION

_SIZE = (384, 224)


def check(renderer: Renderer, seed: int) -> list[str]:
    """What is wrong with one story; empty when all is well."""
    plot = plot_of(seed)
    frames, _, figures = draw(renderer, plot, INDICES)
    again, _, _ = draw(renderer, plot, INDICES)
    faults = [] if np.array_equal(frames, again) else ["the same seed gave other bytes"]
    faults += _cover(renderer, plot, figures[:1])
    for index, role in enumerate(plot.roles):
        shown = action_shown(renderer, plot, index, frames)
        if shown != role.action:
            faults.append(f"{role.name}: {role.action} is taken for {shown}")
    if named_one_acts(renderer, plot, frames) is False:
        faults.append("the right actor is taken for the wrong one")
    if prop_handled(renderer, plot, frames) is False:
        faults.append("the prop in hand is not seen")
    wrong = varied(plot, "wrong actor") or varied(plot, "swapped")
    if wrong is not None and named_one_acts(renderer, plot, draw(renderer, wrong, INDICES)[0]):
        faults.append("the wrong actor is taken for the right one")
    return faults


def _cover(renderer: Renderer, plot: Plot, figures: np.ndarray) -> list[str]:
    """The mask against the picture's own alpha: what is wholly figure or empty must be so in both."""
    cameras, _ = shots(plot)
    played = [
        type(one)(one.figure, one.matrices if len(one.matrices) == 1 else one.matrices[[INDICES[0]]])
        for one in cast(plot)[0]
    ]
    picture = renderer.picture(played, [cameras[INDICES[0]]], _SIZE, shadows=False)
    there, alpha = figures[0] > 0, picture[0, ..., 3]
    wrong = int((there & (alpha == 0)).sum() + (~there & (alpha == 255)).sum())
    return [f"the mask differs from the picture in {wrong} pixels"] if wrong else []


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=12, help="stories to draw")
    options = parser.parse_args()
    renderer, wrong = Renderer(), 0
    for seed in VALIDATION[: options.count]:
        faults = check(renderer, seed)
        wrong += bool(faults)
        deeds = ", ".join(role.action for role in plot_of(seed).roles)
        print(f"{seed} {deeds:24} {'; '.join(faults) or 'well drawn'}", flush=True)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    finish(main)
