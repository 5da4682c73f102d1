"""The two-part prompt: what the sheet shows, then what the video does. Built, and read, in three formats.

```text
prose      Reference sheet: a; b; c              markdown   ### Reference Sheet Description
                                                            **Top Row Left (Character):** a
           Generated video: action                          ### Target Description
inline     Reference sheet: a; b; c. Generated video: action.        action
```
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

from castsheet.errors import PromptError, is_whole_text
from castsheet.sheet.box import Box

if TYPE_CHECKING:  # the command line's help reads FORMATS through the settings and must not wait for numpy
    from castsheet.sheet.manifest import ElementNote, Sheet

PromptFormat = Literal["prose", "inline", "markdown"]
FORMATS: tuple[PromptFormat, ...] = get_args(PromptFormat)


class Headings(NamedTuple):
    reference: str
    target: str


HEADINGS: dict[PromptFormat, Headings] = {
    "prose": Headings("Reference sheet:", "Generated video:"),
    "inline": Headings("Reference sheet:", "Generated video:"),
    "markdown": Headings("### Reference Sheet Description", "### Target Description"),
}
# Users vary case, spaces and heading levels: headings are recognised in all these forms.
_PLAIN = (re.compile(r"\breference\s+sheet\s*:", re.I), re.compile(r"\bgenerated\s+video\s*:", re.I))
_MARKDOWN = (
    re.compile(r"^[ \t]*#+[ \t]*reference\s+sheet\s+description[ \t]*:?", re.I | re.M),
    re.compile(r"^[ \t]*#+[ \t]*target\s+description[ \t]*:?", re.I | re.M),
)
_TERMINAL = (".", "!", "?", "\u2026", '"', "'", "\u201d", "\u2019")  # ellipsis, closing quotes
_EXAMPLE = 'write "Reference sheet: <what the sheet shows>", a blank line, "Generated video: <what happens>"'


@dataclass(frozen=True)
class Prompt:
    """Both halves of a prompt and the format that joins them.

    Attributes:
        reference: what the sheet shows, without its heading; items separated by "; ", or lines in markdown.
        action: what happens in the video, without its heading.
        raw: the text as the user wrote it, sent to the model unchanged; None for a prompt that was built.

    Raises:
        PromptError: a half is empty or contains a heading.
    """

    reference: str
    action: str
    format: PromptFormat = "prose"
    raw: str | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise PromptError(f"unknown prompt format {self.format!r}", remedy=f"use {', '.join(FORMATS)}")
        reference = self.reference.strip().rstrip("." + "; \t\n")
        action = self.action.strip()
        if self.format == "inline":
            # The format adds the full stop. An ellipsis is the user's and stays.
            while action.endswith(".") and not action.endswith(".."):
                action = action[:-1].rstrip()
        for name, half in (("reference half", reference), ("action", action)):
            if not half:
                raise PromptError(f"the prompt's {name} is empty", remedy=_EXAMPLE)
            if not is_whole_text(half):
                raise PromptError(f"the prompt's {name} is not UTF-8 text", remedy="save or type it as UTF-8")
            if found := next(filter(None, (h.search(half) for h in (*_PLAIN, *_MARKDOWN))), None):
                raise PromptError(
                    f"the prompt's {name} contains the heading {found.group().strip()!r}",
                    remedy="use each heading once, the sheet's first",
                )
        # The halves are trimmed once, here, so that building and reading give equal prompts.
        object.__setattr__(self, "reference", reference)
        object.__setattr__(self, "action", action)

    @property
    def text(self) -> str:
        """The whole prompt, as it goes to the text encoder."""
        if self.raw is not None:
            return self.raw
        first, second = HEADINGS[self.format]
        if self.format == "prose":
            return f"{first} {self.reference}\n\n{second} {self.action}"
        if self.format == "inline":
            return f"{first} {_sentence(self.reference)} {second} {_sentence(self.action)}"
        return f"{first}\n{self.reference}\n{second}\n{self.action}"

    @property
    def items(self) -> tuple[str, ...]:
        """The reference half's items, without markdown labels."""
        parts = self.reference.splitlines() if self.format == "markdown" else self.reference.split(";")
        bare = (re.sub(r"^\s*\*\*[^*]*\*\*\s*:?", "", part).strip() for part in parts)
        return tuple(part for part in bare if part)


def _sentence(text: str) -> str:
    return text if text.endswith(_TERMINAL) else f"{text}."


def mentions(text: str, name: str) -> bool:
    """Whether `text` holds the identifier `name` as a whole word, in any case."""
    return re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text, re.I) is not None


def describe(note: ElementNote) -> str:
    """An element's item of the prompt: its description on one line, with its identifier."""
    # Semicolons separate items; inside an item they become commas.
    text = re.sub(r"\s*;\s*", ", ", " ".join(note.description.split())).strip(" .,")
    if not text:
        return note.id
    return text if mentions(text, note.id) else f"{note.id}: {text}"


def _position(box: Box, size: tuple[int, int]) -> str:
    """A box's place on the sheet, in the words of the markdown format."""
    across, down = (box.x + box.w / 2) / size[0], (box.y + box.h / 2) / size[1]
    row = "Full Height" if box.h > 0.6 * size[1] else ("Top Row", "Middle Row", "Bottom Row")[int(down * 3)]
    column = "Full Width" if box.w > 0.6 * size[0] else ("Left", "Center", "Right")[int(across * 3)]
    return f"{row} {column}"


def _markdown_item(note: ElementNote, sheet: Sheet) -> str:
    boxes = [p.box for p in sheet.panels if p.element == note.id]
    place = f"{_position(Box.around(boxes), sheet.image.size)} " if boxes else ""
    return f"**{place}({note.kind.capitalize()}):** {describe(note)}"


def is_two_part(text: str) -> bool:
    """Whether a text has any of the headings, and therefore is meant as a whole prompt."""
    return any(heading.search(text) for heading in (*_PLAIN, *_MARKDOWN))


def build(sheet: Sheet, action: str, format: PromptFormat = "prose") -> Prompt:
    """A prompt whose first half comes from the sheet's descriptions, one item an element.

    An action that is already a whole two-part prompt is used as it is.

    Raises:
        PromptError: the action is empty, or the sheet is a bare picture without descriptions.
    """
    if is_two_part(action):
        return parse(action)
    notes = listed(sheet)
    if not notes:
        raise PromptError(
            "the sheet is a bare picture: nothing says what it shows",
            remedy=f"compose it from a scene, or {_EXAMPLE}",
        )
    if format == "markdown":
        return Prompt("\n".join(_markdown_item(n, sheet) for n in notes), action, format)
    return Prompt("; ".join(describe(n) for n in notes), action, format)


def listed(sheet: Sheet) -> list[ElementNote]:
    """What the prompt's first half lists, in its order: the elements that have panels, or all if none has."""
    shown = {panel.element for panel in sheet.panels}
    return [note for note in sheet.elements if note.id in shown or not shown]


def parse(text: str) -> Prompt:
    """Read a two-part prompt in any of the three formats. `raw` keeps the text itself.

    Raises:
        PromptError: a heading is missing, doubled or out of order, or a half is empty.
    """
    headings = _MARKDOWN if any(h.search(text) for h in _MARKDOWN) else _PLAIN
    first, second = (heading.search(text) for heading in headings)
    names = HEADINGS["markdown" if headings is _MARKDOWN else "prose"]
    if first is None or second is None:
        lacking = names.reference if first is None else names.target
        raise PromptError(f"the prompt lacks its half {lacking!r}", remedy=_EXAMPLE)
    if first.start() > second.start():
        raise PromptError(
            f"{names.target!r} stands before {names.reference!r}", remedy="put what the sheet shows first"
        )
    if before := text[: first.start()].strip():
        raise PromptError(
            f"{before[:40]!r} stands before {names.reference!r}", remedy="begin the prompt with that heading"
        )
    reference, action = text[first.end() : second.start()], text[second.end() :]
    if headings is _MARKDOWN:
        format: PromptFormat = "markdown"
    else:
        format = "prose" if re.search(r"\n\s*$", reference) else "inline"
    return Prompt(reference, action, format, raw=text)
