"""The picture that a clip starts with: read, compressed once like video, at the clip's size.

The model learned from H.264 clips and has seen no frame as clean as a PNG. The official pipeline therefore
encodes and decodes the picture once with H.264, at rate factor 33 for LTX-2.3.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

from castsheet.errors import ImageError, SettingsError
from castsheet.ltx.latents import Grid
from castsheet.media.encoding import EXACT, to_yuv
from castsheet.media.pictures import load_image
from castsheet.sheet.manifest import Sheet

_MAX_SIDE = 8192
_MAX_PIXELS = 40_000_000


def read_picture(given: Image.Image | Path | str, grid: Grid, *, crf: int = 0) -> Image.Image:
    """A picture for a clip to start with, at the clip's size; transparent parts become black.

    Args:
        crf: H.264 rate factor of the compression, at the picture's own size; 0 does not compress.

    Raises:
        ImageError: the picture cannot be read or compressed.
        SettingsError: the clip has only one latent frame, and the picture would be the whole clip.
    """
    if grid.frames < 2:
        raise SettingsError(
            "a first frame, and a clip that is no longer than it",
            remedy=f"use {grid.scale[0] + 1} frames or more",
        )
    rgba = given if isinstance(given, Image.Image) else load_image(Path(given))
    if rgba.width * rgba.height > _MAX_PIXELS:  # the encoder holds many copies of it
        rgba = rgba.copy()
        rgba.thumbnail((_MAX_SIDE, _MAX_SIDE))
    rgba = rgba.convert("RGBA")
    picture = Image.new("RGB", rgba.size)
    picture.paste(rgba, mask=rgba.getchannel("A"))
    picture = recompress(picture, crf)
    return Sheet(picture).conditioning_image(*grid.size)


def recompress(image: Image.Image, crf: int) -> Image.Image:
    """The picture after H.264 (yuv420p, one key frame) at a constant rate factor; equal input, equal output.

    Args:
        image: any mode without alpha; an odd side loses its last row or column.
        crf: from 0, which returns the picture itself, to 51, the worst.

    Raises:
        ImageError: the encoder cannot hold the picture (a side above 16384 px, or below 2).
    """
    if crf == 0:
        return image
    pixels_HWC = np.asarray(image.convert("RGB"))
    height, width = (side // 2 * 2 for side in pixels_HWC.shape[:2])
    try:
        encoder = av.CodecContext.create("libx264", "w")
        encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
        encoder.time_base = Fraction(1)
        encoder.options = {"crf": str(crf), "preset": "veryfast", **EXACT, "threads": "1"}
        packets = [*encoder.encode(to_yuv(pixels_HWC[:height, :width])), *encoder.encode(None)]
        decoder = av.CodecContext.create("h264", "r")
        frames = [frame for packet in (*packets, None) for frame in decoder.decode(packet)]
    except (av.FFmpegError, ValueError) as error:
        raise ImageError(
            f"a picture of {image.width}x{image.height} cannot go through H.264: {error}",
            remedy="scale it to the clip's size, or set first_frame_crf to 0",
        ) from error
    return Image.fromarray(frames[0].to_ndarray(format="rgb24"))
