"""Pictures of people as films show them: in a pose of the clip itself, or of another clip of theirs.

Most sets of pairs take the pictures of a sheet from the clip that the sheet is paired with, since that needs
no second shot of anybody. What an adapter learns from either is for a study to tell: `--poses` of
`mini.training.recipe` and of `mini.evaluation.stories`.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from PIL import Image

from castsheet.sheet.manifest import Sheet
from mini.story import FRAMES, HEIGHT, WIDTH
from mini.story.plot import Plot, Poses, plot_of
from mini.story.render import Renderer
from mini.story.sample import SheetOf, cast, draw_sheet, shots

TRIES = 12  # moments until one shows somebody whole
SCALE = 2  # times the clip's size: a sheet's panel may be larger than its figure in the clip
LEAST = 24  # px of a figure's side: smaller ones are nearly out of the picture
OTHERS = 60_000  # seeds between a story and those that its people's other pictures are from


def drawing(poses: Poses) -> SheetOf:
    """What draws a story's sheet with such pictures of its people; those of clips are one for each."""
    if poses == "views":
        return draw_sheet

    def posed(renderer: Renderer, plot: Plot, random: np.random.Generator) -> Sheet:
        return draw_sheet(
            renderer,
            plot,
            random,
            people=lambda index: {"front": pose(renderer, plot, index, poses, random)},
        )

    return posed


def pose(
    renderer: Renderer, plot: Plot, index: int, poses: Poses, random: np.random.Generator
) -> Image.Image:
    """An RGBA picture of a story's person `index`, cut out of a moment of this clip or of another one.

    Args:
        poses: "own" or "other". random: draws the moment, and the other story.
    """
    found: Image.Image | None = None
    for _ in range(TRIES):
        shown = plot if poses == "own" else _elsewhere(plot, index, random)
        which = index if poses == "own" else 0
        picture, whole = _cut(renderer, shown, which, int(random.integers(FRAMES)))
        if picture is not None and (found is None or whole):
            found = picture
        if found is not None and whole:
            break
    return found or Image.new("RGBA", (LEAST, LEAST))


def _elsewhere(plot: Plot, index: int, random: np.random.Generator) -> Plot:
    """Another story, in which the person does what somebody else does in it."""
    other = plot_of(plot.seed + OTHERS + int(random.integers(OTHERS)))
    role, who = other.roles[0], plot.roles[index]
    return replace(other, roles=(replace(role, seed=who.seed, index=who.index),))


def _cut(renderer: Renderer, plot: Plot, index: int, frame: int) -> tuple[Image.Image | None, bool]:
    """Who stands there, cut out of a frame, and whether all of them is in it; None where nobody is."""
    played = cast(plot)[0][index]
    alone = played if len(played.matrices) == 1 else replace(played, matrices=played.matrices[[frame]])
    size = SCALE * WIDTH, SCALE * HEIGHT
    drawn = renderer.picture([alone], [shots(plot)[0][frame]], size, shadows=False)[0]
    rows, columns = (np.flatnonzero(drawn[..., 3].any(axis)) for axis in (1, 0))
    if len(rows) < LEAST or len(columns) < LEAST:
        return None, False
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    whole = top > 0 and bottom < size[1] and left > 0 and right < size[0]
    return Image.fromarray(drawn[top:bottom, left:right], "RGBA"), bool(whole)
