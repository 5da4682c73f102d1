"""Sheets and first pictures as latents: the one-frame encode is exact; token order, positions, refusals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from castsheet.errors import ImageError, SettingsError
from castsheet.ltx.latents import (
    Grid,
    encode_still,
    make_reference,
    patchify,
    reference_size,
    to_frames,
    to_pixels,
    unpatchify,
)
from castsheet.ltx.parts.vae import VideoVAE
from castsheet.sampling.first_frame import read_picture, recompress
from mini.official import set_statistics
from tests.doubles.tiny_bundle import CHANNELS, tiny_sheet, vae_config


@pytest.fixture(scope="module")
def vae() -> VideoVAE:
    torch.manual_seed(1)
    vae = VideoVAE(vae_config()).eval().requires_grad_(False)
    set_statistics(vae, torch.linspace(-1, 1, CHANNELS), torch.linspace(0.5, 2, CHANNELS))
    return vae


def image(width: int = 64, height: int = 32) -> torch.Tensor:
    return to_pixels(tiny_sheet(5, width, height).image)


@pytest.mark.parametrize("frames", [1, 9, 25])
def test_one_frame_repeated_is_the_whole_video(frames):
    """Red: the sheet's latent is not what the official code gets from encoding a video of the still sheet."""
    torch.manual_seed(1)
    exact = VideoVAE(vae_config()).double().eval()
    still = image().double()
    video = still[:, :, None].expand(-1, -1, frames, -1, -1)
    with torch.no_grad():
        whole, repeated = exact.encode(video), encode_still(exact, still, (frames - 1) // 8 + 1)
    assert whole.shape == repeated.shape
    # Equal but for the order in which a convolution sums.
    assert (whole - repeated).abs().max() <= 1e-12


def test_a_video_begins_with_its_first_picture(vae):
    """Red: a given first frame is not what the encoder makes of a video's first frame."""
    moving = torch.randn(1, 3, 9, 32, 64, generator=torch.Generator().manual_seed(2)).clamp(-1, 1)
    with torch.no_grad():
        first, still = vae.encode(moving)[:, :, :1], encode_still(vae, moving[:, :, 0], 1)
    assert torch.allclose(first, still, atol=1e-5)


@settings(max_examples=50, deadline=None)
@given(
    batch=st.integers(1, 2),
    c=st.integers(1, 5),
    f=st.integers(1, 4),
    h=st.integers(1, 5),
    w=st.integers(1, 5),
)
def test_token_order_is_frame_row_column(batch, c, f, h, w):
    """Red: tokens and positions are numbered differently, and the picture is scrambled."""
    latents = torch.randn(batch, c, f, h, w)
    tokens = patchify(latents)
    assert tokens.shape == (batch, f * h * w, c)
    assert torch.equal(tokens[:, ((f - 1) * h + h - 1) * w + w - 1], latents[:, :, -1, -1, -1])
    assert torch.equal(tokens[:, (h - 1) * w], latents[:, :, 0, h - 1, 0])
    assert torch.equal(unpatchify(tokens, f, h, w), latents)


def test_reference_has_the_clips_positions(vae):
    """Red: the appended tokens lie elsewhere than the clip's own, unlike in training."""
    grid = Grid.of(vae.config, width=64, height=32, frames=17, fps=24.0)
    reference = make_reference(vae, image(), grid)
    assert (grid.frames, grid.height, grid.width, grid.tokens, grid.frame_tokens) == (3, 2, 4, 24, 8)
    assert reference.tokens_BTC.shape == (1, 24, CHANNELS)
    assert torch.equal(reference.bounds_AT2, grid.bounds())
    assert torch.equal(reference.tokens_BTC[:, :8], reference.tokens_BTC[:, 16:])
    assert grid.bounds()[0, 0].tolist() == [0.0, pytest.approx(1 / 24)]
    assert grid.bounds()[1:, -1].tolist() == [[16.0, 32.0], [48.0, 64.0]]


def test_downscaled_reference_spans_the_clip(vae):
    """Red: an adapter trained on half-size sheets sees its sheet in one corner of the clip."""
    grid = Grid.of(vae.config, width=64, height=32, frames=17, fps=24.0)
    assert reference_size(grid, 2) == (32, 16)
    reference = make_reference(vae, image(32, 16), grid, downscale=2, strength=0.5)
    assert reference.tokens_BTC.shape == (1, 6, CHANNELS)
    assert reference.bounds_AT2[1].tolist() == [[0.0, 32.0]] * 6
    assert reference.bounds_AT2[2, :2].tolist() == [[0.0, 32.0], [32.0, 64.0]]
    assert torch.equal(reference.bounds_AT2[0, ::2], grid.bounds()[0, ::8])
    assert reference.strength == 0.5


@pytest.mark.parametrize(
    ("size", "remedy"),
    [
        ({"width": 72}, "width 64 or 80"),
        ({"height": 8}, "height 16 or 16"),
        ({"frames": 18}, "17 or 25 frames"),
        ({"frames": 120}, "113 or 121 frames"),
    ],
)
def test_sizes_the_vae_cannot_make(vae, size, remedy):
    """Red: a size fails deep in the model, or the factors of the real VAE (32, 8) are assumed."""
    with pytest.raises(SettingsError) as raised:
        Grid.of(vae.config, **{"width": 64, "height": 32, "frames": 17, "fps": 24.0, **size})
    assert remedy in raised.value.remedy


def test_reference_size_must_divide(vae):
    """Red: a half-size sheet is cropped silently to whole cells and shifts against the clip."""
    with pytest.raises(SettingsError, match="multiples of 32"):
        reference_size(Grid.of(vae.config, width=80, height=32, frames=17, fps=24.0), 2)


def test_pixels_and_back():
    """Red: colours shift between an image, the VAE's range and the clip's bytes."""
    picture = tiny_sheet(6, 64, 32).image
    pixels = to_pixels(picture)
    assert pixels.shape == (1, 3, 32, 64)
    assert pixels.abs().max() <= 1
    assert np.array_equal(to_frames(pixels[:, :, None])[0], np.asarray(picture))
    wild = torch.tensor([-9.0, -1.0, 1.0, 9.0]).view(1, 1, 1, 1, 4).expand(1, 3, 2, 1, 4)
    assert to_frames(wild)[1, 0, :, 0].tolist() == [0, 0, 255, 255]


def test_first_picture_is_read_on_black(vae, tmp_path):
    """Red: a transparent first picture shows the garbage under its transparency, or is of the wrong size."""
    Image.new("RGBA", (128, 64), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    grid = Grid.of(vae.config, width=64, height=32, frames=9, fps=24.0)
    picture = read_picture(tmp_path / "clear.png", grid)
    assert picture.size == (64, 32)
    assert not np.asarray(picture).any()
    assert np.asarray(read_picture(Image.new("RGB", (90, 90), "white"), grid)).min() == 255
    with pytest.raises(ImageError):
        read_picture(tmp_path / "absent.png", grid)
    with pytest.raises(SettingsError, match="9 frames"):
        read_picture(tmp_path / "clear.png", Grid.of(vae.config, width=64, height=32, frames=1, fps=24.0))


def test_recompression_is_that_of_a_video():
    """Red: a first frame stays clean, loses its colours, suffers more from a finer factor, or varies."""
    picture = tiny_sheet(7, 192, 112).image.resize((192, 112), Image.Resampling.BICUBIC)
    smooth = picture.resize((24, 14), Image.Resampling.BOX).resize((193, 113), Image.Resampling.BICUBIC)
    assert recompress(smooth, 0) is smooth
    before = np.asarray(smooth, dtype=int)[:112, :192]
    errors = []
    for crf in (10, 33, 45):
        after = recompress(smooth, crf)
        assert after.size == (192, 112)
        assert after.tobytes() == recompress(smooth, crf).tobytes()
        errors.append(float(np.abs(np.asarray(after, dtype=int) - before).mean()))
        assert np.abs(np.asarray(after).mean((0, 1)) - before.mean((0, 1))).max() < 2
    assert 0 < errors[0] < errors[1] < errors[2] < 20


def test_a_picture_that_no_video_can_hold():
    """Red: an enormous first frame ends in the encoder's traceback."""
    with pytest.raises(ImageError, match=r"H\.264") as caught:
        recompress(Image.new("RGB", (40000, 16)), 33)
    assert "first_frame_crf" in caught.value.remedy
