"""Pictures of any usual format, read as one kind: 8-bit RGBA, upright, sRGB."""

from __future__ import annotations

import io
import math
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageOps

from castsheet.errors import ImageError
from castsheet.machine.regular import open_regular
from castsheet.media.formats import open_picture

MIN_SIDE = 16
_ROWS = 256


def load_image(path: Path | str) -> Image.Image:
    """Read a picture of any usual format and mode as 8-bit RGBA, upright and in sRGB.

    An animation gives its first frame. 16-bit and float pictures are converted to 8 bits; floats are read as
    0..1 if no value exceeds 1, else as 0..255. EXIF orientation is applied.

    Raises:
        ImageError: not a picture, truncated, a side below 16 px, or more than 178 million pixels.
        DependencyError: HEIC or AVIF, without the package that reads it.
    """
    path = Path(path)
    with open_regular(path, ImageError) as file, warnings.catch_warnings():
        # Plugins warn of damaged metadata; either the pixels are there, or they cannot be decoded.
        warnings.simplefilter("ignore")
        with open_picture(file, path) as opened:
            _check_size(path, opened.size)
            return _to_rgba(path, opened)


def _check_size(path: Path, size: tuple[int, int]) -> None:
    width, height = size
    if min(size) < MIN_SIDE:
        raise ImageError(
            f"{path} is {width}x{height}; both sides must be at least {MIN_SIDE} px",
            remedy="use a larger picture, best 512 px or more",
        )


def _to_rgba(path: Path, image: Image.Image) -> Image.Image:
    if image.mode == "F" or image.mode.startswith("I"):
        image = _to_8_bit(path, image)
    elif image.mode in ("RGB", "RGBA") and image.info.get("icc_profile"):
        image = _to_srgb(image)
    upright = ImageOps.exif_transpose(image)
    # LAB, CMYK, YCbCr and HSV have no direct way to RGBA and no alpha: they go through RGB.
    if upright.mode not in ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX"):
        upright = upright.convert("RGB")
    if upright.mode == "La":
        upright = upright.convert("LA")
    return upright.convert("RGBA")


def _to_8_bit(path: Path, image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    low, top = float(values.min()), float(values.max())
    if not (math.isfinite(low) and math.isfinite(top)):  # NaN, wherever it stands, is both
        raise ImageError(f"{path} contains NaN or infinity", remedy="export it as an 8-bit PNG")
    if image.mode == "F":
        scale = 255.0 if top <= 1 else 1.0
    else:
        # A 32-bit integer picture is a 16-bit one read by an older plugin, unless its values say otherwise.
        scale = 1 / 257 if image.mode != "I" or 255 < top <= 65535 else (255 / top if top > 65535 else 1.0)
    grey_HW = np.empty(values.shape, np.uint8)
    for start in range(0, len(values), _ROWS):  # in pieces: float64 takes eight times the picture's memory
        piece = values[start : start + _ROWS].astype(np.float64)
        grey_HW[start : start + _ROWS] = np.clip(np.rint(piece * scale), 0, 255)
    grey = Image.fromarray(grey_HW)
    grey.info = {key: value for key, value in image.info.items() if key == "exif"}
    return grey


def _to_srgb(image: Image.Image) -> Image.Image:
    """Colours as an sRGB screen shows them; like viewers, it ignores a damaged or foreign profile."""
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
        converted = ImageCms.profileToProfile(image, profile, ImageCms.createProfile("sRGB"))
    except (ImageCms.PyCMSError, OSError):
        return image
    return converted if converted is not None else image
