"""Networks that cut out: a part that a close look dropped comes back; a user's network is one option."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from castsheet.errors import DependencyError, ImageError
from castsheet.sheet.look.matting import cut_out
from castsheet.sheet.look.overlooked import decided, restored
from castsheet.sheet.look.salience import NamedNetwork, _any_size
from castsheet.sheet.look.tools import Tools
from tests.doubles.onnx_file import convolution

SIDE = 200
BALL, EAR, HOLE = (60, 60, 140, 140), (100, 20, 130, 60), (90, 90, 110, 110)


def picture(ear: str = "navy") -> Image.Image:
    """A red ball with an ear on a meadow, and a hole through which the meadow shows."""
    meadow = np.random.default_rng(0).integers(0, 30, (SIDE, SIDE, 3)).astype(np.uint8)
    image = Image.fromarray(meadow + np.array((40, 150, 40), np.uint8))
    draw, behind = ImageDraw.Draw(image), image.copy()
    draw.rectangle(BALL, fill="firebrick")
    draw.rectangle(EAR, fill=ear)
    image.paste(behind.crop(HOLE), HOLE[:2])
    return image


def mask(*boxes: tuple[int, int, int, int]) -> np.ndarray:
    found = Image.new("L", (SIDE, SIDE))
    for box in boxes:
        ImageDraw.Draw(found).rectangle(box, fill=255)
    return np.asarray(found, np.float32) / 255


def test_a_dropped_part_comes_back_if_a_third_look_has_it() -> None:
    """Red: a dark ear, a leaf or the middle of a spool is lost, though two of three looks saw it."""
    whole = mask(BALL, EAR)
    found = restored(picture(), whole, mask(BALL), lambda: whole)
    assert float((found * mask(EAR)).sum()) > 0.95 * float(mask(EAR).sum())
    alone = restored(picture(), whole, mask(BALL), lambda: mask(BALL))
    assert np.array_equal(alone, mask(BALL))


def test_what_is_surely_the_persons_comes_back_without_a_third_look() -> None:
    """Red: bare legs that the close look dropped are lost, or a faint guess about them counts as sure."""

    def never() -> np.ndarray:
        raise AssertionError("asked for a third opinion")

    whole = mask(BALL, EAR)
    found = restored(picture(), whole, mask(BALL), never, whole)
    assert float((found * mask(EAR)).sum()) > 0.95 * float(mask(EAR).sum())
    faint = restored(picture(), whole, mask(BALL), lambda: mask(BALL), whole * 0.6)
    assert np.array_equal(faint, mask(BALL))


def test_where_the_close_look_is_unsure_glance_and_person_decide() -> None:
    """Red: dark hair before dark trees is half transparent, or tables at the picture's edge join the body."""
    whole, unsure = mask(BALL, EAR), np.maximum(mask(BALL), 0.4 * mask(EAR))
    found = decided(picture(ear="darkgreen"), whole, unsure, whole)
    assert float(found[24:56, 104:126].min()) > 0.9
    assert np.array_equal(decided(picture(), whole, unsure, mask(BALL)), unsure)
    assert np.array_equal(decided(picture(), mask(BALL), unsure, whole), unsure)
    table = (60, 150, 140, 199)
    edge, joint = np.maximum(mask(BALL), 0.4 * mask(table)), mask(BALL, table)
    assert np.array_equal(decided(picture(), joint, edge, joint), edge)


def test_a_hole_stays_a_hole_and_costs_no_third_look() -> None:
    """Red: the ground between spokes is filled, or each picture pays for a third look."""

    def never() -> np.ndarray:
        raise AssertionError("asked for a third opinion")

    ring = mask(BALL) - mask(HOLE)
    assert np.array_equal(restored(picture(), mask(BALL), ring, never), ring)
    assert np.array_equal(restored(picture(), mask(BALL), mask(BALL), never), mask(BALL))


def bright(folder: Path, size: tuple[int, int] | None = (64, 64)) -> Path:
    """A network of BiRefNet's signature that takes what is bright for the subject."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "model.onnx"
    path.write_bytes(convolution((4.0, 4.0, 4.0), -6.0, size))
    told = {"image_mean": [0, 0, 0], "image_std": [1, 1, 1], "size": {"width": 64, "height": 64}}
    (folder / "preprocessor_config.json").write_text(json.dumps(told))
    return path


def lamp(folder: Path) -> Path:
    """A white lamp in a dark room."""
    image = Image.new("RGB", (SIDE, SIDE), (30, 40, 50))
    ImageDraw.Draw(image).rectangle(BALL, fill=(250, 250, 240))
    image.save(folder / "lamp.png")
    return folder / "lamp.png"


def test_a_network_of_the_users_cuts_out(tmp_path: Path) -> None:
    """Red: a better network that a user has as a file, with fixed or free sides, cannot be used."""
    pytest.importorskip("onnxruntime")
    for size in ((64, 64), None):
        model = bright(tmp_path / str(size), size)
        cut = cut_out(lamp(tmp_path), quality=str(model))
        solid = Image.new("L", (SIDE, SIDE))
        assert cut.window is not None
        solid.paste(cut.image.getchannel("A"), (cut.window.x, cut.window.y))
        assert float(np.abs(np.asarray(solid, np.float32) / 255 - mask(BALL)).mean()) < 0.02
        assert cut.method == str(model)
    told, *beside = Tools(cut=str(model)).name.split()
    assert told == str(model)
    assert set(beside) <= {"pose_landmark_full.tflite", "litert"}  # what knows people has a say, where it is


def test_a_network_is_had_by_its_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Red: `--cut OWNER/NAME` does not find the file that the hub's cache holds."""
    pytest.importorskip("onnxruntime")
    constants = pytest.importorskip("huggingface_hub.constants")
    kept = tmp_path / "models--someone--BiRefNet"
    (kept / "refs").mkdir(parents=True)
    commit = "0" * 40
    (kept / "refs/main").write_text(commit)
    snapshot = kept / "snapshots" / commit
    bright(snapshot / "onnx")
    (snapshot / "onnx/preprocessor_config.json").rename(snapshot / "preprocessor_config.json")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    found = NamedNetwork("someone/BiRefNet").mask(Image.open(lamp(tmp_path)))
    assert found.shape == (64, 64)
    assert found[32, 32] > 0.9 > 0.1 > found[2, 2]
    with pytest.raises(DependencyError, match="could not be fetched"):
        NamedNetwork("someone/nothing")


def test_a_network_of_something_else_is_refused(tmp_path: Path) -> None:
    """Red: a text file or a network of other inputs ends in a traceback."""
    pytest.importorskip("onnxruntime")
    (tmp_path / "text.onnx").write_text("hello")
    with pytest.raises(ImageError, match="not a network"):
        NamedNetwork(str(tmp_path / "text.onnx"))


def test_a_network_of_fixed_sides_takes_others_when_it_is_told_to() -> None:
    """Red: the finder looks at 320 px and takes three times as long, or the file is damaged on the way."""
    fixed = convolution((1.0, 2.0, 3.0), -1.0, (320, 320))
    free = _any_size(fixed)
    assert len(free) == len(fixed)
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(free)
    small = session.run(None, {"picture": np.ones((1, 3, 12, 10), np.float32)})[0]
    assert small.shape == (1, 1, 12, 10)
    assert np.allclose(small, 5)
