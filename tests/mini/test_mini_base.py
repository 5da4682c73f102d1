"""A step of the base's training: what it computes with and what it never waits for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from mini.data.latents import Latents
from mini.training.train_flow import Models, attended, base_losses

TOKENIZER = Path(__file__).parents[2] / "mini" / "second" / "weights" / "tokenizer"


@pytest.fixture(scope="module")
def models() -> Models:
    """The second edition's models, newly made."""
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
    for loss in base_losses(models, latents, 2, "meta"):
        loss().backward()
    parts: list[nn.Module] = [models.transformer, models.gemma.model, models.connectors]
    assert all(p.grad is not None for part in parts for p in part.parameters())
