"""What mini's recipe is made of: its optimiser, stage budgets, captions and codec start."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from castsheet.ltx.model.config import TransformerConfig
from castsheet.ltx.model.dit import Transformer
from castsheet.ltx.parts.gemma import load_tokenizer
from castsheet.ltx.parts.vae import VideoVAE
from castsheet.machine.processes import World
from castsheet.prompt import is_two_part, parse
from mini.data.captions import NEGATIVE, PHRASES, caption, train_tokenizer
from mini.data.corpus import Corpus
from mini.data.filling import Filling
from mini.data.latents import LONGEST, TOKENS
from mini.data.prompts import renamed, texts
from mini.second.architecture import LATENT_CHANNELS, SOUND_TOKENS, config
from mini.training.architecture import CONTEXT
from mini.training.muon import orthogonalise, split
from mini.training.optimise import Budget, optimise
from mini.training.train_codec import reconstruction_loss, start_near_linear, train_decoder
from mini.training.train_flow import SOUND, Both, joint_losses, start_as_identity
from mini.world.motion import ACTIONS

ALONE = World(0, 1, torch.device("cpu"))


def test_orthogonalised_updates_have_singular_values_near_one() -> None:
    """Red: Muon's updates are no longer balanced over directions, tall and wide matrices alike."""
    generator = torch.Generator().manual_seed(0)
    for shape in ((3, 48, 96), (2, 96, 48)):
        values = torch.linalg.svdvals(orthogonalise(torch.randn(shape, generator=generator)))
        assert values.min() > 0.5
        assert values.max() < 1.4


def test_muon_takes_weights_of_layers_and_leaves_tables_to_adam() -> None:
    """Red: embeddings, norms or small heads are treated as matrices, which ruins them."""
    module = nn.Sequential(nn.Embedding(64, 64), nn.Linear(64, 64), nn.LayerNorm(64), nn.Linear(64, 8))
    matrices, others = split([module])
    assert matrices == [module[1].weight]
    assert len(others) == 6


def test_the_shared_loop_learns_and_stores_the_average() -> None:
    """Red: the training loop no longer reduces a loss that it can drive to zero."""
    torch.manual_seed(0)
    layer, goal = nn.Linear(32, 32), torch.randn(32, 32)

    def loss_of(_: int) -> torch.Tensor:
        return (layer.weight - goal).square().mean()

    before, lines = loss_of(0).item(), list[str]()
    optimise([layer], loss_of, Budget(300), rate=0.05, log=lines.append, name="toy", muon=True, where=ALONE)
    assert loss_of(0).item() < 0.1 * before
    assert lines[-1] == "toy done after 300 steps"


def test_a_budget_ends_by_steps_or_by_time() -> None:
    """Red: a stage ignores one of its two limits."""
    assert Budget(10).progress(5, 0.0) == 0.5
    assert Budget(10, seconds=math.inf).progress(10, 0.0) == 1
    assert Budget(10**9, seconds=1e-9).progress(0, 1.0) == 1


def test_captions_are_prompts_of_the_product() -> None:
    """Red: mini is trained on prompts that the product would not build or accept."""
    random = np.random.default_rng(0)
    texts = [caption(action, random) for action in ACTIONS for _ in range(40)]
    two_part = [text for text in texts if is_two_part(text)]
    assert len(two_part) > 0.8 * len(texts)
    formats = {parse(text).format for text in two_part}
    assert {"prose", "markdown"} <= formats
    assert set(PHRASES) == set(ACTIONS)


def test_the_tokenizer_covers_any_text_and_leaves_room(tmp_path: Path) -> None:
    """Red: a user's own words cannot be encoded, or mini's captions overflow its context."""
    train_tokenizer(tmp_path, texts(600))
    tokenizer, bos, longest = load_tokenizer(tmp_path)
    assert longest == CONTEXT
    assert tokenizer.id_to_token(bos) == "<bos>"
    for text in ("hero: a zebra-striped übermantel, 人", NEGATIVE):
        assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False).ids).strip() == text
    lengths = [len(tokenizer.encode(text).ids) for text in texts(900)]
    assert max(lengths) <= LONGEST < CONTEXT


def test_prompts_are_the_products_and_name_the_cast() -> None:
    """Red: mini is trained on prompts that the product would not build, or on nobody's names."""
    read = list(texts(300))
    told = [text for text in read if is_two_part(text)]
    assert 0.8 < len(told) / len(read) < 0.97
    assert {parse(text).format for text in told} == {"prose", "inline", "markdown"}
    assert renamed("kim: a thing; thing: the thing. kim lifts thing", "thing", "bo") == (
        "kim: a thing; bo: the thing. kim lifts bo"
    )


def test_the_codec_starts_as_a_linear_autoencoder() -> None:
    """Red: residual layers speak from the first step on, and the codec's training stalls again."""
    torch.manual_seed(0)
    vae = VideoVAE(config()["vae"])
    start_near_linear(vae)
    weights = {name: p for name, p in vae.named_parameters() if name.endswith("weight")}
    silent = [name for name, p in weights.items() if not p.any()]
    assert sum("conv2" in name for name in silent) == sum("conv2" in name for name in weights)
    assert sum("samplers" in name for name in silent) == 6  # two upsampling steps have no residual path
    output = vae.decode(vae.encode(torch.rand(1, 3, 9, 32, 32) * 2 - 1))
    assert output.shape == (1, 3, 9, 32, 32)
    assert torch.isfinite(output).all()
    step = vae.model.decoder.up_blocks[0].upsamplers[0]
    given = torch.randn(1, 192, 3, 2, 2)
    repeated = step(given)
    assert repeated.shape == (1, 96, 5, 2, 2)
    torch.testing.assert_close(repeated[:, :, 1], repeated[:, :, 2])  # both of the second input's frames


def test_edges_count_more_in_the_codec_loss() -> None:
    """Red: a figure's outline weighs no more than empty sky, and faces blur."""
    flat, edged = torch.zeros(1, 3, 1, 8, 8), torch.zeros(1, 3, 1, 8, 8)
    edged[..., 4:] = 1.0
    assert reconstruction_loss(edged + 0.1, edged) > reconstruction_loss(flat + 0.1, flat)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_who_waits_gets_samples_or_the_reason() -> None:
    """Red: training waits for ever for a renderer that died, or starts before its samples are there."""
    filling = Filling()
    filling.fill(lambda: filling.advance(3))
    filling.wait_for(3)
    assert filling.ready == 3

    def fails() -> None:
        raise ValueError("no driver")

    broken = Filling()
    broken.fill(fails)
    with pytest.raises(ValueError, match="no driver"):
        broken.wait_for(1)


def test_training_the_decoder_on_leaves_latents_alone() -> None:
    """Red: the decoder's stage moves the encoder or the statistics: no denoiser fits any more."""
    torch.manual_seed(0)
    vae = VideoVAE(config()["vae"]).requires_grad_(False)
    frames = torch.randint(256, (2, 33, 32, 32, 3), dtype=torch.uint8)
    regions = torch.zeros(2, 33, 32, 32, dtype=torch.uint8)
    corpus = Corpus(frames, regions, frames[:, 0], torch.zeros(2, 2, 9), torch.ones(2, 256), ready=2)
    before = {name: tensor.clone() for name, tensor in vae.model.state_dict().items()}
    train_decoder(vae, corpus, Budget(1), batch=1, where=ALONE, log=print)
    changed = {
        name for name, tensor in vae.model.state_dict().items() if not torch.equal(tensor, before[name])
    }
    assert changed
    assert all(name.startswith("decoder.") for name in changed)


def test_pixels_of_parts_count_by_their_weight() -> None:
    """Red: the decoder's stage no longer looks more closely at the cast."""
    target = torch.zeros(1, 3, 1, 8, 8)
    output, weight = target.clone(), torch.ones(1, 1, 8, 8)
    output[..., 2, 2] = 0.5
    weight[..., 2, 2] = 9
    assert reconstruction_loss(output, target, weight) == 9 * reconstruction_loss(output, target)


def test_pictures_and_sound_are_learnt_at_one_noise_level() -> None:
    """Red: the base's loss leaves the sound out, or tokens count that have no weight."""
    torch.manual_seed(0)
    transformer = Transformer(TransformerConfig.from_dict(config()["transformer"]))
    start_as_identity(transformer)  # its velocity is zero: the loss is that of the noise and of what is clean
    pictures = torch.zeros(1, TOKENS, LATENT_CHANNELS)
    pictures[:, :700] = 3.0
    sound = torch.full((1, SOUND_TOKENS, LATENT_CHANNELS), 2.0)
    weights = torch.zeros(1, TOKENS)
    weights[:, :700] = 1.0
    words = torch.zeros(1, 256, 384), torch.zeros(1, 256, 192)
    with torch.no_grad():
        loss = joint_losses(
            transformer, pictures, sound, words, Both.of(transformer, "cpu"), torch.tensor([0.5]), weights
        )
    torch.testing.assert_close(loss, torch.tensor([(1 + 9) + SOUND * (1 + 4)]), rtol=0.02, atol=0)
