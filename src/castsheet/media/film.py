"""Long videos, decoded as a stream: nothing holds more than one frame.

Legend: H height, W width.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av import VideoFrame
from numpy.typing import NDArray

from castsheet.errors import ImageError
from castsheet.media.video import opened_video

_EARLY = 0.5  # of a frame: times of containers are rounded


@dataclass(frozen=True)
class Probe:
    """What a film's file says of its picture track: px, frames a second, seconds (0 where it says
    nothing)."""

    width: int
    height: int
    fps: float
    seconds: float


def probe(path: Path) -> Probe:
    """Look at a film without decoding it.

    Raises:
        ImageError: it cannot be read, or says neither its size nor its rate.
    """
    with opened_video(path) as (container, stream):
        rate = stream.average_rate
        if not rate or not stream.width or not stream.height:
            told = f"{path} does not say its size and its frames a second"
            raise ImageError(told, remedy="save the film anew as H.264")
        seconds = float(container.duration or 0) / 1e6
        return Probe(stream.width, stream.height, float(rate), seconds)


def key_frames(path: Path, seconds: float, most: int) -> Iterator[NDArray[np.uint8]]:
    """Some frames (H,W,3) RGB that decode alone, spread over a film; fewer where it is damaged or short.

    Args:
        seconds: how long the film is.
    """
    with opened_video(path) as (container, stream):
        base = float(stream.time_base or 0)
        seen: set[int] = set()
        for number in range(most if base else 0):
            at = (number + 0.5) / most * seconds
            try:
                container.seek(int(at / base) + (stream.start_time or 0), stream=stream, backward=True)
                frame = next(container.decode(stream), None)
            except av.FFmpegError:
                return
            if frame is not None and (frame.pts or 0) not in seen:
                seen.add(frame.pts or 0)
                yield _rgb(frame, None, (0, 0))


def film_frames(
    path: Path,
    *,
    start: float = 0.0,
    size: tuple[int, int] | None = None,
    bars: tuple[int, int] = (0, 0),
    only: Collection[int] | None = None,
) -> Iterator[tuple[float, NDArray[np.uint8]]]:
    """The frames (H,W,3) RGB of a film from a time on, each with its own time in seconds.

    Frames come as long as they are read. Variable rates are no matter: the times are the file's own.

    Args:
        start: seconds; the first frame is the one shown there.
        size: width and height in px to scale to; by default the film's own, without its bars.
        bars: px to leave out at the left and the right, and above and below.
        only: numbers of the frames that are wanted, counted from the first one; the others are decoded, which
            the next ones need, but not scaled, and after the last one the stream ends. None wants all.

    Raises:
        ImageError: it cannot be read, or is damaged there.
    """
    with opened_video(path) as (container, stream):
        stream.codec_context.thread_count = 1  # films are spread over processes
        base, rate = float(stream.time_base or 0), float(stream.average_rate or 0)
        if not base or not rate:
            raise ImageError(f"{path} does not say when its frames are shown", remedy="save it anew as H.264")
        zero = float(stream.start_time or 0) * base
        if start > 0:
            container.seek(int((start + zero) / base), stream=stream, backward=True)
        shown = (
            (time, frame)
            for frame in container.decode(stream)
            if (time := _time(frame, base, zero)) >= start - _EARLY / rate
        )
        last = None if only is None else max(only, default=-1)
        for number, (time, frame) in enumerate(shown):
            if last is not None and number > last:
                break
            if only is None or number in only:
                yield time, _rgb(frame, size, bars)


def _time(frame: VideoFrame, base: float, zero: float) -> float:
    return round((frame.pts or 0) * base - zero, 6)


def _rgb(frame: VideoFrame, size: tuple[int, int] | None, bars: tuple[int, int]) -> NDArray[np.uint8]:
    across, down = bars
    if across or down:
        picture = frame.to_ndarray(format="rgb24")
        inner = picture[down : len(picture) - down, across : picture.shape[1] - across]
        frame = VideoFrame.from_ndarray(np.ascontiguousarray(inner), format="rgb24")
    if size is not None and size != (frame.width, frame.height):
        frame = frame.reformat(width=size[0], height=size[1], format="rgb24", interpolation="AREA")
    return frame.to_ndarray(format="rgb24")
