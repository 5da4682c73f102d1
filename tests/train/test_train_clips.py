"""Clips of any length and rate become training clips, or say what they lack."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from castsheet.errors import ImageError
from castsheet.ltx.parts.vae import VideoVAE
from castsheet.media.timed import read_timed
from castsheet.train.data.dataset import DatasetError
from castsheet.train.data.encode import SizeBucket, encode_clip
from tests.doubles.tiny_bundle import vae_config


def moving(path: Path, count: int, fps: int, *, stamps: list[float] | None = None) -> Path:
    """A video whose every frame has its own brightness; `stamps` are times in seconds."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.width, stream.height, stream.pix_fmt = 64, 32, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        stream.options = {"crf": "1", "bf": "0"}
        for number in range(count):
            picture = np.full((32, 64, 3), 4 * number % 256, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            at = number / fps if stamps is None else stamps[number]
            frame.pts, frame.time_base = round(1000 * at), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("fps", [24, 25, 30, 60])
def test_clips_of_any_rate_are_read_by_their_time_stamps(tmp_path: Path, fps: int) -> None:
    """Red: a clip at 25 or 30 fps runs in slow motion, or a rounded time stamp shows a frame twice."""
    read = read_timed(moving(tmp_path / "clip.mp4", 2 * fps, fps), 24.0, 33)
    shades = read.frames_FHWC[:, 16, 32, 1].astype(float)
    wanted = [4 * math.floor((n / 24 + 0.002) * fps + 1e-6) % 256 for n in range(33)]
    assert np.abs(shades - wanted).max() <= 3


def test_uneven_time_stamps_are_followed(tmp_path: Path) -> None:
    """Red: a phone's video of varying rate jerks, because frames are counted instead of timed."""
    stamps = [0.0, 0.1, 0.2, 0.9, 1.0, 1.1]
    read = read_timed(moving(tmp_path / "clip.mp4", 6, 10, stamps=stamps), 10.0, 11)
    shades = np.round(read.frames_FHWC[:, 16, 32, 1] / 4).astype(int).tolist()
    assert shades == [0, 1, 2, 2, 2, 2, 2, 2, 2, 3, 4]


def at_once(number: int) -> av.VideoFrame:
    """A frame a millionth of a second after the one before: a file's clock does not tell them apart."""
    frame = av.VideoFrame(64, 32, "yuv420p")
    frame.pts, frame.time_base = number, Fraction(1, 1_000_000)
    return frame


def test_a_video_whose_time_stamps_stand_still_is_refused(tmp_path: Path) -> None:
    """Red: a video whose time stamps a program got wrong ends in a traceback."""
    path = tmp_path / "stopped.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 32, "yuv420p"
        for packet in [
            *(one for number in range(6) for one in stream.encode(at_once(number))),
            *stream.encode(None),
        ]:
            container.mux(packet)
    with pytest.raises(ImageError, match="all of its 6 frames have one time stamp"):
        read_timed(path, 24.0, 5)


def test_the_remedy_for_a_short_clip_works(tmp_path: Path) -> None:
    """Red: somebody cuts the clip as the message says, and it is too short again."""
    bucket = SizeBucket(64, 32, 33, 24.0)
    vae = VideoVAE(vae_config())
    short = moving(tmp_path / "short.mp4", 33, 25)
    with pytest.raises(DatasetError, match=r"33 frames at 25 fps.*need more than 1\.33 s") as told:
        encode_clip(vae, short, bucket)
    frames = int(told.value.remedy.split("cut it at ")[1].split()[0])
    assert encode_clip(vae, moving(tmp_path / "cut.mp4", frames, 25), bucket).shape[1] == 5
    assert "--fps 25" in told.value.remedy
    assert encode_clip(vae, short, replace(bucket, fps=25.0)).shape[1] == 5
    fewer = int(told.value.remedy.split("--frames ")[1].split(";")[0])
    assert encode_clip(vae, short, replace(bucket, frames=fewer)).shape[1] == (fewer - 1) // 8 + 1
