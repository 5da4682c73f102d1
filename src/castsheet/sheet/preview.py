"""A picture for people: the unchanged sheet, and below it a map that names its panels.

No word is ever written on the sheet: it would appear in the video.
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from castsheet.errors import SheetError
from castsheet.machine.outputs import Output, write_output
from castsheet.media.png import save_png, wrote_png
from castsheet.sheet.manifest import Panel, Sheet

_PAPER, _INK, _LINE = "#f4f2ee", "#202020", "#909090"
_FILL = {"character": "#f0c9a8", "prop": "#bcd8b4", "location": "#b4cbe4"}


def preview(sheet: Sheet) -> Image.Image:
    """The sheet above a map of the same size, with each panel's element, view and share of the area."""
    width, height = sheet.image.size
    page = Image.new("RGB", (width, 2 * height), _PAPER)
    page.paste(sheet.image.convert("RGB"), (0, 0))
    draw = ImageDraw.Draw(page)
    for panel in sheet.panels:
        box = panel.box
        corners = (box.x, height + box.y, box.right - 1, height + box.bottom - 1)
        draw.rectangle(corners, fill=_FILL[panel.kind], outline=_LINE, width=max(1, width // 768))
        _write(draw, panel, height, width * height)
    return page


def _write(draw: ImageDraw.ImageDraw, panel: Panel, offset: int, area: int) -> None:
    """Two centred lines, as large as the panel's place on the map allows."""
    box = panel.box
    text = f"{panel.element}\n{panel.view}  {panel.box.area / area:.0%}"
    longest = max(len(line) for line in text.split("\n"))
    size = max(6.0, min(box.h / 3.5, 1.5 * box.w / longest, 40.0))
    middle = (box.x + box.w / 2, offset + box.y + box.h / 2)
    draw.multiline_text(
        middle, text, fill=_INK, font=ImageFont.load_default(size), anchor="mm", align="center"
    )


def preview_output(path: Path) -> Output:
    """The preview's file, for `try_outputs`.

    Raises:
        SheetError: the name does not end in .png.
    """
    if path.suffix.lower() != ".png":
        raise SheetError(f"{path}: a preview is saved as .png", remedy="name the file with the ending .png")
    return Output(path, wrote_png)


def save_preview(sheet: Sheet, path: Path, *, overwrite: bool = False) -> Path:
    """Write the preview as a PNG.

    Raises:
        SheetError: the name does not end in .png.
        OutputError: a file that Castsheet did not write is there, or the disk refused.
    """
    output, page = preview_output(path), preview(sheet)
    return write_output(output, lambda file: save_png(page, file), overwrite=overwrite)
