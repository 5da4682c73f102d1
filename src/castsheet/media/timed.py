"""Frames of a video at even times, whatever its own rate."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from castsheet.errors import ImageError
from castsheet.media.video import MAX_BYTES, opened_video, stacked, too_much

SLACK_S = 0.002
"""Some containers round time stamps to thousandths of a second."""


@dataclass(frozen=True)
class Timed:
    """Frames of a video at even times.

    Attributes:
        frames_FHWC: uint8, RGB; fewer than were asked for if the video ends before.
        seconds, count, rate: how long the video is as far as it was read, its own frames and their rate.
    """

    frames_FHWC: np.ndarray
    seconds: float
    count: int
    rate: float


def read_timed(path: Path | str, fps: float, count: int) -> Timed:
    """The frames that are shown at 0, 1/fps, 2/fps, ... by the file's time stamps.

    A frame is shown from its own time until the next frame's, and the last one for as long as the others on
    average.

    Raises:
        ImageError: see `read_video`.
    """
    path, times = Path(path), list[float]()
    frames: list[np.ndarray] = []
    shown: np.ndarray | None = None
    with opened_video(path) as (container, stream):
        rate = float(stream.average_rate or 0)
        for frame in container.decode(stream):
            at = float(frame.time) if frame.time is not None else len(times) / (rate or fps)
            times.append(at if not times else max(at, times[-1]))
            while shown is not None and len(frames) < count and _due(frames, fps) < times[-1] - times[0]:
                frames.append(shown)
            if len(frames) == count:
                break
            shown = frame.to_ndarray(format="rgb24")
            if shown.nbytes * (len(frames) + 1) > MAX_BYTES:
                raise too_much(path)
            if frames and frames[0].shape != shown.shape:
                raise ImageError(f"{path}: frames change their size", remedy="save it anew at one size")
    if shown is None:
        raise ImageError(f"cannot read the video {path}: it has no frames", remedy="make the clip again")
    if len(times) > 1 and times[-1] == times[0]:
        raise ImageError(
            f"cannot read the video {path}: all of its {len(times)} frames have one time stamp",
            remedy="save it anew, at any frame rate",
        )
    last = (times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else 1 / (rate or fps)
    seconds = times[-1] - times[0] + last
    while len(frames) < count and _due(frames, fps) < seconds:
        frames.append(shown)
    return Timed(stacked(frames), seconds, len(times), 1 / last if last else rate)


def _due(frames: list[np.ndarray], fps: float) -> float:
    """When the next frame is wanted."""
    return len(frames) / fps + SLACK_S
