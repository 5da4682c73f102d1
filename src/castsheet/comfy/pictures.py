"""Pictures and masks between ComfyUI's tensors, Pillow and files.

Legend: B batch, H height, W width, C channels, N panels, F frames.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from castsheet.comfy.wire import CELL
from castsheet.errors import ImageError, SettingsError, SheetError
from castsheet.machine.files import write_atomic
from castsheet.sampling.strength import cell_strengths
from castsheet.sheet.box import Box
from castsheet.sheet.manifest import Sheet

_MARK = (255, 80, 60)


def to_tensor(image: Image.Image) -> Tensor:
    """An RGB picture as IMAGE: (1,H,W,3) float32 in 0..1."""
    return torch.from_numpy(np.asarray(image.convert("RGB"), np.float32) / 255)[None]


def to_frames(images_BHWC: Tensor) -> np.ndarray:
    """IMAGE as uint8 RGB frames (F,H,W,3); an alpha channel is dropped."""
    return images_BHWC[..., :3].mul(255).round().clamp(0, 255).to(torch.uint8).cpu().numpy()


def to_pictures(images_BHWC: Tensor) -> list[Image.Image]:
    """IMAGE as Pillow pictures, RGBA where there is a fourth channel."""
    pixels = images_BHWC.mul(255).round().clamp(0, 255).to(torch.uint8).cpu().numpy()
    return [Image.fromarray(one) for one in pixels]


def keep(image: Image.Image, folder: Path) -> Path:
    """A picture as a PNG named by its pixels: equal pictures are one file, and other pixels are another name.

    Raises:
        OutputError: the disk refused.
    """
    digest = hashlib.sha256(f"{image.mode} {image.size}\n".encode() + image.tobytes()).hexdigest()[:24]
    path = folder / f"{digest}.png"
    if not path.is_file():
        write_atomic(path, lambda out: image.save(out, "PNG", compress_level=1))
    return path


def strength_mask(sheet: Sheet, strengths: Mapping[str, float], size: tuple[int, int]) -> Tensor:
    """Strengths as MASK (1,H,W) at the conditioning size (width, height), one value a latent cell.

    ComfyUI averages a mask over each cell; a mask that is even within cells comes out as it was painted.

    Raises:
        SettingsError: no element of that name is on the sheet.
        SheetError: the sheet is a bare picture, of which no panel is known.
    """
    check_names(sheet, strengths)
    panels = [(panel.box, panel.element) for panel in sheet.panels]
    cells_HW = cell_strengths(panels, strengths, image=sheet.image.size, size=size, cell=CELL)
    pixels_HW = cells_HW.repeat(CELL, axis=0).repeat(CELL, axis=1)
    return torch.from_numpy(pixels_HW).float()[None]


def check_names(sheet: Sheet, strengths: Mapping[str, float]) -> None:
    """Refuse strengths of what is not on the sheet.

    Raises:
        SettingsError: no element of that name is on the sheet.
        SheetError: the sheet is a bare picture, of which no panel is known.
    """
    asked = {name for name, value in strengths.items() if value != 1}
    known = {panel.element for panel in sheet.panels}
    if asked and not known:
        raise SheetError(
            f"a strength of {', '.join(sorted(asked))}, but nothing is known of this picture's panels",
            remedy="make the sheet from Castsheet Elements, or wire the sheet's manifest",
        )
    if unknown := sorted(asked - known):
        raise SettingsError(
            f"a strength of {', '.join(unknown)}, which is not on the sheet",
            remedy=f"choose one of {', '.join(sorted(known))}",
        )


def panel_masks(sheet: Sheet, size: tuple[int, int]) -> Tensor:
    """The panels as MASK (N,H,W) at the conditioning size, 1 within; one empty mask for a bare picture."""
    width, height = size
    masks_NHW = torch.zeros(max(1, len(sheet.panels)), height, width)
    for mask_HW, panel in zip(masks_NHW, sheet.panels, strict=False):
        left, top, right, bottom = (round(edge) for edge in sheet.seen(panel.box, size))
        mask_HW[max(0, top) : max(0, bottom), max(0, left) : max(0, right)] = 1
    return masks_NHW


def marked(image: Image.Image, marks: Sequence[tuple[Box, str]]) -> Image.Image:
    """The picture with boxes drawn on it, each with a word."""
    drawn = image.convert("RGB")
    draw, width = ImageDraw.Draw(drawn), max(2, drawn.width // 400)
    for box, word in marks:
        draw.rectangle((box.x, box.y, box.right - 1, box.bottom - 1), outline=_MARK, width=width)
        draw.text((box.x + 2 * width, box.y + width), word, fill=_MARK, font_size=max(10, drawn.height // 32))
    return drawn


def one_size(pictures: Sequence[Image.Image]) -> list[Image.Image]:
    """Pictures of the first one's size, as a batch needs them.

    Raises:
        ImageError: there is none.
    """
    if not pictures:
        raise ImageError("no picture to show", remedy="wire an image")
    return [one.convert("RGB").resize(pictures[0].size, Image.Resampling.LANCZOS) for one in pictures]
