"""The page on which cut-outs are approved before a sheet is made: each picture, and its cut-out on two
grounds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from castsheet.authoring.library import LibraryEntry
from castsheet.machine.outputs import Output, write_output
from castsheet.media.page import data_url, html_page, wrote_page
from castsheet.media.pictures import load_image
from castsheet.sheet.box import Box
from castsheet.sheet.look.doubts import Doubt
from castsheet.sheet.look.matting import CutOut, mask_beside
from castsheet.sheet.look.tools import Tools

# Lost hair shows on pink, and left-over background on black.
GROUNDS = {"on black": (0, 0, 0), "on pink": (255, 105, 180)}
_SIDE = 420
_MARK = (255, 200, 0)

_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 90rem; margin: 2rem auto; padding: 0 1rem; }
article { border-top: 1px solid #8886; padding: 1rem 0; }
article.doubtful h2::before { content: "look: "; color: #c77700; }
.row { display: flex; flex-wrap: wrap; gap: 1rem; }
figure { margin: 0; } img { max-width: 100%; display: block; border-radius: 4px; }
code { background: #8882; padding: .1em .3em; border-radius: 3px; overflow-wrap: anywhere; }
""".strip()


@dataclass(frozen=True)
class Shown:
    """A picture of an element with its cut-out; None where it keeps its background, for the reason in `note`.

    Args:
        doubts: what may be lost or left over, in px of the picture.
    """

    path: Path
    view: str
    cut: CutOut | None
    note: str
    doubts: tuple[Doubt, ...] = ()

    @property
    def doubtful(self) -> bool:
        """Whether the user should look."""
        return bool(self.note or self.doubts)


def shown(entry: LibraryEntry, tools: Tools, *, only: Sequence[str] | None = None) -> Iterator[Shown]:
    """The cut-outs of an element's pictures, one after the other; a location's pictures are never cut.

    Args:
        only: file names; None is all.
    """
    for kept in entry.pictures if entry.element.kind != "location" else ():
        if only is not None and kept.file not in only:
            continue
        path = entry.folder / kept.file
        cut, note = tools.cut_out(path, load_image(path), keep=True)
        yield Shown(path, kept.view, cut, note.removeprefix(f"{path}: "), () if cut is None else cut.doubts)


def told(pictures: Sequence[Shown]) -> str:
    """What is doubtful, in one line; empty if nothing is."""
    return "; ".join(f"{one.path.name}: {one.note}" for one in pictures if one.doubtful)


def save_page(path: Path, entry: LibraryEntry, pictures: Sequence[Shown], *, overwrite: bool = False) -> Path:
    """Write the page, whole or not at all.

    Raises:
        OutputError: a file that Castsheet did not write is there, or the disk refused.
    """
    text = page(entry, pictures).encode()
    return write_output(Output(path, wrote_page), lambda file: file.write_bytes(text), overwrite=overwrite)


def page(entry: LibraryEntry, pictures: Sequence[Shown]) -> str:
    """The page as HTML."""
    name = entry.name if entry.look == "default" else f"{entry.name}@{entry.look}"
    doubtful = sum(one.doubtful for one in pictures)
    head = f"{doubtful} of {len(pictures)} should be looked at." if doubtful else "Nothing is in doubt."
    hint = "Hair that is lost shows on pink, background that is left on black. Yellow boxes mark doubts."
    body = f"<h1>{escape(name)}: cut-outs</h1>\n<p>{head} {hint}</p>\n"
    body += "\n".join(_article(entry, one) for one in pictures)
    return html_page(f"{name}: cut-outs", _STYLE, body)


def _article(entry: LibraryEntry, one: Shown) -> str:
    picture = load_image(one.path).convert("RGB")
    scale = min(1.0, _SIDE / max(picture.size))
    cells = [("the picture", _marked(picture, one.doubts, scale))]
    if one.cut is not None:
        cells += [(ground, _on(one.cut, picture.size, colour, scale)) for ground, colour in GROUNDS.items()]
    row = "".join(
        f'<figure><img src="{data_url(image)}" alt="{words}"><figcaption>{words}</figcaption></figure>'
        for words, image in cells
    )
    look = "" if entry.look == "default" else f" --look {entry.look}"
    mask = f"castsheet elements mask {entry.name} {one.path.name}{look}"
    how = "" if one.cut is None else f", cut out by {escape(one.cut.method)}"
    if mask_beside(one.path):
        todo = f"its mask was drawn by hand: <code>{mask_beside(one.path)}</code>"
    else:
        todo = f"to correct it: <code>{escape(mask)}</code> writes its mask, to be edited"
    return (
        f'<article class="{"doubtful" if one.doubtful else "plain"}"><h2>{escape(one.path.name)}</h2>\n'
        f"<p>{escape(one.view)}{how}. {escape(one.note)}</p>\n"
        f'<div class="row">{row}</div>\n<p>{todo}</p></article>'
    )


def _marked(picture: Image.Image, doubts: Sequence[Doubt], scale: float) -> Image.Image:
    small = _scaled(picture, scale)
    draw = ImageDraw.Draw(small)
    for box in (one.where for one in doubts if one.where is not None):
        corners = [side * scale for side in box.corners]
        draw.rectangle(
            (corners[0] - 2, corners[1] - 2, corners[2] + 2, corners[3] + 2), outline=_MARK, width=3
        )
    return small


def _on(cut: CutOut, size: tuple[int, int], colour: tuple[int, int, int], scale: float) -> Image.Image:
    """A cut-out where it lies in its picture, on a ground of one colour."""
    box = cut.window or Box(0, 0, *size)
    small = _scaled(Image.new("RGB", size, colour), scale)
    place = round(box.x * scale), round(box.y * scale)
    part = _scaled(cut.image.resize((box.w, box.h)) if cut.reduced > 1 else cut.image, scale)
    small.paste(part, place, part)
    return small


def _scaled(image: Image.Image, scale: float) -> Image.Image:
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image.resize(size, Image.Resampling.BOX, reducing_gap=2)


def alpha_of(one: Shown) -> Image.Image:
    """A cut-out's alpha at the picture's own size: the mask to edit."""
    size = load_image(one.path).size
    whole = Image.new("L", size)
    if one.cut is not None:
        box = one.cut.window or Box(0, 0, *size)
        whole.paste(
            one.cut.image.getchannel("A").resize((box.w, box.h), Image.Resampling.BILINEAR), (box.x, box.y)
        )
    else:
        whole = Image.fromarray(np.full(size[::-1], 255, np.uint8))
    return whole
