"""A still picture with the traces of video compression that the model saw in training.

Clips that the model learned from were H.264, so a first frame as clean as a PNG is unlike any that it knows.
The official pipeline therefore sends the picture through the encoder once, at rate factor 33 for LTX-2.3.
"""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
from PIL import Image

from castsheet.clip import EXACT, to_yuv
from castsheet.errors import ImageError


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
