"""Cut-outs as the page shows them, approves them and gets them back brushed."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from castsheet.machine.files import cache_folder
from castsheet.media.pictures import load_image
from castsheet.sheet.look.matting import CutOut, cut_out, mask_beside

SIDE = 1024


def shown(picture: Path) -> CutOut:
    """A picture's cut-out, from the cache where it is there.

    Raises:
        ImageError, DependencyError: see `cut_out`.
    """
    return cut_out(picture, cache=cache_folder() / "cutouts")


def approved(picture: Path) -> bool:
    """Whether a mask lies beside the picture: it was approved, or drawn by hand."""
    return mask_beside(picture) is not None


def mask_of(picture: Path) -> Image.Image:
    """A cut-out's alpha at the size of its picture, white where the subject is.

    Raises:
        ImageError, DependencyError: see `cut_out`.
    """
    cut = shown(picture)
    whole = load_image(picture)
    alpha = cut.image.getchannel("A")
    mask = Image.new("L", whole.size)
    if cut.window is None:
        mask.paste(alpha.resize(whole.size, Image.Resampling.BILINEAR))
    else:
        box = cut.window
        mask.paste(alpha.resize((box.w, box.h), Image.Resampling.BILINEAR), (box.x, box.y))
    return mask
