"""Videos, decoded whole or from their start, within the bounds of memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
from PIL import Image

from castsheet.errors import ImageError
from castsheet.machine.regular import require_regular

MAX_BYTES = 3 << 30
"""Of decoded frames: 65 s of 768x448 at 48 frames a second."""

# Files of pictures that move. Play lists and the like, which name other files, are not among them.
_CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,ogg,asf,mxf,nut,ivf,gif,apng,"
    "yuv4mpegpipe,h264,hevc,m4v,dv,image2,png_pipe,jpeg_pipe,webp_pipe,obu,av1"
)
_OPTIONS = {"protocol_whitelist": "file", "format_whitelist": _CONTAINERS}
_REMEDY = "check the path, or make the clip again"


def read_video(path: Path | str, *, most: Callable[[float], int] | None = None) -> tuple[np.ndarray, float]:
    """Decode a video file.

    Args:
        most: given the frames a second, how many frames to decode at most; None decodes all of them.

    Returns:
        (uint8 (F, H, W, 3) RGB frames, frames a second).

    Raises:
        ImageError: no such file, not a video, damaged, frames of several sizes, or more than 3 GiB of them.
    """
    path = Path(path)
    with opened_video(path) as (container, stream):
        rate = stream.average_rate
        limit = most(float(rate)) if most is not None and rate else None
        frames = _frames(path, container, stream, limit)
    if not frames or not rate:
        raise ImageError(f"cannot read the video {path}: it has no frames", remedy=_REMEDY)
    return stacked(frames), float(rate)


@contextmanager
def opened_video(path: Path) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
    """A video file and its first picture track, for as long as the block lasts.

    Raises:
        ImageError: no such file, not a video, damaged (also while the block decodes), or out of memory.
    """
    require_regular(path, ImageError)
    try:
        # The prefix keeps a file called `concat:a` or `http:b` from being taken for an address.
        with av.open(f"file:{path}", options=_OPTIONS, metadata_errors="replace") as container:
            if not container.streams.video:
                raise ImageError(f"{path} has no picture track", remedy="give a video file such as .mp4")
            stream = container.streams.video[0]
            if getattr(stream, "codec_context", None) is None:
                raise ImageError(f"{path} is in a codec that is not known here", remedy="save it as H.264")
            yield container, stream
    except (av.FFmpegError, OSError, ValueError) as error:
        raise ImageError(f"cannot read the video {path}: {_told(error)}", remedy=_REMEDY) from error
    except MemoryError as error:
        raise too_much(path) from error


def last_frame(path: Path | str) -> Image.Image:
    """The last frame of a video.

    Raises:
        ImageError: see `read_video`.
    """
    return Image.fromarray(read_video(path)[0][-1])


def read_sound(path: Path | str) -> tuple[np.ndarray, int] | None:
    """The first sound track of a video file, in stereo.

    Returns:
        (float32 (S, 2) in [-1, 1], samples a second); None if the file has no sound.

    Raises:
        ImageError: no such file, or it is damaged.
    """
    path = Path(path)
    require_regular(path, ImageError)
    blocks: list[np.ndarray] = []
    try:
        with av.open(f"file:{path}", options=_OPTIONS, metadata_errors="replace") as container:
            if not container.streams.audio:
                return None
            stream = container.streams.audio[0]
            rate = stream.codec_context.sample_rate
            resampler = av.AudioResampler(format="fltp", layout="stereo", rate=rate)
            for frame in container.decode(stream):
                blocks += [one.to_ndarray() for one in resampler.resample(frame)]
            blocks += [one.to_ndarray() for one in resampler.resample(None)]
    except (av.FFmpegError, OSError, ValueError) as error:
        raise ImageError(f"cannot read the sound of {path}: {_told(error)}", remedy=_REMEDY) from error
    sound_CS = np.concatenate(blocks, axis=1) if blocks else np.zeros((2, 0), np.float32)
    return np.ascontiguousarray(sound_CS.T.astype(np.float32)).clip(-1, 1), rate


def _frames(
    path: Path, container: av.container.InputContainer, stream: av.VideoStream, most: int | None
) -> list[np.ndarray]:
    wanted = stream.frames if most is None else min(most, stream.frames)
    if 3 * stream.width * stream.height * wanted > MAX_BYTES:
        raise too_much(path)
    frames: list[np.ndarray] = []
    for frame in container.decode(stream):
        if 3 * frame.width * frame.height * (len(frames) + 1) > MAX_BYTES:
            raise too_much(path)
        # Colour space and range are the frame's own; the library's reading of the tags is what players do.
        frames.append(frame.to_ndarray(format="rgb24"))
        if frames[0].shape != frames[-1].shape:
            sizes = " to ".join(f"{one.shape[1]}x{one.shape[0]}" for one in (frames[0], frames[-1]))
            raise ImageError(
                f"{path}: frames change their size from {sizes}, at frame {len(frames) - 1}",
                remedy="save the video anew at one size, or cut it where the size changes",
            )
        if len(frames) == most:
            break
    return frames


def stacked(frames: list[np.ndarray]) -> np.ndarray:
    """One array of all frames; each frame is let go when it was copied, so that memory holds them once."""
    frames_FHWC = np.empty((len(frames), *frames[0].shape), np.uint8)
    for number in range(len(frames)):
        frames_FHWC[number] = frames[number]
        frames[number] = frames_FHWC[number]
    return frames_FHWC


def _told(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def too_much(path: Path) -> ImageError:
    return ImageError(
        f"{path}: its frames take more than {MAX_BYTES >> 30} GiB of memory",
        remedy="cut the video, or scale it down; a clip of 768x448 may have 3,000 frames",
    )
