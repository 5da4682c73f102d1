"""A step of the base's training: what it computes with and what it never waits for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from mini.data.latents import SHEET_TOKENS, Latents
from mini.data.naming import NOBODY, Naming, named
from mini.data.windows import WINDOW
from mini.training.architecture import LATENT
from mini.training.gap import LEVELS, losses
from mini.training.positions import Moving
from mini.training.train_flow import BaseSteps, Models, attended
from mini.training.watched import Readers

TOKENIZER = Path(__file__).parents[2] / "mini" / "second" / "weights" / "tokenizer"


@pytest.fixture(scope="module")
def models() -> Models:
    """Mini's models, newly made."""
    torch.manual_seed(0)
    return Models.build(TOKENIZER, "cpu")


@torch.no_grad()
def test_prompts_are_read_as_transformers_reads_them(models: Models) -> None:
    """Red: the masks made here are not those that transformers makes of which tokens are real."""
    ids, mask = models.gemma.batch(["Ada waves.", "Bo carries the red box to the left, then jumps."])
    assert not mask.all()
    told = models.gemma.model(
        input_ids=ids, attention_mask=attended(mask), output_hidden_states=True, use_cache=False
    )
    assert torch.equal(torch.stack(told.hidden_states, dim=-1), models.gemma.hidden_states(ids, mask))
    assert set(attended(mask)) >= set(models.gemma.model.config.layer_types)


def test_a_step_never_waits_for_the_gpu() -> None:
    """Red: something in a step reads what the GPU computed, and it stands idle while the host prepares.

    Tensors on "meta" hold no numbers: reading one raises.
    """
    models = Models.build(TOKENIZER, "meta")
    latents = Latents.empty(3, "meta")
    latents.advance(3)
    with pytest.raises(RuntimeError):
        bool(latents.weights.sum())
    readers = Readers(models.transformer.config.dim).to("meta")
    steps = BaseSteps(models, latents, 2, "meta", readers)
    for loss in (steps.whole, steps.part):
        loss().backward()
    parts: list[nn.Module] = [models.transformer, models.gemma.model, models.connectors, readers]
    assert all(p.grad is not None for part in parts for p in part.parameters() if p.requires_grad)


def test_positions_move_from_what_was_learnt_to_what_is_asked(models: Models) -> None:
    """Red: a base meets positions that it never saw, or ends with others than its config states."""
    asked = models.transformer.config
    moving = Moving(100.0, 0.25, 40)
    begun, half, done = (moving.at(step, asked) for step in (0, 20, 40))
    assert (begun.theta, begun.max_pos) == (pytest.approx(100), pytest.approx((5, 224, 384)))
    assert begun.audio_max_pos == pytest.approx((5,))
    assert half.theta == pytest.approx(1000)
    assert half.max_pos == pytest.approx((10, 448, 768))
    assert done == asked == moving.at(60, asked)


def test_what_is_known_by_heart_is_measured_alike(models: Models) -> None:
    """Red: two adapters are compared under other noise, or one that ignores its sheet seems to read it."""
    torch.manual_seed(1)
    latents = Latents.empty(1, "cpu")
    for stored in (latents.clips, latents.sheets, latents.weights):
        nn.init.uniform_(stored)
    latents.lengths.fill_(5)
    latents.advance(1)
    nn.init.normal_(models.transformer.proj_out.weight, std=0.1)
    first = losses(models, latents, "cpu", reference_frames=1)
    assert len(first) == len(LEVELS)
    assert losses(models, latents, "cpu", reference_frames=1) == first
    without = losses(models, latents, "cpu")
    nn.init.uniform_(latents.sheets, 2, 3)
    assert losses(models, latents, "cpu") == without


def test_words_of_the_action_name_elements_of_the_list() -> None:
    """Red: mini is taught that a name means somebody else, or that a thing or a list's own word is a name."""
    encoder = Models.build(TOKENIZER, "cpu").gemma
    listed = "Reference sheet: mara: a person; zoe: a zoe who waits; a relic; the place"
    text = f"{listed}\n\nGenerated video: zoe walks left while mara waits."
    found = encoder.tokenizer.encode(text, add_special_tokens=False)
    numbers = named(f"  {text}\n", encoder, 128)
    assert len(numbers) == len(encoder.tokens(text))
    assert numbers[0] == NOBODY
    told: dict[int, str] = {}
    for number, (begin, end) in zip(numbers[1:], found.offsets, strict=True):
        if number != NOBODY:
            assert begin >= len(listed)
            told[number] = told.get(number, "") + text[begin:end]
    assert {number: word.strip() for number, word in told.items()} == {0: "mara", 1: "zoe"}
    assert set(named("worst quality", encoder, 128)) == {NOBODY}


def test_a_reader_learns_whom_a_context_names() -> None:
    """Red: the loss counts slots that name nobody, or a prompt without a story ends the training."""
    torch.manual_seed(0)
    naming, named_BN = Naming(8), torch.full((2, 6), NOBODY, dtype=torch.int8)
    assert naming.loss(torch.randn(2, 9, 8), named_BN) == 0
    named_BN[0, 2], named_BN[1, 4] = 1, 3
    context = torch.randn(2, 9, 8)
    optimiser = torch.optim.Adam(naming.parameters(), 0.1)
    for _ in range(60):
        optimiser.zero_grad()
        naming.loss(context, named_BN).backward()
        optimiser.step()
    assert naming.share(context, named_BN) == 1
    with torch.no_grad():
        before = naming.loss(context, named_BN)
        context[:, 6:] = 9.0
        context[0, 0] = -9.0
        assert naming.loss(context, named_BN) == before


def test_windows_are_drawn_where_they_are() -> None:
    """Red: the base learns from what stands in a store where nothing was put, or never from some windows."""
    latents = Latents.empty(45, "cpu", windows=40)
    for begin in range(LATENT[0] - WINDOW + 1):
        latents.advance(3)
        assert set(latents.draw_from(begin, 200).tolist()) == {0, 1, 2}
        latents.advance(45)
        assert latents.draw(300).max() == 4
        drawn = set(latents.draw_from(begin, 600).tolist())
        wanted = slice(begin * SHEET_TOKENS, (begin + WINDOW) * SHEET_TOKENS)
        assert drawn == {*range(5), *(n for n in range(5, 45) if latents.tokens_of(n) == wanted)}
        assert len(drawn) > 7 or begin == 0
