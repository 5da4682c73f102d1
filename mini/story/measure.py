"""What a clip shows, measured against rendered truth: whose colours, which deeds, who did them.

Colours: every figure's parts apart, under the truth's eroded masks. Deeds: a clip shows the story whose
rendering it lies nearest to, of several that differ in one thing (what a person does, who does it, whether
the prop is there), judged only where those renderings differ. Range of a distance: 0..765.

Blind to: a deed done at another time or elsewhere than rendered; faces; patterns.
Legend: F frames, H height, W width, K candidates, P people, R regions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mini.evaluation.parts import MIN_PIXELS, NONE, PERSON, Floats, Pixels, eroded, held_by, lab, worn_by
from mini.story.look import Look, Part
from mini.story.motion import ACTIONS, HANDLING, HEADING, Action
from mini.story.plot import OUT, Plot, varied
from mini.story.render import Renderer
from mini.story.sample import draw

INDICES = tuple(range(6, 121, 12))
CONTESTED = 60  # sum of three channels' levels by which candidates differ where they are judged
MOST = 200  # levels, summed over channels, that one pixel may count
WORN = (*PERSON, "hat", "prop")


def wearing(look: Look | None) -> dict[int, str]:
    """The region of each part: a person's by what the look covers; without a look, a prop's."""
    return held_by(Part) if look is None else worn_by(look, Part)


def colours(
    frames_FHWC: Pixels, parts_FHW: Pixels, figures_FHW: Pixels, looks: Sequence[Look | None]
) -> Floats:
    """CIELAB means (P,R,3) of every figure's regions `WORN`; NaN where too little of one is seen."""
    found = np.full((len(looks), len(WORN), 3), np.nan)
    for number, look in enumerate(looks):
        table = np.full(256, NONE, np.uint8)
        for part, worn in wearing(look).items():
            table[part] = WORN.index(worn)
        own = np.where(figures_FHW == number + 1, table[parts_FHW], NONE).astype(np.uint8)
        inside = eroded(own)
        for region in range(len(WORN)):
            seen = inside == region
            if np.count_nonzero(seen) >= MIN_PIXELS:
                found[number, region] = lab(frames_FHWC[seen]).mean(0)
    return found


def nearest(frames_FHWC: Pixels, candidates_KFHWC: Pixels) -> tuple[int, NDArray[np.float64]]:
    """Which candidate a clip lies nearest to, and its distance (K,) to each, in levels.

    Raises:
        ValueError: the candidates nowhere differ.
    """
    told = candidates_KFHWC.astype(np.int16)
    contested = (told.max(0) - told.min(0)).sum(-1) >= CONTESTED
    if not contested.any():
        raise ValueError("the candidates show the same")
    given = frames_FHWC.astype(np.int16)[contested]
    apart = np.stack([np.abs(one[contested] - given).sum(-1) for one in told])
    distances = np.minimum(apart, MOST).mean(1)
    return int(distances.argmin()), distances


def with_action(plot: Plot, index: int, action: Action) -> Plot | None:
    """The story in which one person does something else; None where there is no prop for it."""
    role = plot.roles[index]
    prop = role.prop
    if action in HANDLING:
        taken = {other.prop for other in plot.roles if other is not role}
        free = [number for number in range(len(plot.things)) if number not in taken]
        if prop is None and not free:
            return None
        prop = free[0] if prop is None else prop
    else:
        prop = None
    if action in HEADING:
        distance = role.distance or (2 * OUT if len(plot.roles) == 1 else 2.2)
        start = (-HEADING[action] * (OUT if len(plot.roles) == 1 else 1.6), role.start[1])
    else:
        distance, start = 0.0, role.start
    changed = replace(role, action=action, prop=prop, distance=distance, start=start)
    roles = (*plot.roles[:index], changed, *plot.roles[index + 1 :])
    return replace(plot, roles=roles)


def action_shown(
    renderer: Renderer, plot: Plot, index: int, frames_FHWC: Pixels, indices: Sequence[int] = INDICES
) -> Action:
    """What the person `index` of a clip does; the others are taken to do what the story says.

    Args:
        frames_FHWC: the clip's frames at `indices`.
    """
    stories = {action: with_action(plot, index, action) for action in ACTIONS}
    told = {action: story for action, story in stories.items() if story is not None}
    drawn = np.stack([draw(renderer, story, indices)[0] for story in told.values()])
    return list(told)[nearest(frames_FHWC, drawn)[0]]


def named_one_acts(
    renderer: Renderer, plot: Plot, frames_FHWC: Pixels, indices: Sequence[int] = INDICES
) -> bool | None:
    """Whether the two do what each was asked, and not each the other's; None where these look alike."""
    wrong = varied(plot, "wrong actor") or varied(plot, "swapped")
    if wrong is None:
        return None
    drawn = np.stack([draw(renderer, story, indices)[0] for story in (plot, wrong)])
    return nearest(frames_FHWC, drawn)[0] == 0


def prop_handled(
    renderer: Renderer, plot: Plot, frames_FHWC: Pixels, indices: Sequence[int] = INDICES
) -> bool | None:
    """Whether the named prop is in hand, and neither missing nor the other one; None: nobody holds one."""
    held = [role.prop for role in plot.roles if role.prop is not None]
    if not held:
        return None
    number = held[0]
    gone = replace(plot, shown=tuple(k != number and there for k, there in enumerate(plot.shown)))
    stories = [plot, gone]
    if len(held) == 1 and len(plot.things) == 2:
        roles = tuple(role if role.prop is None else replace(role, prop=1 - number) for role in plot.roles)
        stories.append(replace(plot, roles=roles))
    drawn = np.stack([draw(renderer, story, indices)[0] for story in stories])
    return nearest(frames_FHWC, drawn)[0] == 0
