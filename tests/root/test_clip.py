"""Clips on disk: video, contact sheet, sidecar; whole or absent."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from castsheet.clip import Clip, clip_files, read_video
from castsheet.errors import CastsheetError, ImageError, NumericsError, OutputError, SettingsError
from castsheet.machine.files import sha256
from castsheet.media import provenance
from castsheet.media.contact import BACKGROUND, contact_sheet, frame_indices

SRC = Path(__file__).parents[2] / "src"
COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (224, 172, 140), (60, 36, 28), (128, 128, 128))


def _bars(frames: int = 9, width: int = 192, height: int = 112) -> np.ndarray:
    """Vertical bars of known colours that move one bar a frame."""
    image = np.zeros((frames, height, width, 3), np.uint8)
    step = width // len(COLOURS)
    for f in range(frames):
        for b in range(len(COLOURS)):
            image[f, :, b * step : (b + 1) * step] = COLOURS[(b + f) % len(COLOURS)]
    return image


def _tone(seconds: float, rate: int) -> np.ndarray:
    t = np.arange(round(seconds * rate)) / rate
    return np.stack([np.sin(2 * np.pi * 440 * t), np.sin(2 * np.pi * 880 * t)], -1).astype(np.float32) * 0.5


def test_frames_come_back_with_their_colours(tmp_path):
    """Red: skin tones shift between what the model made and what a player (or the judge) sees: a wrong
    matrix or range, channels swapped, or frames dropped."""
    frames = _bars(9)
    files = Clip(frames, 24.0).save(tmp_path / "bars.mp4")
    back, fps = read_video(files.video)
    assert back.shape == frames.shape
    assert fps == 24.0
    centres = slice(16, None, 32)
    difference = np.abs(back[:, 56, centres].astype(int) - frames[:, 56, centres])
    assert difference.max() <= 4
    with av.open(str(files.video)) as container:
        context = container.streams.video[0].codec_context
        assert (context.pix_fmt, int(context.colorspace), int(context.color_range)) == ("yuv420p", 1, 1)


def test_equal_frames_make_equal_files(tmp_path):
    """Red: the same seed on the same machine no longer gives the same bytes, so hashes prove nothing."""
    frames, tone = _bars(25), _tone(1.0, 48000)
    for name in ("a", "b"):
        Clip(frames, 24.0, tone, 48000).save(tmp_path / f"{name}.mp4")
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
    assert (tmp_path / "a.contact.png").read_bytes() == (tmp_path / "b.contact.png").read_bytes()


def test_no_byte_comes_from_memory_that_nobody_wrote(tmp_path):
    """Red: equal frames give other files in another process, as x264's macroblock tree did."""
    program = (
        "import sys\nfrom pathlib import Path\nimport numpy as np\n"
        "from castsheet.media.encoding import encode\n"
        "rng = np.random.default_rng(0)\n"
        "blocks = rng.integers(0, 256, (17, 14, 24, 3), dtype=np.uint8)\n"
        "encode(Path(sys.argv[1]), blocks.repeat(8, 1).repeat(8, 2), 24.0)\n"
    )
    for fill in ("85", "170"):
        # glibc fills fresh memory with this value.
        environment = {**os.environ, "PYTHONPATH": str(SRC), "MALLOC_PERTURB_": fill}
        command = [sys.executable, "-c", program, str(tmp_path / f"{fill}.mp4")]
        subprocess.run(command, env=environment, check=True, timeout=300)
    assert (tmp_path / "85.mp4").read_bytes() == (tmp_path / "170.mp4").read_bytes()


def test_the_index_stands_before_the_frames(tmp_path):
    """Red: a browser must fetch the whole file before it can show the first frame."""
    data = Clip(_bars(), 24.0).save(tmp_path / "a.mp4").video.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


@pytest.mark.parametrize("rate", [16000, 48000])
def test_sound_is_kept(tmp_path, rate):
    """Red: sound is lost, runs at another speed, or its channels are swapped."""
    files = Clip(_bars(25), 25.0, _tone(1.0, rate), rate).save(tmp_path / "tone.mp4")
    with av.open(str(files.video)) as container:
        stream = container.streams.audio[0]
        assert (stream.rate, stream.layout.name) == (rate, "stereo")
        sound = np.concatenate([frame.to_ndarray() for frame in container.decode(stream)], axis=1)
    middle = sound[:, rate // 4 : rate // 4 + rate // 2]
    peaks = np.abs(np.fft.rfft(middle, axis=1)).argmax(axis=1) * 2
    assert list(peaks) == [440, 880]
    assert 0.3 < np.abs(middle).max() < 0.7


@pytest.mark.parametrize("fps", [12.0, 23.976, 24000 / 1001, 30.0])
def test_frame_rates_are_kept(tmp_path, fps):
    """Red: clips at film or broadcast rates play too fast or too slow."""
    files = Clip(_bars(3), fps).save(tmp_path / "a.mp4")
    assert read_video(files.video)[1] == pytest.approx(fps, abs=1e-4)


def test_the_sidecar_says_what_made_the_clip(tmp_path):
    """Red: a clip cannot be traced to its settings, or a value that JSON lacks destroys a finished run."""

    @dataclass(frozen=True)
    class Recipe:
        steps: int
        sigmas: tuple[float, ...]

    told = {
        "seed": np.int64(7),
        "recipe": Recipe(8, (1.0, 0.5, 0.0)),
        "file": Path("a/b.safetensors"),
        "loss": float("nan"),
        "blocks": {3, 1, 2},
        "array": np.array([1.5, np.inf]),
    }
    files = Clip(_bars(), 24.0, provenance=told).save(tmp_path / "a.mp4")
    assert files == clip_files(tmp_path / "a.mp4")
    side = json.loads(files.sidecar.read_text())
    assert side["version"] == 1
    assert side["video"]["sha256"] == sha256(files.video)
    assert side["video"]["frames_sha256"] == provenance.pixels_sha256(_bars())
    assert (side["video"]["width"], side["video"]["height"], side["video"]["frames"]) == (192, 112, 9)
    assert side["provenance"] == {
        "seed": 7,
        "recipe": {"steps": 8, "sigmas": [1.0, 0.5, 0.0]},
        "file": "a/b.safetensors",
        "loss": None,
        "blocks": [1, 2, 3],
        "array": [1.5, None],
    }
    assert side["software"]["av"] == av.__version__


@pytest.mark.parametrize(
    ("frames", "fps", "audio", "rate", "kind"),
    [
        (_bars(2)[:, :1], 24.0, None, None, SettingsError),
        (_bars(2).astype(np.float32), 24.0, None, None, SettingsError),
        (_bars(2)[:0], 24.0, None, None, SettingsError),
        (_bars(2)[0], 24.0, None, None, SettingsError),
        (_bars(2), 0.0, None, None, SettingsError),
        (_bars(2), float("nan"), None, None, SettingsError),
        (_bars(2), 24.0, _tone(0.1, 16000), None, SettingsError),
        (_bars(2), 24.0, _tone(0.1, 16000), 12345, SettingsError),
        (_bars(2), 24.0, _tone(0.1, 16000)[:, :1], 16000, SettingsError),
        (_bars(2), 24.0, np.full((100, 2), np.nan, np.float32), 16000, NumericsError),
    ],
)
def test_what_cannot_be_written_is_refused_at_once(frames, fps, audio, rate, kind):
    """Red: a clip that no encoder takes is noticed only while it is written, or written damaged."""
    with pytest.raises(kind):
        Clip(frames, fps, audio, rate)


@pytest.mark.parametrize("name", ["clip.gif", "clip", "folder.mp4"])
def test_a_useless_path_leaves_nothing(tmp_path, name):
    """Red: a path that cannot be written ends in a traceback, or leaves parts behind."""
    (tmp_path / "folder.mp4").mkdir()
    clip = Clip(_bars(2), 24.0)
    with pytest.raises(OutputError):
        clip.save(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["folder.mp4"]


@pytest.mark.parametrize("taken", ["a.contact.png", "a.clip.json"])
def test_all_three_or_none(tmp_path, taken):
    """Red: when one part cannot be written, the others are left, and look like a finished clip."""
    (tmp_path / taken).mkdir()
    with pytest.raises(OutputError):
        Clip(_bars(2), 24.0).save(tmp_path / "a.mp4")
    assert [path.name for path in tmp_path.iterdir()] == [taken]


def test_a_full_disk_leaves_nothing(tmp_path):
    """Red: a disk that fills up during the encoding leaves half a video under the final name."""
    program = (
        "import resource, sys; import numpy as np; from castsheet.clip import Clip;"
        "from castsheet.errors import OutputError;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000));"
        "noise = np.random.default_rng(0).integers(0, 255, (25, 112, 192, 3), np.uint8)\n"
        "try:\n    Clip(noise, 24.0).save(sys.argv[1])\n"
        "except OutputError as error:\n    print(error.remedy)"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "a.mp4")]
    done = subprocess.run(
        command, env={"PYTHONPATH": str(SRC)}, capture_output=True, text=True, timeout=300, check=False
    )
    assert "ulimit -f" in done.stdout, done.stderr  # a limit of file sizes stands for the full disk
    assert list(tmp_path.iterdir()) == []


def test_an_old_clip_survives_a_failed_new_one(tmp_path):
    """Red: a failed run destroys the good clip that was there."""
    files = Clip(_bars(3), 24.0).save(tmp_path / "a.mp4")
    before = files.video.read_bytes()
    files.contact.unlink()
    files.contact.mkdir()
    with pytest.raises(OutputError):
        Clip(_bars(5), 24.0).save(tmp_path / "a.mp4")
    assert files.video.read_bytes() == before


@pytest.mark.parametrize("content", [None, b"", b"not a video", "cut"])
def test_unreadable_videos_are_named(tmp_path, content):
    """Red: the judge fails with the video library's traceback when a file is missing or damaged."""
    path = tmp_path / "x.mp4"
    if content == "cut":
        data = Clip(_bars(), 24.0).save(tmp_path / "a.mp4").video.read_bytes()
        content = data[:600]
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ImageError) as caught:
        read_video(path)
    assert "x.mp4" in caught.value.what


@given(frames=st.integers(1, 300), count=st.integers(1, 20))
@settings(max_examples=50, deadline=None)
def test_frames_are_evenly_chosen(frames, count):
    """Red: the contact sheet misses the clip's end, or shows one moment twice."""
    chosen = frame_indices(frames, count)
    assert len(chosen) == min(count, frames)
    assert chosen[0] == 0
    assert chosen == sorted(set(chosen))
    if count > 1:
        assert chosen[-1] == frames - 1
        steps = np.diff(chosen)
        assert frames == 1 or steps.max() - steps.min() <= 1


@pytest.mark.parametrize(("width", "height"), [(192, 112), (768, 448), (448, 768), (64, 64)])
def test_the_contact_sheet_shows_every_frame_unmarked(width, height):
    """Red: text covers the pictures, a picture is cut off, or cells overlap."""
    frames = np.full((121, height, width, 3), 255, np.uint8)
    sheet = Image.new("RGB", (2 * width, 2 * height), (255, 255, 255))
    notes = [("Action", "she walks " * 30), ("Seed", "1"), ("Model", "x" * 200)]
    picture = np.asarray(contact_sheet(frames, 24.0, sheet, notes=notes)).astype(int)
    white = (picture == 255).all(-1)
    # Text is never pure white, so rectangles of white are exactly the sheet and the frames.
    count = 10 if height > width else 9
    areas = _areas(white)
    assert len(areas) == count + 1
    assert Counter(areas).most_common(1)[0][1] >= count
    assert tuple(picture[2, 2]) == BACKGROUND
    assert (picture[-2, -2] == BACKGROUND).all()


def _areas(mask: np.ndarray) -> list[int]:
    """Areas of the solid rectangles in a mask, found by peeling them off in reading order."""
    rest, areas = mask.copy(), []
    while rest.any():
        y, x = np.argwhere(rest)[0]
        w = int(np.argmin(np.append(rest[y, x:], False)))
        h = int(np.argmin(np.append(rest[y:, x], False)))
        assert rest[y : y + h, x : x + w].all()
        rest[y : y + h, x : x + w] = False
        areas.append(w * h)
    return areas


def test_a_contact_sheet_without_a_sheet():
    """Red: a clip made without a sheet, or of a single frame, cannot be saved."""
    one = contact_sheet(_bars(1), 24.0)
    assert one.mode == "RGB"
    with_notes = contact_sheet(_bars(2), 24.0, notes=[("Seed", "1")])
    assert with_notes.width > one.width


def test_large_files_are_told_apart_by_their_header(tmp_path):
    """Red: hashing 46 GB delays every clip, or two different checkpoints get one record."""
    small = tmp_path / "small.bin"
    small.write_bytes(b"abc")
    assert provenance.file_record(small) == {"name": "small.bin", "bytes": 3, "sha256": sha256(small)}
    records = []
    for name, header in (("a", b"{}"), ("b", b"[]")):
        path = tmp_path / name
        with path.open("wb") as handle:
            handle.write(len(header).to_bytes(8, "little") + header)
            handle.truncate(provenance.WHOLE_FILE_LIMIT + 1)
        records.append(provenance.file_record(path))
    assert "sha256" not in records[0]
    assert records[0]["header_sha256"] != records[1]["header_sha256"]


def test_errors_carry_a_remedy():
    """Red: the command line prints an error without saying what to do."""
    with pytest.raises(CastsheetError) as caught:
        clip_files("walk.webm")
    assert "walk.mp4" in caught.value.remedy
