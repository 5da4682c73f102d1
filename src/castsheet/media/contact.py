"""One picture that sums up a clip: sheet and settings on the left, frames in time order on the right."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from castsheet.errors import SettingsError

BACKGROUND = (22, 23, 25)
OUTLINE = (52, 54, 58)
TEXT = (222, 223, 225)
DIM = (138, 141, 146)

# Every frame is drawn with about this many pixels: a frame of 192x112 is doubled, one of 768x448 halved.
CELL_AREA = 384 * 224
GAP = 16
MARGIN = 24
LABEL_HEIGHT = 24
LABEL_SIZE = 15
NOTE_SIZE = 16
NOTE_LINE = 23


def frame_indices(frames: int, count: int) -> list[int]:
    """`count` evenly spaced frame numbers, first and last included; fewer if the clip has fewer frames."""
    if frames < 1 or count < 1:
        raise SettingsError(
            f"cannot pick {count} of {frames} frames",
            remedy="give a clip of one frame or more, and count >= 1",
        )
    if count == 1:
        return [0]
    return sorted({round(i * (frames - 1) / (count - 1)) for i in range(count)})


def contact_sheet(
    frames_FHWC: np.ndarray,
    fps: float,
    sheet: Image.Image | None = None,
    *,
    notes: Sequence[tuple[str, str]] = (),
) -> Image.Image:
    """Draw the contact sheet: nine frames in rows of three, ten of a portrait clip in rows of five.

    Args:
        frames_FHWC: uint8 RGB frames.
        fps: frames a second, for the time under each frame.
        sheet: the reference sheet, drawn whole (letterboxed, never cropped); left out when None.
        notes: (label, value) lines under the sheet, e.g. ("Action", "she walks left"), as many as have room.

    Returns:
        An RGB picture. No pixel of a frame or of the sheet is drawn over.
    """
    total, height, width = frames_FHWC.shape[:3]
    portrait = height > width
    indices = frame_indices(total, 10 if portrait else 9)
    columns = min(5 if portrait else 3, len(indices))
    rows = math.ceil(len(indices) / columns)
    scale = math.sqrt(CELL_AREA / (width * height))
    cell_w, cell_h = max(1, round(width * scale)), max(1, round(height * scale))

    grid_w = columns * cell_w + (columns - 1) * GAP
    grid_h = rows * (cell_h + LABEL_HEIGHT) + (rows - 1) * GAP
    left = _left_column(sheet, notes, width=max(560, 2 * cell_w + GAP), height=grid_h)
    left_w = left.width + 2 * GAP if left else 0
    body_h = max(grid_h, left.height if left else 0)

    canvas = Image.new("RGB", (2 * MARGIN + left_w + grid_w, 2 * MARGIN + body_h), BACKGROUND)
    if left:
        canvas.paste(left, (MARGIN, MARGIN))
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(LABEL_SIZE)
    for slot, index in enumerate(indices):
        x = MARGIN + left_w + (slot % columns) * (cell_w + GAP)
        y = MARGIN + (slot // columns) * (cell_h + LABEL_HEIGHT + GAP)
        frame = Image.fromarray(frames_FHWC[index]).resize((cell_w, cell_h), Image.Resampling.LANCZOS)
        _place(canvas, draw, frame, x, y)
        draw.text((x, y + cell_h + 5), f"{index / fps:.2f} s", font=font, fill=TEXT)
        draw.text((x + cell_w, y + cell_h + 5), f"frame {index}", font=font, fill=DIM, anchor="ra")
    return canvas


def _left_column(
    sheet: Image.Image | None, notes: Sequence[tuple[str, str]], *, width: int, height: int
) -> Image.Image | None:
    """The sheet above the notes, `width` wide; as high as the grid, or higher if the sheet alone is."""
    if sheet is None and not notes:
        return None
    picture = None
    if sheet is not None:
        room = height - (4 * NOTE_LINE if notes else 0)
        factor = min(width / sheet.width, max(room, 160) / sheet.height)
        size = (max(1, round(sheet.width * factor)), max(1, round(sheet.height * factor)))
        picture = sheet.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    top = picture.height + LABEL_HEIGHT + GAP if picture else 0
    # The outline needs one pixel on each side.
    column = Image.new("RGB", (width + 2, max(height, top)), BACKGROUND)
    draw = ImageDraw.Draw(column)
    if picture:
        _place(column, draw, picture, 1 + (width - picture.width) // 2, 0)
        font = ImageFont.load_default(LABEL_SIZE)
        draw.text((1, picture.height + 5), "reference sheet", font=font, fill=DIM)
    _write_notes(draw, notes, top=top, width=width, height=column.height - top)
    return column


def _write_notes(
    draw: ImageDraw.ImageDraw, notes: Sequence[tuple[str, str]], *, top: int, width: int, height: int
) -> None:
    font = ImageFont.load_default(NOTE_SIZE)
    indent = 12 + max((int(font.getlength(label)) for label, _ in notes), default=0)
    lines: list[tuple[str, str]] = []
    fitting = max(0, height // NOTE_LINE)
    for label, value in notes:
        wrapped = _wrap(value, font, width - indent, fitting + 1)
        lines += [(label if number == 0 else "", line) for number, line in enumerate(wrapped)]
    if len(lines) > fitting > 0:
        label, text = lines[fitting - 1]
        lines = [*lines[: fitting - 1], (label, text[: max(0, len(text) - 3)] + "...")]
    for number, (label, text) in enumerate(lines[:fitting]):
        y = top + number * NOTE_LINE
        draw.text((1, y), label, font=font, fill=DIM)
        draw.text((indent, y), text, font=font, fill=TEXT)


def _wrap(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int, most: int) -> list[str]:
    """Greedy word wrap by measured width, `most` lines of it; a word longer than the line is broken."""
    lines: list[str] = [""]
    # A letter is a pixel wide at least, so that more of them need not be looked at.
    for word in text[: most * width].split():
        if len(lines) > most:
            break
        candidate = f"{lines[-1]} {word}".strip()
        if font.getlength(candidate) <= width:
            lines[-1] = candidate
            continue
        if lines[-1]:
            lines.append("")
        for letter in word:
            if lines[-1] and font.getlength(lines[-1] + letter) > width:
                lines.append("")
            lines[-1] += letter
    return lines


def _place(canvas: Image.Image, draw: ImageDraw.ImageDraw, picture: Image.Image, x: int, y: int) -> None:
    # The outline lies one pixel outside the picture: it shows where a black picture ends.
    draw.rectangle((x - 1, y - 1, x + picture.width, y + picture.height), outline=OUTLINE)
    canvas.paste(picture, (x, y))
