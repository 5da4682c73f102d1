"""What a figure is like beside its parts' colours, as yes or no each: pattern, hair, hat and beard of a
person, shape of a prop.

Legend: E figures, people before props; G questions.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mini.data.naming import MOST
from mini.story.look import BEARDS, HAIR_STYLES, HATS, PATTERNS, Look, look_of
from mini.story.plot import Plot
from mini.story.things import SHAPES, Thing, things_of

FIGURES = MOST - 1  # the place is no figure
UNASKED = 255  # a prop's hat, a person's shape
_WORN = {"pattern": PATTERNS, "hair_style": HAIR_STYLES, "hat_style": HATS, "beard": BEARDS}
_PLAIN = ("short_sleeves", "shorts", "spectacled")
STYLES = tuple((field, option) for field, options in _WORN.items() for option in dict.fromkeys(options))
PERSONS = len(STYLES) + len(_PLAIN)  # questions about a person; those about a prop come after them
QUESTIONS = PERSONS + len(SHAPES)


def styles(plot: Plot) -> NDArray[np.uint8]:
    """What a story's figures are like (E,G): 1 yes, 0 no, `UNASKED` where there is no answer."""
    told = np.full((FIGURES, QUESTIONS), UNASKED, np.uint8)
    for number, role in enumerate(plot.roles):
        told[number, :PERSONS] = of_person(look_of(role.seed, role.index))
    for number, thing in enumerate(things_of(plot.seed, len(plot.things)), len(plot.roles)):
        told[number, PERSONS:] = of_thing(thing)
    return told


def of_person(look: Look) -> list[bool]:
    """The answers about a person."""
    worn = [getattr(look, field) == option for field, option in STYLES]
    return [*worn, *(getattr(look, field) for field in _PLAIN)]


def of_thing(thing: Thing) -> list[bool]:
    """The answers about a prop."""
    return [thing.shape == shape for shape in SHAPES]
