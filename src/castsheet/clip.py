"""A finished clip: frames and audio in memory, and the three files that keep them.

`Clip.save("walk.mp4")` writes `walk.mp4` (H.264, AAC), `walk.contact.png` (sheet and frames in one picture)
and `walk.clip.json` (what made it). All three appear, or none. The last two have an infix in their names
because `walk.png` and `walk.json` would be the names of a sheet and its manifest.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.codec.context import Flags
from av.video.reformatter import ColorRange, Colorspace
from PIL import Image

from castsheet.errors import CastsheetError, NumericsError, OutputError, SettingsError
from castsheet.machine.causes import memory_error
from castsheet.machine.files import sha256
from castsheet.machine.outputs import Output, try_outputs
from castsheet.machine.refusals import cannot_write
from castsheet.machine.replace import replacing
from castsheet.machine.text import json_if_any
from castsheet.media import provenance as prov
from castsheet.media.contact import contact_sheet
from castsheet.media.png import save_png, wrote_png
from castsheet.media.video import read_video as read_video

CRF = 14
# Equal frames must give equal bytes. x264's output depends on the number of threads, so the number is fixed.
# Its macroblock tree is off: with it x264 reads memory that was never written, at least on small pictures.
EXACT = {"threads": "4", "mbtree": "0"}
SIDECAR_VERSION = 1
# Sampling rates that AAC can carry.
AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)

# What ffmpeg passes on from the system; EINVAL is its own.
_SYSTEM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EACCES, errno.EMFILE)
_LARGEST_SIDECAR = 64 << 20
_BT709 = 1  # ITU-T H.273 code point of BT.709 for primaries, transfer and matrix alike
_AAC_FRAME = 1024


@dataclass(frozen=True)
class ClipFiles:
    """Where the parts of a saved clip are."""

    video: Path
    contact: Path
    sidecar: Path

    @property
    def outputs(self) -> list[Output]:
        """The three, each with the question whether Castsheet wrote what is there now."""
        return [Output(path, self._ours) for path in (self.video, self.contact, self.sidecar)]

    def _ours(self, path: Path) -> bool:
        told = _read_sidecar(self.sidecar)
        if path == self.contact and wrote_png(path):
            return True
        if told is None or path == self.sidecar:
            return told is not None
        if path == self.contact:
            return told.get("contact") == {"file": path.name}  # an earlier version's
        return told["video"]["sha256"] == sha256(path)


@dataclass(frozen=True)
class Clip:
    """A clip's frames, sound and provenance.

    Attributes:
        frames: uint8 (F, H, W, 3), RGB, even H and W.
        fps: frames a second.
        audio: float32 (S, 2) in [-1, 1], or None.
        audio_rate: samples a second; required with audio.
        sheet: the conditioning picture, for the contact sheet.
        provenance: settings, seeds, hashes, timings; `castsheet.media.provenance.plain` makes them JSON.

    Raises:
        SettingsError: a shape, type, rate or size that cannot be written.
        NumericsError: NaN or infinity in the audio.
    """

    frames: np.ndarray
    fps: float
    audio: np.ndarray | None = None
    audio_rate: int | None = None
    sheet: Image.Image | None = None
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_frames(self.frames, self.fps)
        if self.audio is not None:
            _check_audio(self.audio, self.audio_rate)

    @property
    def seconds(self) -> float:
        """Length of the picture track."""
        return len(self.frames) / self.fps

    def contact(self) -> Image.Image:
        """The contact sheet. Its notes are the short texts of `provenance["notes"]`, if there are any."""
        notes = self.provenance.get("notes")
        lines = [(str(k), str(v)) for k, v in notes.items()] if isinstance(notes, Mapping) else []
        return contact_sheet(self.frames, self.fps, self.sheet, notes=lines)

    def save(self, path: Path | str, *, crf: int = CRF, overwrite: bool = False) -> ClipFiles:
        """Write video, contact sheet and sidecar as a set: after a kill the set is the old or the new one.

        Args:
            path: the video's path, ending in `.mp4`.
            crf: H.264 quality, 0 (lossless) to 51; lower is better.
            overwrite: replace files that Castsheet did not write.

        Raises:
            OutputError: the name is not `.mp4`, a file that Castsheet did not write is there, or the disk
                refused.
            SettingsError: crf out of range.
        """
        files = clip_files(path)
        if not 0 <= crf <= 51:
            raise SettingsError(f"crf {crf} is outside 0..51", remedy="use 14 (fine) to 23 (small)")
        try_outputs(files.outputs, overwrite=overwrite)
        with replacing(files.video.parent, files.video) as change:
            contact, sidecar, video = map(
                change.new, (files.contact.name, files.sidecar.name, files.video.name)
            )
            encode(video, self.frames, self.fps, self.audio, self.audio_rate, crf=crf)
            save_png(self.contact(), contact)
            sidecar.write_bytes(prov.dump(self._sidecar(files, video, contact, crf)).encode())
        return files

    def _sidecar(self, files: ClipFiles, video: Path, contact: Path, crf: int) -> dict[str, Any]:
        count, height, width = self.frames.shape[:3]
        audio = None
        if self.audio is not None:
            audio = {"codec": "aac", "rate": self.audio_rate, "samples": len(self.audio)}
        return {
            "version": SIDECAR_VERSION,
            "created": prov.now(),
            "video": {
                "file": files.video.name,
                "sha256": sha256(video),
                "frames_sha256": prov.pixels_sha256(self.frames),
                "width": width,
                "height": height,
                "frames": count,
                "fps": self.fps,
                "codec": "h264",
                "crf": crf,
                "audio": audio,
            },
            "contact": {"file": files.contact.name, "sha256": sha256(contact)},
            "provenance": self.provenance,
            "software": prov.versions(),
            "machine": prov.machine(),
        }


def clip_files(path: Path | str) -> ClipFiles:
    """The three paths that a clip saved at `path` has.

    Raises:
        OutputError: the name does not end in `.mp4`.
    """
    video = Path(path)
    if video.suffix.lower() != ".mp4":
        raise OutputError(
            f"cannot write a clip to {video}: only .mp4 is written",
            remedy=f"name it {video.stem or 'clip'}.mp4",
        )
    return ClipFiles(video, video.with_suffix(".contact.png"), video.with_suffix(".clip.json"))


def clip_bytes(width: int, height: int, frames: int) -> int:
    """An estimate, on the large side, of what a clip's files take: a tenth of its pixels, and 4 MiB."""
    return width * height * 3 * frames // 10 + (4 << 20)


def _read_sidecar(path: Path) -> dict[str, Any] | None:
    """What a sidecar of ours says; None where the file is none."""
    told = json_if_any(path, _LARGEST_SIDECAR)
    video = told.get("video") if isinstance(told, dict) else None
    return told if isinstance(video, dict) and {"file", "sha256", "frames_sha256"} <= set(video) else None


def encode(
    path: Path,
    frames_FHWC: np.ndarray,
    fps: float,
    audio_SC: np.ndarray | None = None,
    audio_rate: int | None = None,
    *,
    crf: int = CRF,
) -> None:
    """Encode frames (F, H, W, 3) uint8; see `encode_stream`."""
    height, width = frames_FHWC.shape[1:3]
    encode_stream(path, frames_FHWC, (width, height), fps, audio_SC, audio_rate, crf=crf)


def encode_stream(
    path: Path,
    frames: Iterable[np.ndarray],
    size: tuple[int, int],
    fps: float,
    audio_SC: np.ndarray | None = None,
    audio_rate: int | None = None,
    *,
    crf: int = CRF,
) -> None:
    """Encode to H.264 (yuv420p, BT.709, fast start) and AAC; equal input gives equal bytes.

    Args:
        frames: RGB pictures (H, W, 3) uint8, one after the other.
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
            video = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
            video.width, video.height, video.pix_fmt = width, height, "yuv420p"
            video.options = {"crf": str(crf), "preset": "medium", **EXACT}
            context = video.codec_context
            context.flags |= Flags.bitexact
            # Untagged files are read as BT.601 by some players and BT.709 by others: skin tones would shift.
            context.color_range = ColorRange.MPEG
            context.colorspace = context.color_primaries = context.color_trc = _BT709
            # Every stream has to exist before the first packet is written.
            sound = None
            if audio_SC is not None:
                sound = container.add_stream("aac", rate=audio_rate, layout="stereo")
                sound.codec_context.flags |= Flags.bitexact
            for image in frames:
                container.mux(video.encode(to_yuv(image)))
            container.mux(video.encode(None))
            if sound is not None and audio_SC is not None:
                for block in _audio_blocks(audio_SC, audio_rate):
                    container.mux(sound.encode(block))
                container.mux(sound.encode(None))
    except av.FFmpegError as error:
        raise _not_encoded(path, width, height, error) from error


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


def _check_frames(frames: np.ndarray, fps: float) -> None:
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or len(frames) < 1:
        raise SettingsError(
            f"frames are {frames.dtype} of shape {tuple(frames.shape)}, not uint8 (F, H, W, 3) with F >= 1",
            remedy="convert the frames before making a Clip",
        )
    if min(frames.shape[1:3]) < 2:
        raise SettingsError(f"frames are {frames.shape[2]}x{frames.shape[1]}", remedy="use a usual size")
    if not 0 < fps <= 1000:
        raise SettingsError(f"fps is {fps}", remedy="use a rate such as 24")


def _check_audio(audio: np.ndarray, rate: int | None) -> None:
    if audio.ndim != 2 or audio.shape[1] != 2 or audio.dtype != np.float32 or len(audio) < 1:
        raise SettingsError(
            f"audio is {audio.dtype} of shape {tuple(audio.shape)}; a clip needs float32 (S, 2)",
            remedy="give stereo samples in [-1, 1]",
        )
    if rate not in AAC_RATES:
        raise SettingsError(
            f"audio rate {rate} cannot be stored as AAC",
            remedy=f"resample to one of {', '.join(map(str, AAC_RATES))}",
        )
    if not np.isfinite(audio).all():
        raise NumericsError(
            "the audio has NaN or infinite samples",
            remedy="generate without audio, or with another seed or precision",
        )
