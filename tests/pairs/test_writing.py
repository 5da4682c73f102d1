"""Letters over a picture, and grass that looks like letters to a rule."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from castsheet.media.encoding import encode
from castsheet.pairs import tools
from castsheet.pairs.eyes import Eyes
from castsheet.pairs.films import Source, opened
from castsheet.pairs.quality import ROLLS, fault_of, lettered, measured, sifted
from castsheet.pairs.records import Clips, Film, Reject, Window
from castsheet.pairs.repeats import Footage
from castsheet.pairs.scan import watch_shot
from castsheet.sheet.box import Box
from castsheet.sheet.look.ocr import TextLine

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
        fault = fault_of(one, one.sharp)
        assert (fault.rule if fault else None) == rule, (name, one.words)
        if name == "title":
            assert "were" in fault.value


@pytest.mark.parametrize("pace", [0.75, -2, 4])
def test_credits_that_roll_are_writing(pace):
    """Red: clips of credits become pairs, because no stroke of their letters stands still."""
    film = np.repeat(_grass()[None] // 2 + 60, 25, 0)
    credits = Image.new("RGB", (384, 480))
    for row in range(0, 480, 40):
        ImageDraw.Draw(credits).text(
            (100, row), "Directed by Ann", font=ImageFont.load_default(18), fill="white"
        )
    letters = np.asarray(credits)
    for k in range(25):
        top = 120 + round(pace * k)
        film[k, :130] = np.maximum(film[k, :130], letters[top : top + 130])
    window = measured("one-0000", 0, tuple(range(25)), film)
    assert window.rolls > ROLLS
    assert lettered(window)


def test_a_walk_past_railings_is_no_writing_that_rolls():
    """Red: what stands still, or moves to one side, is read as credits."""
    wide = np.tile(_grass(), (1, 2, 1))
    film = np.stack([wide[:, 3 * k : 3 * k + 384] for k in range(25)])
    assert measured("one-0000", 0, tuple(range(25)), film).rolls == 0
    assert measured("one-0000", 0, tuple(range(25)), np.repeat(_grass()[None], 25, 0)).rolls == 0


class PaperReader:
    """Reads the width of a picture."""

    def read(self, image):
        return (TextLine(f"{image.width} px", 1.0, Box(0, 0, 9, 9)),)


def test_pictures_of_a_small_film_are_enlarged_for_the_reader(tmp_path, monkeypatch):
    """Red: of a small film nobody can read the captions, and its clips become pairs."""
    monkeypatch.setitem(tools.READERS, "paper", PaperReader)
    assert _window(tmp_path / "small.mp4", _titled(_grass()), "paper").words == "768 px"


def test_a_rule_of_quality_goes_before_a_change_of_people():
    """Red: a blurred clip is told to hold a transition, or a window that holds one becomes a pair."""
    fine = Window("one-0000", 0, (0, 1), 5.0, 10.0, 0.0, 0.0, (120.0, 40.0))
    alike = [replace(fine, number=number) for number in (1, 2)]
    blurred = replace(fine, number=3, sharp=1.0)
    changed = {one.id: Reject(one.id, "R37", "frame 7") for one in (fine, blurred)}
    footage = Footage(np.zeros((2, 9, 16), np.uint8), {"one-0000": (0, 2)})
    kept, left_out = sifted([fine, *alike, blurred], footage, changed, 0.0)
    assert kept == alike
    assert [(one.unit, one.rule) for one in left_out] == [("one-0000w0", "R37"), ("one-0000w3", "R31")]
