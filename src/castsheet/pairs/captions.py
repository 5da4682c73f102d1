"""What happens in a clip, in words: who, where, which way; nothing of how anybody looks.

The offline words come from tracks. They say what boxes and faces tell, and no more: that somebody walks,
turns or stays, on which side, and what the camera does. A captioner sees frames of the clip in their place,
and never the sheet.

Legend: F frames, H height, W width.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from castsheet.pairs.protocols import Captioner, Pixels
from castsheet.pairs.records import Sight
from castsheet.pairs.turning import turns_round

WALKS = 0.28  # of the frame's width: a middle that moves less has stayed
TURNS = 60.0  # degrees between the faces that are seen
SIDES = 0.12  # of the width, from the middle: nearer than this is no side
PANS = 0.04  # of the width
SHOWN = 8  # frames of a clip that a captioner sees
LOOKS = re.compile(
    r"\b(red|orange|yellow|green|blue|purple|violet|pink|brown|black|white|gr[ea]y|beige|golden|silver|blonde?|"
    r"shirt|coat|jacket|dress|skirt|trousers|pants|jeans|hat|cap|beard|hair|shoes|boots|sweater|scarf|glasses|"
    r"wearing|wears|dressed|bald|bearded)\b"
)
"""Words of how somebody looks: the sheet shows that, and a caption that repeats it teaches to ignore the
sheet."""
_QUESTION = (
    "These are frames of one short clip, in order. In the first one, {who}. Say in one or two plain "
    "sentences what they do from the first frame to the last, where they move to, and what the camera does. "
    "Call them by these names only. Say nothing of their looks, clothes, colours, age or mood, and nothing "
    "of the place."
)


@dataclass(frozen=True)
class Part:
    """What one person does: their name, and their sights in the clip, in order. `thing`: it does nothing."""

    name: str
    sights: tuple[Sight, ...]
    thing: bool = False


def action_words(parts: Sequence[Part], width: int, moved: int) -> str:
    """The prompt's second half.

    Args:
        width: px of the frames that the sights are of. moved: px that the camera goes to the right.
    """
    told = [_deed(part, width, alone=len(parts) == 1) for part in sorted(parts, key=lambda part: part.name)]
    near = all(one.box.w > 0.33 * width for part in parts if not part.thing for one in part.sights)
    words = " and ".join(told)
    if near:
        words = f"close shot: {words}"
    if abs(moved) > PANS * width:
        words += f", the camera pans slowly to the {'right' if moved > 0 else 'left'}"
    return f"{words}."


def asked(captioner: Captioner, frames_FHW3: Pixels, parts: Sequence[Part], width: int) -> str:
    """The prompt's second half by a captioner that sees the clip and knows who stands where.

    Args:
        width: px of the frames that the sights are of.
    """
    placed = sorted(parts, key=lambda part: _middle(part.sights[0]))
    who = ", ".join(f"{part.name} is {_where(_middle(part.sights[0]) / width)}" for part in placed)
    at = np.linspace(0, len(frames_FHW3) - 1, SHOWN).round().astype(int)
    told = captioner.say(frames_FHW3[at], _QUESTION.format(who=who))
    return " ".join(told.split())


def looks_in(words: str) -> list[str]:
    """Words of how somebody looks, in the order in which they come."""
    return LOOKS.findall(words.lower())


def _middle(sight: Sight) -> float:
    return sight.box.x + sight.box.w / 2


def _where(share: float) -> str:
    return "on the left" if share < 1 / 3 else "on the right" if share > 2 / 3 else "in the middle"


def _deed(part: Part, width: int, *, alone: bool) -> str:
    middles = np.array([one.box.x + one.box.w / 2 for one in part.sights]) / width
    way = float(middles[-1] - middles[0])
    if not part.thing and abs(way) > WALKS:
        return f"{part.name} walks to the {'right' if way > 0 else 'left'}"
    side = float(np.median(middles)) - 0.5
    where = "" if alone or abs(side) < SIDES else f" on the {'right' if side > 0 else 'left'}"
    return f"{part.name}{where} {'can be seen' if part.thing else _staying(part.sights)}"


def _staying(sights: Sequence[Sight]) -> str:
    yaws = [one.yaw for one in sights if one.yaw is not None]
    unseen = sum(one.yaw is None for one in sights)
    if len(yaws) >= 2 and max(yaws) - min(yaws) > TURNS and unseen >= 2:
        return "turns round"
    return "turns round" if turns_round(sights) else "stays there"
