"""Words for a sheet: a model that sees its panels, or a template, says what each element looks like.

    Reference sheet: hero: a tall woman, a red braid, a green wool coat, ...; barn: a weathered barn, ...

A description that is there already is the user's and stays. The prompt's rules check a model's answer; after
a faulty answer the model is asked again and told the faults. Answers are cached by picture and model.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from PIL import Image

from castsheet.errors import EndpointError, PromptError
from castsheet.lint.findings import Finding
from castsheet.lint.prompt import lint_prompt
from castsheet.machine.endpoint import Endpoint
from castsheet.machine.files import write_text
from castsheet.machine.text import TextReader
from castsheet.prompt import Prompt, describe
from castsheet.sheet.box import Box, Kind
from castsheet.sheet.manifest import ElementNote, Sheet

ATTRIBUTES = (5, 7)
MAX_WORDS = 70
_TRIES = 3
_SIDE = 896  # px that models look at
# Raise it when the questions change.
_VERSION = 1
_KEPT = TextReader(EndpointError, "the element is described again")
_NOUNS: dict[Kind, str] = {"character": "a character", "prop": "a prop", "location": "a place"}
_ASKED: dict[Kind, str] = {
    "character": (
        "The picture shows one character, close up or from several sides, on black. Describe the looks in "
        "one line of five to seven short attributes parted by commas: age and build first, then hair, face, "
        "each piece of clothing with its colour and cloth, and what is unmistakable."
    ),
    "prop": (
        "The picture shows one object on black. Describe its looks in one line of two to five short "
        "attributes parted by commas: what it is first, then shape, colour, material, size in a hand."
    ),
    "location": (
        "The picture shows a place. Describe it in one line of two to five short attributes parted by "
        "commas: what it is first, then its parts, colours, light and time of day."
    ),
}
_RULES = (
    "Write only what is seen. No name, no pose, no action, no mood, no background, no sentence before or "
    "after, no lists, and no word about letters or signs."
)


class Describer(Protocol):
    """A model that answers questions about pictures. Tests use a double."""

    @property
    def name(self) -> str:
        """Names the model, for caches."""

    def answer(self, picture: Image.Image, question: str) -> str:
        """The answer to a question about an RGB picture."""


@dataclass(frozen=True)
class EndpointDescriber:
    """A vision model behind an OpenAI-compatible endpoint."""

    endpoint: Endpoint

    @property
    def name(self) -> str:
        """Address and model."""
        return self.endpoint.name

    def answer(self, picture: Image.Image, question: str) -> str:
        """The answer of the endpoint's model.

        Raises:
            EndpointError: the endpoint does not answer, or not with text.
        """
        data = io.BytesIO()
        picture.save(data, "PNG")
        url = f"data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}"
        parts = ({"type": "text", "text": question}, {"type": "image_url", "image_url": {"url": url}})
        return self.endpoint.chat(parts, 300)


def describe_sheet(
    sheet: Sheet,
    describer: Describer | None = None,
    *,
    again: bool = False,
    cache: Path | None = None,
    on_element: Callable[[int], None] | None = None,
) -> tuple[Sheet, list[Finding]]:
    """The sheet with a description of each element, and what the rules find in the new ones.

    Args:
        describer: None fills in a template for elements without a description.
        again: replace descriptions that are there.
        cache: folder of earlier answers.
        on_element: called with the number of finished elements.

    Raises:
        PromptError: the sheet is a bare picture, or the model says nothing.
        EndpointError: the endpoint fails.
    """
    if not sheet.elements:
        raise PromptError(
            "the sheet is a bare picture: nothing says which elements it shows",
            remedy="compose it from a scene, or take it apart first: castsheet split",
        )
    notes, found = [], []
    for number, note in enumerate(sheet.elements, 1):
        if describer is not None and (again or not note.description.strip()):
            text = _described(note, picture_of(sheet, note.id), describer, cache)
            found += [
                Finding("words", "warning", what, "edit the description") for what in faults(note, text)
            ]
        else:
            text = note.description.strip() or _NOUNS[note.kind]
        notes.append(replace(note, description=text))
        if on_element is not None:
            on_element(number)
    return replace(sheet, elements=tuple(notes)), found


def picture_of(sheet: Sheet, element: str) -> Image.Image:
    """An element's panels on the sheet, everything else black; at most 896 px a side.

    Raises:
        PromptError: the sheet shows nothing of the element.
    """
    boxes = [panel.box for panel in sheet.panels_of(element)]
    if not boxes:
        raise PromptError(f"the sheet shows nothing of {element!r}", remedy="compose it again")
    whole = Box.around(boxes)
    image = Image.new("RGB", (whole.w, whole.h))
    for box in boxes:
        image.paste(sheet.image.crop(box.corners), (box.x - whole.x, box.y - whole.y))
    image.thumbnail((_SIDE, _SIDE))
    return image


def attributes(text: str) -> list[str]:
    """The attributes of a description, which commas separate."""
    return [part.strip() for part in text.split(",") if part.strip()]


def faults(note: ElementNote, text: str) -> list[str]:
    """Faults of a description by the prompt's rules: number of attributes, length, lettering, markup."""
    said, count = f"the description of {note.id!r}", len(attributes(text))
    found = []
    if note.kind == "character" and not ATTRIBUTES[0] <= count <= ATTRIBUTES[1]:
        found.append(f"{said} has {count} attributes (wanted {ATTRIBUTES[0]} to {ATTRIBUTES[1]}, by commas)")
    if len(text.split()) > MAX_WORDS:
        found.append(f"{said} has {len(text.split())} words (at most {MAX_WORDS})")
    try:
        prompt = Prompt(describe(replace(note, description=text)), f"{note.id} is there")
    except PromptError as error:
        return [*found, f"{said}: {error.what}"]
    return found + [f"{said}: {one.message}" for one in lint_prompt(prompt) if one.rule in ("P01", "P04")]


def _described(note: ElementNote, picture: Image.Image, describer: Describer, cache: Path | None) -> str:
    """The model's words for an element: from the cache, or asked for until they have no fault."""
    digest = hashlib.sha256(f"{_VERSION} {describer.name} {note.kind} {picture.size}\n".encode())
    digest.update(picture.tobytes())
    entry = None if cache is None else cache / f"{digest.hexdigest()[:40]}.json"
    if entry is not None and (kept := _read(entry)):
        return kept
    question, text = f"{_ASKED[note.kind]} {_RULES}", ""
    for _ in range(_TRIES):
        text = tidy(describer.answer(picture, question), note.id) or text
        wrong = faults(note, text) if text else ["the answer is empty"]
        if not wrong:
            break
        question = f"{_ASKED[note.kind]} {_RULES} An earlier answer was refused: {'; '.join(wrong)}."
    if not text:
        raise PromptError(
            f"the model says nothing about {note.id!r}", remedy="describe it yourself, or use another model"
        )
    if entry is not None:
        write_text(entry, json.dumps({"text": text}, ensure_ascii=False))
    return text


def tidy(answer: str, name: str) -> str:
    """An answer as one line: lists and semicolons become commas; quotes, markup and the name are dropped."""
    lines = [re.sub(r"^\s*(?:[-*\u2022]|\d+[.)])\s*", "", line).strip(" .,;") for line in answer.splitlines()]
    text = ", ".join(line for line in lines if line).replace(";", ",").replace("**", "")
    text = re.sub(rf"^\W*{re.escape(name)}\W*:\s*", "", text, flags=re.IGNORECASE)
    return re.sub(r"\s*,(?:\s*,)*\s*", ", ", " ".join(text.split())).strip(" .,\"'\u201c\u201d")


def _read(entry: Path) -> str:
    """An earlier answer; empty if there is none or it is damaged."""
    try:
        told = _KEPT.json(entry)
    except EndpointError:
        return ""
    return str(told.get("text", "")) if isinstance(told, dict) else ""
