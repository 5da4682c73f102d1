"""What mini's base is taught beside the pictures: which element words name and tokens show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from castsheet.machine.processes import World
from castsheet.sheet.box import Box
from castsheet.sheet.manifest import ElementNote, Panel, Sheet
from mini.data.latents import LONGEST
from mini.data.naming import NOBODY
from mini.data.showing import Showing, in_clip, on_sheet
from mini.story.look import PARTS
from mini.training.optimise import Budget
from mini.training.train_flow import Models
from mini.training.train_words import Words, moved, train_words
from mini.training.watched import LISTENED, Readers

TOKENIZER = Path(__file__).parents[2] / "mini" / "second" / "weights" / "tokenizer"
CELLS = (2, 1, 3)  # latent frames, rows, columns


def test_tokens_show_who_covers_them() -> None:
    """Red: mini is taught that a token shows somebody else, or that a figure's edge shows the place."""
    regions = torch.zeros(9, 32, 96, dtype=torch.uint8)
    regions[:, :, :20] = 1 + 5  # the first figure covers most of the first cell
    regions[1:, :, 32:36] = 1 + 5  # and later a little of the second
    regions[1:, :, 64:] = 1 + PARTS + 2  # where the second figure stands then
    shown = in_clip(regions, 3, CELLS).view(CELLS)
    assert shown.tolist() == [[[0, 2, 2]], [[0, NOBODY, 1]]]
    assert in_clip(torch.zeros_like(regions), 1, CELLS).eq(0).all()


def test_cells_show_the_panel_that_covers_them() -> None:
    """Red: mini is taught that a panel shows another element than the prompt's list says."""
    notes = (
        ElementNote("ada", "character", "a person"),
        ElementNote("left out", "prop", "a thing"),
        ElementNote("place", "location", "the place"),
    )
    panels = (
        Panel("place", "location", "place", Box(128, 0, 64, 64)),
        Panel("ada", "character", "face", Box(4, 0, 50, 60)),
    )
    told = on_sheet(Sheet(Image.new("RGB", (192, 64)), panels, notes), (1, 3))
    assert told.dtype == np.uint8
    assert told.view(np.int8).tolist() == [[0, NOBODY, 1]]


def test_one_reader_learns_what_tokens_show() -> None:
    """Red: tokens that show nobody are learnt from, or the reader's loss does not go down."""
    torch.manual_seed(0)
    reader, tokens = Showing(8), torch.randn(2, 6, 8)
    shown = torch.full((2, 6), NOBODY, dtype=torch.int8)
    assert reader.loss(tokens, shown) == 0
    shown[0, 1], shown[0, 2], shown[1, 5] = 0, 1, 2
    optimiser = torch.optim.Adam(reader.parameters(), 0.1)
    for _ in range(60):
        optimiser.zero_grad()
        reader.loss(tokens, shown, torch.ones(2, 6)).backward()
        optimiser.step()
    assert reader.share(tokens, shown, (0, 1)) == 1
    before = reader.loss(tokens, shown)
    tokens[1, :5] = 7.0
    assert reader.loss(tokens, shown) == before


@pytest.fixture(scope="module")
def models() -> Models:
    """The second edition's models, newly made."""
    torch.manual_seed(0)
    return Models.build(TOKENIZER, "cpu")


def test_readers_hear_the_blocks_they_listen_to(models: Models) -> None:
    """Red: a reader listens to another block than its own, or to a clip that has passed."""
    readers = Readers.of(models.transformer)
    assert len(readers.showing) == len(LISTENED)
    assert sum("showing" in name for name, _ in readers.named_parameters()) == 2 * len(LISTENED)
    assert models.transformer.said is None
    assert models.transformer.hear() == []
    assert models.transformer.said == []
    models.transformer.said = None


def test_a_text_encoder_is_taught_by_words_alone(models: Models) -> None:
    """Red: the words' stage leaves the text encoder as it was, touches the denoiser, or lets contexts go."""
    told = [
        f"Reference sheet: {one}: a person; {two}: a person\n\nGenerated video: {two} waves, {one} walks."
        for one, two in (("ada", "tom"), ("zoe", "kim"), ("tom", "zoe"), ("kim", "ada"))
    ]
    words = Words.of([*told, "worst quality"], models.gemma)
    assert len(words) == len(told)  # what names nobody teaches nothing
    assert words.prompts.shape == (4, LONGEST)
    denoiser = [p.detach().clone() for p in models.transformer.parameters()]
    encoder = [p.detach().clone() for p in models.gemma.model.parameters()]
    lines: list[str] = []
    where = World(0, 1, torch.device("cpu"))
    train_words(models, words, Budget(2), batch=2, where=where, log=lines.append, unseen=1)
    assert all(map(torch.equal, denoiser, models.transformer.parameters()))
    assert not all(map(torch.equal, encoder, models.gemma.model.parameters()))
    assert "unseen prompts" in lines[-1]
    now, before = torch.ones(1, 2, 3), torch.full((1, 2, 3), 2.0)
    assert moved(now, before) == 0.25
