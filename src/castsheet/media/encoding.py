"""Frames and sound to an MP4: H.264 and AAC, equal input gives equal bytes; also in a thread of its own.

    with Encoder() as encoder:
        track = encoder.track(fps=24.0)
        track.add(frames[:16])          # returns at once; the thread encodes
        track.add(frames[16:])
        track.end(frames)
        encode("walk.mp4", frames, 24.0, track=track)   # waits for the thread, and writes

The file is the same with a track as without one. The frames wait where they lie, in the clip's own memory;
what the thread adds is the compressed track.
"""

from __future__ import annotations

import errno
import io
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.codec.context import Flags
from av.video.reformatter import ColorRange, Colorspace

from castsheet.errors import CastsheetError, OutputError, SettingsError
from castsheet.machine.causes import memory_error
from castsheet.machine.refusals import cannot_write

CRF = 14
# Equal frames must give equal bytes. x264's output depends on the number of threads, so the number is fixed.
# Its macroblock tree is off: with it x264 reads memory that was never written, at least on small pictures.
EXACT = {"threads": "4", "mbtree": "0"}

# What ffmpeg passes on from the system; EINVAL is its own.
_SYSTEM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EACCES, errno.EMFILE)
_BT709 = 1  # ITU-T H.273 code point of BT.709 for primaries, transfer and matrix alike
_AAC_FRAME = 1024


class Encoder:
    """A thread that encodes tracks. It ends with the `with` block; what is not encoded by then is dropped."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, "castsheet-encode")

    def __enter__(self) -> Encoder:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def track(self, fps: float, crf: int = CRF) -> Track:
        """A new picture track."""
        return Track(self._pool, fps, crf)


class Track:
    """The picture track of one clip, encoded by an `Encoder` while its frames are decoded."""

    def __init__(self, pool: ThreadPoolExecutor, fps: float, crf: int) -> None:
        self._pool, self._fps, self._crf = pool, fps, crf
        self._runs: list[Future[list[av.Packet]]] = []
        self._stream: av.VideoStream | None = None
        self._frames: np.ndarray | None = None

    def add(self, frames_FHWC: np.ndarray) -> None:
        """Encode these frames after those before; they must stay as they are until then."""
        self._runs.append(self._pool.submit(self._encoded, frames_FHWC))

    def end(self, frames_FHWC: np.ndarray) -> None:
        """No more frames come; the argument holds them all."""
        self._frames = frames_FHWC
        self._runs.append(self._pool.submit(self._rest))

    def holds(self, frames_FHWC: np.ndarray, fps: float, crf: int) -> bool:
        """Whether this is the track of these frames at this rate and quality, and nothing was dropped."""
        whole = not any(run.cancelled() for run in self._runs)
        return whole and self._frames is frames_FHWC and (self._fps, self._crf) == (fps, crf)

    def packets(self) -> Iterator[av.Packet]:
        """The encoded frames; waits for each.

        Raises:
            av.FFmpegError, MemoryError: what the encoder raised in its thread.
        """
        for run in self._runs:
            yield from run.result()

    def _encoded(self, frames_FHWC: np.ndarray) -> list[av.Packet]:
        if self._stream is None:
            height, width = frames_FHWC.shape[1:3]
            # A stream needs a file; nothing is ever written to this one.
            nowhere = av.open(io.BytesIO(), "w", format="mp4")
            self._stream = _picture_stream(nowhere, (width, height), self._fps, self._crf)
        return list(_packets(self._stream, frames_FHWC))

    def _rest(self) -> list[av.Packet]:
        return [] if self._stream is None else self._stream.encode(None)


def encode(
    path: Path,
    frames_FHWC: np.ndarray,
    fps: float,
    audio_SC: np.ndarray | None = None,
    audio_rate: int | None = None,
    *,
    crf: int = CRF,
    track: Track | None = None,
) -> None:
    """Encode frames (F, H, W, 3) uint8; see `encode_stream`.

    Args:
        track: the frames' encoding, if it was begun; one of other frames, or of another quality, is not used.
    """
    height, width = frames_FHWC.shape[1:3]
    begun = track is not None and track.holds(frames_FHWC, fps, crf)
    frames = track if track is not None and begun else frames_FHWC
    encode_stream(path, frames, (width, height), fps, audio_SC, audio_rate, crf=crf)


def encode_stream(
    path: Path,
    frames: Iterable[np.ndarray] | Track,
    size: tuple[int, int],
    fps: float,
    audio_SC: np.ndarray | None = None,
    audio_rate: int | None = None,
    *,
    crf: int = CRF,
) -> None:
    """Encode to H.264 (yuv420p, BT.709, fast start) and AAC; equal input gives equal bytes.

    Args:
        frames: RGB pictures (H, W, 3) uint8, one after the other, or their track.
        size: their width and height.

    Raises:
        OutputError: the encoder or the disk refused.
        SettingsError: a side is odd. Such clips of others may be judged; only writing them is impossible.
    """
    width, height = size
    if height % 2 or width % 2:
        raise SettingsError(
            f"frames are {width}x{height}; H.264 with 4:2:0 colour needs even sides",
            remedy="use sides that are multiples of 32, such as 768x448",
        )
    try:
        with av.open(str(path), "w", options={"movflags": "+faststart", "fflags": "+bitexact"}) as container:
            video = _picture_stream(container, size, fps, crf)
            # Every stream has to exist before the first packet is written.
            sound = None
            if audio_SC is not None:
                sound = container.add_stream("aac", rate=audio_rate, layout="stereo")
                sound.codec_context.flags |= Flags.bitexact
            if isinstance(frames, Track):
                for packet in frames.packets():
                    packet.stream = video
                    container.mux(packet)
            else:
                for packet in _packets(video, frames):
                    container.mux(packet)
                container.mux(video.encode(None))
            if sound is not None and audio_SC is not None:
                for block in _audio_blocks(audio_SC, audio_rate):
                    container.mux(sound.encode(block))
                container.mux(sound.encode(None))
    except av.FFmpegError as error:
        raise _not_encoded(path, width, height, error) from error


def _picture_stream(
    container: av.container.OutputContainer, size: tuple[int, int], fps: float, crf: int
) -> av.VideoStream:
    video = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
    video.width, video.height = size
    video.pix_fmt = "yuv420p"
    video.options = {"crf": str(crf), "preset": "medium", **EXACT}
    context = video.codec_context
    context.flags |= Flags.bitexact
    # Untagged files are read as BT.601 by some players and BT.709 by others: skin tones would shift.
    context.color_range = ColorRange.MPEG
    context.colorspace = context.color_primaries = context.color_trc = _BT709
    return video


def _packets(video: av.VideoStream, frames: Iterable[np.ndarray]) -> Iterator[av.Packet]:
    for image in frames:
        yield from video.encode(to_yuv(image))


def _not_encoded(path: Path, width: int, height: int, error: av.FFmpegError) -> CastsheetError:
    """What the system refused, or else what the encoder did."""
    if (memory := memory_error(error)) is not None:
        return memory
    if isinstance(error, OSError) and error.errno in _SYSTEM:
        return cannot_write(path, error)
    return OutputError(
        f"cannot encode {path.name} ({width}x{height}): {error}",
        remedy="use a usual size and frame rate, such as 768x448 and 24",
    )


def to_yuv(image_HWC: np.ndarray) -> av.VideoFrame:
    """An RGB picture (H, W, 3) uint8 as a BT.709 frame of limited range, 4:2:0."""
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(image_HWC), format="rgb24").reformat(
        format="yuv420p",
        src_colorspace=Colorspace.ITU709,
        dst_colorspace=Colorspace.ITU709,
        src_color_range=ColorRange.JPEG,
        dst_color_range=ColorRange.MPEG,
    )


def _audio_blocks(audio_SC: np.ndarray, rate: int | None) -> Sequence[av.AudioFrame]:
    blocks = []
    for start in range(0, len(audio_SC), _AAC_FRAME):
        samples_CS = np.ascontiguousarray(audio_SC[start : start + _AAC_FRAME].T)
        block = av.AudioFrame.from_ndarray(samples_CS, format="fltp", layout="stereo")
        block.sample_rate = rate
        block.pts = start
        blocks.append(block)
    return blocks
