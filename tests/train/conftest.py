"""A tiny model and its data, and a table of clips, sheets and captions, as `castsheet encode` reads it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from castsheet.media.encoding import encode as encode_video
from castsheet.sheet.box import Box
from castsheet.sheet.manifest import ElementNote, Panel, Sheet
from tests.doubles import train_tiny as tiny
from tests.doubles.tiny_bundle import HEIGHT, WIDTH, tiny_sheet


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A tiny random model."""
    return tiny.build_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A tiny data set."""
    return tiny.build_data(tmp_path_factory.mktemp("data") / "set")


def panelled() -> Sheet:
    """A sheet of two coloured panels on black."""
    image = Image.new("RGB", (128, 64))
    image.paste((200, 0, 0), (4, 4, 60, 60))
    image.paste((0, 0, 200), (70, 10, 120, 60))
    notes = (ElementNote("hero", "character", "hero in red"), ElementNote("ball", "prop", "a blue ball"))
    panels = (
        Panel("hero", "character", "face", Box(4, 4, 56, 56)),
        Panel("ball", "prop", "product", Box(70, 10, 50, 50)),
    )
    return Sheet(image, panels, notes, (WIDTH, HEIGHT))


@pytest.fixture
def table(tmp_path) -> Path:
    """Three clips with sheets: a manifest, a bare picture, and a looped video of a picture."""
    random = np.random.default_rng(0)
    (tmp_path / "raw").mkdir()
    panelled().save(tmp_path / "raw" / "sheet.png")
    tiny_sheet().image.save(tmp_path / "raw" / "bare.png")
    flat = np.full((9, HEIGHT, WIDTH, 3), 90, np.uint8)
    encode_video(tmp_path / "raw" / "loop.mp4", flat, 24.0)
    rows = []
    for number, sheet in enumerate(("sheet.png", "bare.png", "loop.mp4")):
        frames = random.integers(0, 256, (40, HEIGHT + 8, WIDTH, 3)).astype(np.uint8)
        encode_video(tmp_path / "raw" / f"{number}.mp4", frames, 48.0)
        rows.append({"video": f"raw/{number}.mp4", "sheet": f"raw/{sheet}", "caption": "hero walks left"})
    (tmp_path / "table.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path / "table.jsonl"
