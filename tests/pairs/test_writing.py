"""Letters over a picture, and grass that looks like letters to a rule."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from castsheet.media.encoding import encode
from castsheet.pairs.eyes import Eyes
from castsheet.pairs.films import Source, opened
from castsheet.pairs.quality import fault_of, lettered
from castsheet.pairs.records import Clips, Film, Window
from castsheet.pairs.scan import watch_shot

CLIPS = Clips(384, 224, 25, 24.0)
FRAMES = 40


def _grass():
    """Thin upright blades, light and dark."""
    random = np.random.default_rng(7)
    picture = np.full((224, 384, 3), (90, 130, 70), np.uint8)
    for x in range(0, 384, 4):
        tall = int(random.integers(20, 70))
        picture[224 - tall :, x : x + 2] = (200, 230, 160) if random.random() < 0.5 else (20, 50, 10)
    return picture


def _titled(picture):
    image = Image.fromarray(picture)
    font = ImageFont.load_default(20)
    ImageDraw.Draw(image).text(
        (192, 100),
        "Where were you?",
        font=font,
        fill=(255, 255, 255),
        stroke_width=1,
        stroke_fill=(0, 0, 0),
        anchor="mm",
    )
    return np.asarray(image)


def _window(path, picture, reader) -> Window:
    frames = np.repeat(picture[None], FRAMES, 0).copy()
    for k in range(FRAMES):
        frames[k, 5:85, 6 * k : 6 * k + 20] = (220, 30, 30)  # somebody passes
    encode(path, frames, 24.0, crf=12)
    film = opened(Source(path, "one", "CC0-1.0", "", "", "synthetic", False), CLIPS.size)
    assert isinstance(film, Film)
    times = np.arange(FRAMES) / 24.0
    made = watch_shot(film, "one-0000", [0, FRAMES], times, CLIPS, None, None, Eyes(reader=reader))
    (one,) = made.values["windows"]
    return Window(**{**one, "luma": tuple(one["luma"])})


def test_grass_is_no_writing_where_a_reader_reads_nothing(tmp_path):
    """Red: films with grass lose their clips, or clips with titles become pairs."""
    pytest.importorskip("rapidocr")
    for name, picture, reader, rule in (
        ("bare", _grass(), "none", "R34"),
        ("grass", _grass(), "rapidocr", None),
        ("title", _titled(_grass()), "rapidocr", "R34"),
    ):
        one = _window(tmp_path / f"{name}.mp4", picture, reader)
        assert lettered(one)
        fault = fault_of(one, one.sharp, [])
        assert (fault.rule if fault else None) == rule, (name, one.words)
        if name == "title":
            assert "were" in fault.value
