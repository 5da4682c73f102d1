"""What mini's base is taught beside the pictures: which element words name and tokens show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from castsheet.ltx.model.dit import Stream
from castsheet.ltx.model.sequence import Sequence
from castsheet.machine.processes import World
from castsheet.sheet.box import Box
from castsheet.sheet.manifest import ElementNote, Panel, Sheet
from mini.data.latents import LONGEST, TOKENS
from mini.data.naming import NOBODY
from mini.data.showing import COLOURS, NUMBERS, Showing, in_clip, looks, on_sheet
from mini.data.styling import FIGURES, PERSONS, QUESTIONS, STYLES, UNASKED, styles
from mini.story.look import PARTS, look_of
from mini.story.plot import plot_of
from mini.story.things import SHAPES, things_of
from mini.training.architecture import SOUND_TOKENS
from mini.training.optimise import Budget
from mini.training.positions import Both, rope_tables
from mini.training.train_flow import Models
from mini.training.train_words import Words, moved, train_words
from mini.training.watched import LISTENED, Readers

TOKENIZER = Path(__file__).parents[2] / "mini" / "second" / "weights" / "tokenizer"
CELLS = (2, 1, 3)  # latent frames, rows, columns


@pytest.fixture(scope="module")
def models() -> Models:
    """Mini's models, newly made."""
    torch.manual_seed(0)
    return Models.build(TOKENIZER, "cpu")


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


def test_looks_are_those_of_the_parts_that_are_seen() -> None:
    """Red: mini is taught another part's colours, or colours of what is not there."""
    clip = torch.zeros(8, 8, 16, 3, dtype=torch.uint8)
    regions = torch.zeros(8, 8, 16, dtype=torch.uint8)
    regions[:, :, :8] = 1 + 5  # the first figure's chest, in halves
    clip[:, :, :4], clip[:, :, 4:8] = 255, 0
    regions[:, :, 8:] = 1 + PARTS + 2  # the second figure's hair, plain
    clip[:, :, 8:, 0] = 255
    answers = torch.full((FIGURES, QUESTIONS), UNASKED, dtype=torch.uint8)
    answers[1, 3], answers[1, 4] = 1, 0
    told = looks(clip, regions, answers, "cpu")
    parts = told[:, :COLOURS].unflatten(1, (PARTS, 6))
    assert parts[0, 5].tolist() == [0, 0, 0, 1, 1, 1]
    assert parts[1, 2].tolist() == [1, -1, -1, 0, 0, 0]
    assert int(torch.isfinite(parts).any(2).sum()) == 2
    assert told[1, COLOURS + 3 : COLOURS + 5].tolist() == [0.5, -0.5]
    assert int(torch.isfinite(told[:, COLOURS:]).sum()) == 2


def test_styles_are_those_of_the_figures_that_masks_number() -> None:
    """Red: mini is taught another person's hat, or another prop's shape."""
    plot = next(one for one in map(plot_of, range(100)) if len(one.roles) == 2 and len(one.things) == 1)
    told = styles(plot)
    second = look_of(plot.roles[1].seed, plot.roles[1].index)
    worn = [name for name, asked in zip(STYLES, told[1], strict=False) if asked == 1]
    assert [option for field, option in worn if field == "hat_style"] == [second.hat_style]
    assert [option for field, option in worn if field == "pattern"] == [second.pattern]
    assert (told[1, len(STYLES) : PERSONS] == 1).tolist() == [
        second.short_sleeves,
        second.shorts,
        second.spectacled,
    ]
    assert (told[:2, PERSONS:] == UNASKED).all()
    shape = SHAPES.index(things_of(plot.seed, 1)[0].shape)
    assert told[2, PERSONS:].tolist() == [int(number == shape) for number in range(len(SHAPES))]
    assert (told[2, :PERSONS] == UNASKED).all()
    assert (told[3] == UNASKED).all()


def test_one_reader_learns_what_tokens_show() -> None:
    """Red: tokens that show nobody are learnt from, or the reader's losses do not go down."""
    torch.manual_seed(0)
    reader, tokens = Showing(8), torch.randn(2, 6, 8)
    shown = torch.full((2, 6), NOBODY, dtype=torch.int8)
    wanted = torch.full((2, FIGURES, NUMBERS), torch.nan)
    assert [one.item() for one in reader.losses(tokens, shown, wanted)] == [0, 0]
    shown[0, 1], shown[0, 2], shown[1, 5] = 0, 1, 2
    wanted[0, 0, 4], wanted[1, 2, 7] = 0.5, -0.5  # the second of the first clip is not seen
    optimiser = torch.optim.Adam(reader.parameters(), 0.1)
    for _ in range(60):
        optimiser.zero_grad()
        torch.stack(reader.losses(tokens, shown, wanted, torch.ones(2, 6))).sum().backward()
        optimiser.step()
    assert reader.share(tokens, shown, (0, 1)) == 1
    before = reader.losses(tokens, shown, wanted)
    assert before[1] < 0.01
    assert reader.losses(tokens, shown, wanted, numbers=slice(5))[1] < before[1]
    tokens[1, :5] = 7.0
    assert reader.losses(tokens, shown, wanted) == before


@torch.no_grad()
def test_pictures_do_not_hear_the_sound(models: Models) -> None:
    """Red: a clip with sound has other pictures than one without, which is all that the adapters know."""
    transformer = models.transformer
    deaf = [p for name, p in transformer.named_parameters() if ".audio_to_video_attn." in name]
    assert deaf
    assert not any(p.requires_grad for p in deaf)
    nn.init.normal_(transformer.proj_out.weight)
    for name, parameter in transformer.named_parameters():
        if name.endswith("scale_shift_table") and "blocks." in name:
            nn.init.normal_(parameter)
    places, context = Both.of(transformer.config, "cpu"), torch.randn(1, 8, transformer.config.dim)
    sigma = torch.tensor([0.5])
    pictures = Stream(torch.randn(1, TOKENS, 128), context, places.pictures, sigma[:, None], sigma)
    words = torch.randn(1, 8, transformer.config.audio_dim)
    sound = Stream(torch.randn(1, SOUND_TOKENS, 128), words, places.sound, sigma[:, None], sigma)
    assert torch.equal(transformer(pictures, sound).video_BTC, transformer(pictures).video_BTC)


@torch.no_grad()
def test_readers_hear_the_blocks_they_listen_to(models: Models) -> None:
    """Red: a reader listens to another block than its own, or to a clip that has passed."""
    transformer, given = models.transformer, dict[int, torch.Tensor]()
    readers = Readers(transformer.config.dim)
    assert sum("showing" in name for name, _ in readers.named_parameters()) == 4 * len(LISTENED)
    hooks = [
        block.register_forward_hook(lambda _, __, told, at=at: given.__setitem__(at, told[0]))
        for at, block in enumerate(transformer.transformer_blocks)
    ]
    rope, context = rope_tables(transformer.config, "cpu").first(4), torch.randn(1, 8, transformer.config.dim)
    sigma, sequence = torch.tensor([0.5]), Sequence((4,), rope, marked=0)
    stream = Stream(torch.randn(1, 4, 128), context, sequence, sigma[:, None], sigma)
    transformer(stream)
    assert transformer.said is None  # nobody has asked
    assert transformer.hear() == []
    for _ in range(2):
        transformer(stream)
        assert all(map(torch.equal, transformer.hear(), [given[at] for at in LISTENED]))
    transformer.said = None
    for hook in hooks:
        hook.remove()


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
