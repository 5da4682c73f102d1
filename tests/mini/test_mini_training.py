"""What mini's recipe is made of: its optimiser, stage budgets, captions and codec start."""

from __future__ import annotations

import math
import time
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from castsheet.errors import CheckpointError
from castsheet.ltx.model.config import TransformerConfig
from castsheet.ltx.model.dit import Transformer
from castsheet.ltx.parts.gemma import load_tokenizer
from castsheet.ltx.parts.vae import VideoVAE
from castsheet.machine.processes import World
from castsheet.prompt import is_two_part, parse
from mini.data.captions import NEGATIVE, train_tokenizer
from mini.data.corpus import Corpus
from mini.data.emphasis import shares
from mini.data.filling import Filling
from mini.data.latents import LONGEST, TOKENS
from mini.data.prompts import renamed, texts
from mini.official import video_vae_to_official
from mini.training.architecture import CONTEXT, LATENT_CHANNELS, SOUND_TOKENS, config
from mini.training.excerpts import Sizes, draw
from mini.training.muon import orthogonalise, split
from mini.training.optimise import Average, Budget, optimise
from mini.training.positions import Both
from mini.training.silu_norm import SiluNorm, joined
from mini.training.stored import deepened
from mini.training.train_codec import batch_loss, reconstruction_loss, start_near_linear, train_decoder
from mini.training.train_flow import SOUND, joint_losses, start_as_identity

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


def test_a_stage_says_once_that_it_is_compiled() -> None:
    """Red: the base trains beside the rendering of its stories, or never waits for them."""
    layer, steps, told = nn.Linear(2, 2), list[int](), list[int]()

    def loss_of(step: int) -> torch.Tensor:
        steps.append(step)
        return layer.weight.square().mean()

    optimise(
        [layer],
        loss_of,
        Budget(5),
        rate=0.01,
        log=lambda _: None,
        name="toy",
        muon=False,
        where=ALONE,
        compiled=lambda: told.append(len(steps)),
    )
    assert told == [2]
    assert steps == [0, 1, 2, 3, 4]


def test_a_budget_ends_by_steps_or_by_time() -> None:
    """Red: a stage ignores one of its two limits."""
    assert Budget(10).progress(5, 0.0) == 0.5
    assert Budget(10, seconds=math.inf).progress(10, 0.0) == 1
    assert Budget(10**9, seconds=1e-9).progress(0, 1.0) == 1


def test_a_later_run_goes_on_with_the_rates_decay() -> None:
    """Red: a codec that is trained in two runs has its rate raised again in the second."""
    first, second = Budget(10, share=(0.0, 0.5)), Budget(10, share=(0.5, 1.0))
    assert first.decay(0.0, 0.02) == 1
    assert first.decay(1.0, 0.02) == second.decay(0.0, 0.02) == pytest.approx(0.51)
    assert second.decay(1.0, 0.02) == pytest.approx(0.02)


def test_a_rate_may_hold_before_it_decays() -> None:
    """Red: most of a run passes at less than its full rate, or its end comes before the rate's."""
    held = Budget(10, hold=0.6)
    assert held.decay(0.0, 0.02) == held.decay(0.6, 0.02) == 1
    assert held.decay(0.8, 0.02) == pytest.approx(0.51)
    assert held.decay(1.0, 0.02) == pytest.approx(0.02)


def test_results_in_between_are_averages_and_change_nothing() -> None:
    """Red: what is kept while a stage runs is not what it would store, or training goes on from it."""
    layer = nn.Linear(2, 2, bias=False)
    average = Average([layer.weight], decay=0.5)
    with torch.no_grad():
        layer.weight.add_(1.0)
    before = layer.weight.detach().clone()
    average.update(100)
    with average.shown():
        assert torch.allclose(layer.weight, before - 0.5)
    assert torch.equal(layer.weight, before)


def test_prompts_are_those_of_the_product() -> None:
    """Red: mini is trained on prompts that the product would not build or accept."""
    told = list(texts(240))
    two_part = [text for text in told if is_two_part(text)]
    assert len(two_part) > 0.8 * len(told)
    assert {"prose", "markdown"} <= {parse(text).format for text in two_part}


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


def test_a_codec_may_grow_deeper_without_forgetting(tmp_path: Path) -> None:
    """Red: a layer that an earlier codec lacks changes its pictures, or a strange file passes for one."""
    torch.manual_seed(0)
    vae = VideoVAE(config()["vae"]).requires_grad_(False)
    tensors = video_vae_to_official(vae)
    deepest = [name for name in tensors if "up_blocks.4.res_blocks.4." in name]
    assert len(deepest) == 4
    for name in deepest:
        tensors[name].zero_()
    pixels = torch.rand(1, 3, 9, 32, 32) * 2 - 1
    wanted = vae.decode(vae.encode(pixels))
    lacking = {name: tensor for name, tensor in tensors.items() if name not in deepest}
    save_file(lacking, tmp_path / "codec.safetensors")
    given = deepened(tmp_path / "codec.safetensors", "cpu")
    torch.testing.assert_close(given.decode(given.encode(pixels)), wanted)
    save_file(lacking | {"vae.decoder.new": torch.zeros(1)}, tmp_path / "strange.safetensors")
    with pytest.raises(CheckpointError, match="new"):
        deepened(tmp_path / "strange.safetensors", "cpu")


def narrow() -> VideoVAE:
    """A codec of mini's form, a few channels wide."""
    torch.manual_seed(0)
    few = {"latent_channels": 16, "encoder_base_channels": 16, "decoder_base_channels": 2}
    return VideoVAE(config()["vae"] | few)


def test_joined_norms_are_the_codecs_own() -> None:
    """Red: the codec learns with other norms than those with which it is used."""
    vae = narrow()
    pixels = torch.rand(1, 3, 9, 32, 32) * 2 - 1
    results = []
    for context in (nullcontext(), joined(vae.model)):
        with context:
            output = vae.decode(vae.moments(pixels)[0])
            vae.zero_grad()
            output.square().mean().backward()
        results.append([output.detach(), *(p.grad.clone() for p in vae.parameters())])
    for plain, kernel in zip(*results, strict=True):
        assert (kernel - plain).norm() <= 1e-3 * plain.norm()
    assert not any(isinstance(one, SiluNorm) for one in vae.modules())


def corpus_of(height: int, width: int) -> Corpus:
    """Two random stories with one figure: a square of the lower right corner."""
    frames = torch.randint(256, (2, 41, height, width, 3), dtype=torch.uint8)
    regions = torch.zeros(2, 41, height, width, dtype=torch.uint8)
    regions[:, :, -(height // 4) :, -(height // 4) :] = 1
    counts = torch.stack([shares(one) for one in regions])
    sounds, cells = torch.zeros(2, 2, 9), torch.zeros(2, 7, 12, dtype=torch.uint8)
    styles = torch.zeros(2, 4, 29, dtype=torch.uint8)
    return Corpus(frames, regions, frames[:, 0], cells, styles, sounds, counts, ready=2)


def test_most_cuts_lie_on_the_cast() -> None:
    """Red: the codec learns from empty sky, cuts leave the picture, or pixels and regions differ."""
    torch.manual_seed(0)
    corpus = corpus_of(224, 384)
    corpus.clips[..., 0] = corpus.regions * 200
    batch = draw(corpus, Sizes(cuts=40, wholes=2, stills=4))
    shapes = [tuple(one.shape) for one in batch.tensors()]
    assert shapes[0] == (40, 25, 128, 128, 3)
    assert shapes[2] == (2, 25, 224, 384, 3)
    assert shapes[4] == (4, 1, 224, 384, 3)
    seen = batch.cut_regions.flatten(1).any(1).float().mean()
    assert 0.6 < seen < 0.98
    torch.testing.assert_close(batch.cuts[..., 0], batch.cut_regions * 200)
    sides = batch.cut_regions[:, 0].amax(1)  # (40, 128): mirrored figures lie at the left
    assert sides[:, :64].any(1).sum() > 5
    assert sides[:, 64:].any(1).sum() > 5


def test_a_figures_pixels_count_more_in_the_codec_loss() -> None:
    """Red: figures weigh no more than empty sky, or the decoder's stage sends gradients into the encoder."""
    vae = narrow()
    batch = draw(corpus_of(32, 32), Sizes(cuts=1, wholes=1, stills=4))
    for decoder_only in (False, True):
        vae.zero_grad()
        batch_loss(vae, "cpu", decoder_only=decoder_only)(*batch.tensors()).backward()
        assert all(p.grad is not None for p in vae.model.decoder.parameters())
        assert any(p.grad is not None for p in vae.model.encoder.parameters()) is not decoder_only


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_who_waits_gets_samples_or_the_reason() -> None:
    """Red: training waits for ever for a renderer that died, or starts before its samples are there."""
    filling = Filling()
    filling.fill(lambda: filling.advance(3))
    filling.wait_for(3)
    assert filling.ready == 3

    def fails() -> None:
        raise ValueError("no driver")

    endless = Filling()

    def count() -> None:
        while not endless.stopped:
            endless.advance(endless.ready + 1)
            time.sleep(0.001)

    endless.fill(count)
    endless.wait_for(10**9, 0.05)
    endless.stop()
    made = endless.ready
    time.sleep(0.01)
    assert 0 < endless.ready == made
    broken = Filling()
    broken.fill(fails)
    with pytest.raises(ValueError, match="no driver"):
        broken.wait_for(1)


def test_training_the_decoder_on_leaves_latents_alone() -> None:
    """Red: the decoder's stage moves the encoder or the statistics: no denoiser fits any more."""
    vae = narrow().requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in vae.model.state_dict().items()}
    sizes = Sizes(cuts=1, wholes=1, stills=4)
    train_decoder(vae, corpus_of(32, 32), Budget(1), sizes=sizes, where=ALONE, log=print)
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
            transformer,
            pictures,
            sound,
            words,
            Both.of(transformer.config, "cpu"),
            torch.tensor([0.5]),
            weights,
        )
    torch.testing.assert_close(loss, torch.tensor([(1 + 9) + SOUND * (1 + 4)]), rtol=0.02, atol=0)
