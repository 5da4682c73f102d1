"""A finished clip: frames and audio in memory, and the three files that keep them.

`Clip.save("walk.mp4")` writes `walk.mp4` (H.264, AAC), `walk.contact.png` (sheet and frames in one picture)
and `walk.clip.json` (what made it). All three appear, or none. The last two have an infix in their names
because `walk.png` and `walk.json` would be the names of a sheet and its manifest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from castsheet.errors import NumericsError, OutputError, SettingsError
from castsheet.machine.files import sha256
from castsheet.machine.outputs import Output, try_outputs
from castsheet.machine.replace import replacing
from castsheet.machine.text import json_if_any
from castsheet.media import provenance as prov
from castsheet.media.contact import contact_sheet
from castsheet.media.encoding import CRF, Track, encode
from castsheet.media.png import save_png, wrote_png
from castsheet.media.video import read_video as read_video

SIDECAR_VERSION = 1
# Sampling rates that AAC can carry.
AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)

_LARGEST_SIDECAR = 64 << 20


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
        track: the frames' encoding, if it was begun while they were decoded.

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
    track: Track | None = None

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
            # The contact sheet first: the track is encoded in another thread meanwhile.
            save_png(self.contact(), contact)
            encode(video, self.frames, self.fps, self.audio, self.audio_rate, crf=crf, track=self.track)
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
