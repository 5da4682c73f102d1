"""Strength an element: from panels to tokens. And the sheet held in one latent frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lora_tiny import one_layer, saved
from model_doubles import MINI_VAE
from PIL import Image

from castsheet.errors import AdapterError, SettingsError, SheetError
from castsheet.ltx.lora import LoRA
from castsheet.ltx.vae import VideoVAE
from castsheet.reference import Grid, make_reference
from castsheet.sheet.manifest import Box, ElementNote, Panel, Sheet
from castsheet.still import METADATA, make_still, pick_kind
from castsheet.strength import cell_strengths, parse_strengths, token_bias

WHOLE = {"image": (1536, 896), "size": (768, 448), "cell": 32}


def test_cells_under_a_panel_take_its_strength() -> None:
    """Red: the strength of one element falls on another's picture."""
    panels = [(Box(0, 0, 512, 896), "hero"), (Box(528, 0, 1008, 448), "barn")]
    cells = cell_strengths(panels, {"hero": 1.2, "barn": 0.7}, **WHOLE)
    assert cells.shape == (14, 24)
    assert (cells[:, :8] == 1.2).all()
    assert (cells[:7, 8] == 0.7).all()  # three quarters of the cell beside the gutter
    assert (cells[:7, 9:] == 0.7).all()
    assert (cells[7:, 8:] == 1).all()


def test_a_cropped_sheet_moves_its_panels() -> None:
    """Red: on a sheet of another aspect ratio strengths land beside the panels."""
    # 1792 wide is cropped by 64 pixels at conditioning size on each side.
    cells = cell_strengths(
        [(Box(128, 0, 128, 896), "a")], {"a": 2.0}, image=(1792, 896), size=(768, 448), cell=32
    )
    assert (cells[:, :2] == 2).all()
    assert (cells[:, 2:] == 1).all()


@given(st.integers(0, 1400), st.integers(0, 800), st.integers(1, 600), st.integers(1, 600))
@settings(max_examples=50, deadline=None)
def test_cells_are_painted_by_covered_area(x: int, y: int, w: int, h: int) -> None:
    """Red: the rule at a panel's edge is not 'at least half of the cell'."""
    w, h = min(w, 1536 - x), min(h, 896 - y)
    cells = cell_strengths([(Box(x, y, w, h), "a")], {"a": 3.0}, **WHOLE)
    painted = np.zeros((896, 1536))
    painted[y : y + h, x : x + w] = 1
    share = painted.reshape(14, 64, 24, 64).mean(axis=(1, 3))
    assert np.array_equal(cells == 3, share >= 0.5)


def sheet() -> Sheet:
    panels = (
        Panel("hero", "character", "turnaround", Box(0, 0, 32, 32)),
        Panel("bag", "prop", "product", Box(32, 0, 32, 32)),
    )
    notes = (ElementNote("hero", "character", "a hero"), ElementNote("bag", "prop", "a bag"))
    return Sheet(Image.new("RGB", (64, 32)), panels, notes)


def test_tokens_of_every_latent_frame() -> None:
    """Red: only the first latent frame of the reference is weighed, or the clip's tokens are."""
    bias = token_bias(sheet(), {"bag": 2.0, "hero": 1.0}, size=(64, 32), cell=16, clip_tokens=5, frames=3)
    assert bias is not None
    log = float(np.log(np.float32(2)))
    frame = [0, 0, log, log] * 2
    torch.testing.assert_close(bias.weights_T, torch.tensor([0.0] * 5 + frame * 3))


def test_strength_one_is_no_bias() -> None:
    """Red: a run in which all strengths are 1 pays for a bias."""
    run = {"size": (64, 32), "cell": 16, "clip_tokens": 5, "frames": 1}
    assert token_bias(sheet(), {"bag": 1.0}, **run) is None
    assert token_bias(Sheet(Image.new("RGB", (64, 32))), {}, **run) is None


def test_strengths_without_an_element_are_refused() -> None:
    """Red: a misspelt name or a bare picture silently changes nothing."""
    run = {"size": (64, 32), "cell": 16, "clip_tokens": 5, "frames": 1}
    with pytest.raises(SettingsError, match="bagg") as caught:
        token_bias(sheet(), {"bagg": 2.0}, **run)
    assert "bag, hero" in caught.value.remedy
    with pytest.raises(SheetError, match="panels"):
        token_bias(Sheet(Image.new("RGB", (64, 32))), {"bag": 2.0}, **run)


def test_parsing_strengths() -> None:
    """Red: the command line's strengths are read as others."""
    assert parse_strengths(["hero=1.2", "bag=0.7"]) == {"hero": 1.2, "bag": 0.7}


@pytest.mark.parametrize(
    "item", ["hero", "hero=", "=2", "hero=x", "hero=0", "hero=-1", "hero=nan", "hero=11"]
)
def test_strengths_that_mean_nothing_are_refused(item: str) -> None:
    """Red: a typo turns an element off or crashes with a traceback."""
    with pytest.raises(SettingsError, match="strength"):
        parse_strengths([item])


def test_a_strength_given_twice_is_refused() -> None:
    """Red: which of two strengths counts is left to chance."""
    with pytest.raises(SettingsError, match="twice"):
        parse_strengths(["hero=1", "hero=2"])


# --- the sheet in one latent frame ---


def adapter(folder: Path, kind: str | None) -> LoRA:
    metadata = {} if kind is None else {METADATA: kind}
    return saved(folder / f"{kind}.safetensors", one_layer(), **metadata)


def test_the_adapter_decides_where_the_user_does_not(tmp_path: Path) -> None:
    """Red: an adapter trained on one frame is shown sixteen, or a published one is shown one."""
    assert pick_kind(None, []) == "video"
    assert pick_kind(None, [adapter(tmp_path, None)]) == "video"
    assert pick_kind(None, [adapter(tmp_path, "still")]) == "still"
    assert pick_kind(None, [adapter(tmp_path, "still"), adapter(tmp_path, None)]) == "still"
    with pytest.raises(AdapterError, match="different"):
        pick_kind(None, [adapter(tmp_path, "still"), adapter(tmp_path, "video")])


@pytest.mark.parametrize("trained", [None, "video"])
def test_still_is_refused_for_an_adapter_not_trained_so(tmp_path: Path, trained: str | None) -> None:
    """Red: a fast run without identity, and nobody says why."""
    lora = adapter(tmp_path, trained)
    with pytest.raises(AdapterError, match="still"):
        pick_kind("still", [lora])
    assert pick_kind("still", [lora], force=True) == "still"
    assert pick_kind("video", [lora]) == "video"


def test_video_is_refused_for_an_adapter_trained_on_stills(tmp_path: Path) -> None:
    """Red: the slow path is taken with an adapter that never saw it."""
    lora = adapter(tmp_path, "still")
    assert pick_kind("still", [lora, adapter(tmp_path, None)]) == "still"
    with pytest.raises(AdapterError, match="single frame"):
        pick_kind("video", [lora])
    assert pick_kind("video", [lora], force=True) == "video"


def test_garbled_metadata_is_refused(tmp_path: Path) -> None:
    """Red: an adapter whose training is unknown is taken for a published one."""
    with pytest.raises(AdapterError, match="stil"):
        pick_kind(None, [adapter(tmp_path, "stil")])


@torch.no_grad()
def test_a_still_is_the_first_frame_of_the_still_video() -> None:
    """Red: the one frame differs from the video's first in content or position."""
    torch.manual_seed(0)
    vae = VideoVAE(MINI_VAE).eval()
    grid = Grid.of(vae, width=2 * vae.spatial, height=vae.spatial, frames=2 * vae.temporal + 1, fps=24.0)
    image = torch.rand(1, 3, vae.spatial, 2 * vae.spatial) * 2 - 1
    still, video = make_still(vae, image, grid), make_reference(vae, image, grid)
    count = grid.frame_tokens
    assert still.tokens_BTC.shape[1] == count
    assert torch.equal(still.tokens_BTC, video.tokens_BTC[:, :count])
    assert torch.equal(still.bounds_AT2, video.bounds_AT2[:, :count])
    assert float(still.bounds_AT2[0].max()) == pytest.approx(1 / 24)
