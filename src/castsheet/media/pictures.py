"""Pictures of any usual format, read as one kind: 8-bit RGBA, upright, sRGB."""

from __future__ import annotations

import io
import stat
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from castsheet.errors import CastsheetError, ImageError

MIN_SIDE = 16
# Pillow's own guard against decompression bombs refuses above this as well (twice its warning level).
MAX_PIXELS = 178_000_000

# What a decoder may raise on damaged data, besides OSError.
_DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    struct.error,
    zlib.error,
)


def load_image(path: Path | str) -> Image.Image:
    """Read a picture of any usual format and mode as 8-bit RGBA, upright and in sRGB.

    An animation gives its first frame. 16-bit and float pictures are converted to 8 bits; floats are read as
    0..1 if no value exceeds 1, else as 0..255. EXIF orientation is applied.

    Raises:
        ImageError: not a picture, truncated, a side below 16 px, or more than 178 million pixels.
    """
    path = Path(path)
    try:
        mode = file_mode(path)
        if not stat.S_ISREG(mode):
            problem = "is a folder, not a picture" if stat.S_ISDIR(mode) else "does not exist"
            raise ImageError(f"{path} {problem}", remedy="give the path of a picture file")
        with warnings.catch_warnings():
            # Plugins warn of damaged metadata. That is harmless: if pixels are missing, the load below fails.
            warnings.simplefilter("ignore")
            with Image.open(path) as opened:
                _check_size(path, opened.size)
                opened.load()
                return _to_rgba(path, opened)
    except UnidentifiedImageError as error:
        raise ImageError(
            f"{path} is not a picture in a known format", remedy="use PNG, JPEG, WebP, GIF, BMP or TIFF"
        ) from error
    except (Image.DecompressionBombError, MemoryError) as error:
        raise _too_large(path) from error
    except CastsheetError:
        raise
    except _DECODE_ERRORS as error:
        raise ImageError(
            f"{path} cannot be read; it is damaged, cut short or protected: {error}",
            remedy="check its permissions, or export or download the picture again",
        ) from error


def _check_size(path: Path, size: tuple[int, int]) -> None:
    width, height = size
    if width * height > MAX_PIXELS:
        raise _too_large(path)
    if min(size) < MIN_SIDE:
        raise ImageError(
            f"{path} is {width}x{height}; both sides must be at least {MIN_SIDE} px",
            remedy="use a larger picture, best 512 px or more",
        )


def _too_large(path: Path) -> ImageError:
    return ImageError(
        f"{path} has more than {MAX_PIXELS // 1_000_000} million pixels",
        remedy="scale it down; 4096 px on the long side are plenty",
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
    values = np.asarray(image).astype(np.float64)
    if not np.isfinite(values).all():
        raise ImageError(f"{path} contains NaN or infinity", remedy="export it as an 8-bit PNG")
    top = float(values.max())
    if image.mode == "F":
        scale = 255.0 if top <= 1 else 1.0
    else:
        # A 32-bit integer picture is a 16-bit one read by an older plugin, unless its values say otherwise.
        scale = 1 / 257 if image.mode != "I" or 255 < top <= 65535 else (255 / top if top > 65535 else 1.0)
    grey = Image.fromarray(np.clip(np.rint(values * scale), 0, 255).astype(np.uint8))
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


def file_mode(path: Path) -> int:
    """The file's type and permission bits; 0 if there is no such file or its name is impossible."""
    try:
        return path.stat().st_mode
    except (OSError, ValueError):
        return 0
