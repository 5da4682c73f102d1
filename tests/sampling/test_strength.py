"""Strength an element: from panels to tokens."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from castsheet.errors import SettingsError, SheetError
from castsheet.sampling.strength import cell_strengths, token_bias
from castsheet.settings import Settings
from castsheet.settings.kinds import described
from castsheet.sheet.box import Box
from castsheet.sheet.manifest import ElementNote, Panel, Sheet

STRENGTH = described(Settings)["strength"].kind
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
    assert STRENGTH.from_option("hero=1.2, bag=0.7") == {"hero": 1.2, "bag": 0.7}


@pytest.mark.parametrize(
    "item", ["hero", "hero=", "=2", "hero=x", "hero=0", "hero=-1", "hero=nan", "hero=11"]
)
def test_strengths_that_mean_nothing_are_refused(item: str) -> None:
    """Red: a typo turns an element off or crashes with a traceback."""
    with pytest.raises(SettingsError, match="strength"):
        STRENGTH.from_option(item)


def test_a_strength_given_twice_is_refused() -> None:
    """Red: which of two strengths counts is left to chance."""
    with pytest.raises(SettingsError, match="twice"):
        STRENGTH.from_option("hero=1 hero=2")
