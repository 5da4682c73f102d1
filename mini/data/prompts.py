"""What mini is trained to read: the product's prompts; they name, and tell nothing of looks.

A story's words (`mini.story.plot.action_words`) name people and props. Half of the names are made up, for
users call their cast what they like. Half of the sheet's descriptions hold appearance words drawn at random,
unrelated to the picture: looks are not to be read from words, and a user's own descriptions do no harm.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from PIL import Image

from castsheet.prompt import FORMATS, build
from castsheet.sheet.box import Box
from castsheet.sheet.manifest import ElementNote, Panel, Sheet
from mini.data.captions import NEGATIVE, invented_description, invented_name
from mini.story.plot import OBJECTS, PEOPLE, PLACE, PLACES, Plot, action_words, plot_of

SILENT = 0.1  # of the prompts say nothing of the story
_PLAIN = {"character": PEOPLE, "prop": OBJECTS, "location": PLACES}
_KINDS = {"character": "person", "prop": "prop", "location": "place"}


def prompt(plot: Plot, sheet: Sheet, random: np.random.Generator) -> str:
    """A training prompt of a story and its sheet, in one of the product's formats."""
    if random.random() < SILENT:
        return NEGATIVE if random.random() < 0.5 else ""
    described = replace(sheet, elements=tuple(_described(note, random) for note in sheet.elements))
    form = FORMATS[int(random.choice(len(FORMATS), p=(0.7, 0.15, 0.15)))]
    text = build(described, action_words(plot, random), form).text
    for name in [role.name for role in plot.roles] + list(plot.things):
        if random.random() < 0.5:
            text = renamed(text, name, invented_name(random))
    return text


def renamed(text: str, name: str, other: str) -> str:
    """The text with one of its cast called otherwise."""
    return as_name(name).sub(other, text)


def as_name(name: str) -> re.Pattern[str]:
    """Finds a name where it is one. After an article or "to" it is a word."""
    return re.compile(rf"(?<![\w-])(?<!\ba )(?<!\bthe )(?<!\bto ){re.escape(name)}(?![\w-])")


def _described(note: ElementNote, random: np.random.Generator) -> ElementNote:
    if random.random() < 0.5:
        options = _PLAIN[note.kind]
        return replace(note, description=options[int(random.integers(len(options)))])
    return replace(note, description=invented_description(_KINDS[note.kind], random))


def texts(count: int) -> Iterator[str]:
    """Prompts of the first training stories, beside sheets that are not drawn: for the tokenizer."""
    random = np.random.default_rng(7)
    blank = Image.new("RGB", (768, 448))
    for seed in range(count):
        plot = plot_of(seed)
        notes = [ElementNote(role.name, "character", PEOPLE[0]) for role in plot.roles]
        notes += [ElementNote(name, "prop", OBJECTS[0]) for name in plot.things]
        notes.append(ElementNote(PLACE, "location", PLACES[0]))
        panels = tuple(Panel(note.id, note.kind, "product", _box(random)) for note in notes)
        yield prompt(plot, Sheet(blank, panels, tuple(notes)), random)


def _box(random: np.random.Generator) -> Box:
    """Anywhere on a sheet of 768x448, high or wide at times: the prompt may say so."""
    w, h = (int(edge) * 32 for edge in random.integers((4, 4), (20, 14)))
    return Box(int(random.integers(0, 769 - w)), int(random.integers(0, 449 - h)), w, h)
