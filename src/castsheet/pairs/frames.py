"""Frames at the clips' size, their luma, and clips as files.

Legend: F frames, H height, W width.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from castsheet.media.encoding import encode
from castsheet.media.film import film_frames
from castsheet.pairs.protocols import Floats, Pixels
from castsheet.pairs.records import Film

BT709 = 0.2126, 0.7152, 0.0722  # of red, green and blue


def read_frames(
    film: Film,
    *,
    start: float = 0.0,
    size: tuple[int, int] | None = None,
    only: Collection[int] | None = None,
) -> Iterator[tuple[float, Pixels]]:
    """A film's frames with their times, without its bars; see `film_frames`. `ImageError` where it is
    damaged."""
    return film_frames(Path(film.path), start=start, size=size, bars=film.bars, only=only)


def grey_of(frames_FHW3: Pixels) -> Floats:
    """Luma (F, H, W) by BT.709."""
    found = np.empty(frames_FHW3.shape[:-1], np.float32)
    for frame_HW3, grey in zip(frames_FHW3, found, strict=True):  # one by one: a frame stays in the cache
        red, green, blue = (frame_HW3[..., k] * np.float32(share) for k, share in enumerate(BT709))
        np.add(red + green, blue, out=grey)
    return found


def greys(picture_HW3: Pixels) -> Floats:
    """The channels' sum (H, W), whole numbers; a mean along the last axis takes eight times as long."""
    found = picture_HW3[..., 0].astype(np.float32)
    found += picture_HW3[..., 1]
    found += picture_HW3[..., 2]
    return found


def filled(frame: Pixels, size: tuple[int, int]) -> Pixels:
    """A frame scaled to fill a width and height, and the middle of it."""
    height, width = frame.shape[:2]
    if (width, height) == size:
        return frame
    factor = max(size[0] / width, size[1] / height)
    w, h = size[0] / factor, size[1] / factor
    x, y = (width - w) / 2, (height - h) / 2
    image = Image.fromarray(frame)
    return np.asarray(image.resize(size, Image.Resampling.LANCZOS, box=(x, y, x + w, y + h), reducing_gap=3))


def mp4(frames_FHW3: Pixels, fps: float) -> NDArray[np.uint8]:
    """A clip as the bytes of an MP4."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "clip.mp4"
        encode(path, frames_FHW3, fps)
        return np.frombuffer(path.read_bytes(), np.uint8)
