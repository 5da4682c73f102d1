"""The picture that a clip starts with: read, compressed once like video, at the clip's size.

The model learned from H.264 clips, so a first frame as clean as a PNG is unlike any frame that it knows. The
official pipeline therefore sends the picture through the encoder once, at rate factor 33 for LTX-2.3.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

from castsheet.clip import EXACT, to_yuv
from castsheet.errors import ImageError, SettingsError
from castsheet.ltx.latents import Grid
from castsheet.media.pictures import load_image
from castsheet.sheet.manifest import Sheet


def read_picture(given: Image.Image | Path | str, grid: Grid, *, crf: int = 0) -> Image.Image:
    """A picture for a clip to start with, at the clip's size; black where it is transparent.

    Args:
        crf: H.264 rate factor at which it is compressed once, at its own size; 0 leaves it as it is.

    Raises:
        ImageError: it cannot be read, or not be compressed.
        SettingsError: the clip has one latent frame only, so that nothing would be left to make.
    """
    if grid.frames < 2:
        raise SettingsError(
            "a first frame, and a clip that is no longer than it",
            remedy=f"use {grid.scale[0] + 1} frames or more",
        )
    rgba = (given if isinstance(given, Image.Image) else load_image(Path(given))).convert("RGBA")
    picture = Image.new("RGB", rgba.size)
    picture.paste(rgba, mask=rgba.getchannel("A"))
    picture = recompress(picture, crf)
    return Sheet(picture).conditioning_image(*grid.size)


def recompress(image: Image.Image, crf: int) -> Image.Image:
    """The picture after H.264 (yuv420p, one key frame) at a constant rate factor. Equal input, equal output.

    Args:
        image: any mode without alpha; an odd side loses its last row or column.
        crf: 0 returns the picture as it is, untouched; up to 51, the worst.

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
