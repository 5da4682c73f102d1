"""How mini's training weighs a clip's spots, and which excerpts it learns from."""

from __future__ import annotations

import torch

from castsheet.ltx.model.config import TransformerConfig
from castsheet.ltx.model.dit import Transformer
from mini.data.emphasis import CAST_SHARE, MOST, shares, token_weights, weigh
from mini.data.latents import SHEET_TOKENS, TOKENS
from mini.data.windows import WINDOW
from mini.training.architecture import LATENT, config
from mini.training.positions import rope_tables
from mini.training.train_flow import excerpt, tokens_of


def test_a_small_part_weighs_as_much_as_a_large_one() -> None:
    """Red: shoes count by their area again, which is next to nothing."""
    regions = torch.zeros(2, 40, 40, dtype=torch.uint8)
    regions[:, :10] = 3  # a quarter of the clip
    regions[:, 30:32, :10] = 40  # an eightieth
    weights = weigh(regions[None], shares(regions)[None])[0]
    large, small = weights[:, :10] - (1 - CAST_SHARE), weights[:, 30:32, :10] - (1 - CAST_SHARE)
    torch.testing.assert_close(large.sum(), small.sum())
    torch.testing.assert_close(weights.mean(), torch.tensor(1.0))
    assert weights.min() == 1 - CAST_SHARE


def test_no_spot_outweighs_a_clip() -> None:
    """Red: a part that is seen on three pixels decides a step's gradient."""
    regions = torch.zeros(4, 50, 50, dtype=torch.uint8)
    regions[0, 0, :3] = 7
    assert shares(regions).max() == 1 - CAST_SHARE + CAST_SHARE * MOST


def test_tokens_weigh_what_their_pixels_weigh() -> None:
    """Red: weights sit at the wrong frames; the first latent frame holds one frame, the others eight."""
    weights = torch.zeros(1, 17, 32, 48)
    weights[0, 0, :16, :16] = 3.0
    weights[0, 9:, 16:, 32:] = 5.0
    tokens = token_weights(weights, (3, 2, 3)).view(3, 2, 3)
    expected = torch.zeros(3, 2, 3)
    expected[0, 0, 0], expected[2, 1, 2] = 3.0, 5.0
    torch.testing.assert_close(tokens, expected)


def test_an_excerpt_keeps_its_place_in_the_clip() -> None:
    """Red: excerpts are trained at other positions than the clips that are sampled later."""
    transformer = Transformer(TransformerConfig.from_dict(config()["transformer"]))
    tables = rope_tables(transformer.config, "cpu")
    frames = torch.arange(5, 5 + WINDOW)
    rows = tables.rows(tokens_of(frames))
    own = slice(5 * SHEET_TOKENS, (5 + WINDOW) * SHEET_TOKENS)
    assert torch.equal(rows.cos_HTD, tables.cos_HTD[:, own])
    assert torch.equal(tokens_of(frames), torch.arange(own.start, own.stop))
    assert torch.equal(tokens_of(excerpt(LATENT[0])), torch.arange(TOKENS))
    starts = {int(excerpt(WINDOW)[0]) for _ in range(400)}
    assert starts == set(range(LATENT[0] - WINDOW + 1))
