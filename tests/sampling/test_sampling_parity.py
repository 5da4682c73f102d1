"""Whole guided sampling runs against diffusers: its parts in a loop, and its in-context pipeline.

Tiny random models in fp32, injected noise, target and reference tokens.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from diffusers import (
    AutoencoderKLLTX2Audio,
    FlowMatchEulerDiscreteScheduler,
    LTX2VideoTransformer3DModel,
)
from diffusers.pipelines.ltx2.pipeline_ltx2_condition import LTX2VideoCondition
from diffusers.pipelines.ltx2.pipeline_ltx2_ic_lora import LTX2InContextPipeline, LTX2ReferenceCondition
from PIL import Image
from torch import nn

from benchmarks.peers import peer_of
from castsheet.ltx.family import FAMILIES
from castsheet.ltx.latents import (
    Grid,
    Reference,
    encode_still,
    make_reference,
    patchify,
    to_pixels,
    unpatchify,
)
from castsheet.ltx.model.dit import Transformer
from castsheet.ltx.parts.vae import VideoVAE
from castsheet.sampling.denoiser import Contexts, Denoiser, PassWeights, audio_track, video_track
from castsheet.sampling.guidance import Weights
from castsheet.sampling.samplers import euler
from castsheet.sampling.schedule import sigmas
from mini.official import set_statistics
from tests.doubles.ltx_tiny import randn, randomise, tiny_config, with_large_marker

CPU = torch.device("cpu")
RUNNING = [name for name, family in FAMILIES.items() if family.runs]
GRID = Grid(frames=3, height=2, width=4, fps=24.0, scale=(8, 32, 32))
TEXT = 6


@pytest.fixture(scope="module", params=RUNNING)
def pair(request: pytest.FixtureRequest) -> tuple[Transformer, LTX2VideoTransformer3DModel]:
    model = Transformer(tiny_config(audio=True, layers=4, family=request.param)).eval()
    randomise(model, seed=5)
    return with_large_marker(model), peer_of(model)


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


@torch.no_grad()
def official_loop(
    peer, grid, reference, first_frame, contexts, noise, levels, weights, stg_block
) -> torch.Tensor:
    """Sampling as the official code does it: every token in the state, one timestep a token, global std."""
    clean = torch.zeros(1, grid.tokens, noise.shape[2])
    mask = torch.ones(1, grid.tokens, 1)
    if first_frame is not None:
        clean[:, : grid.frame_tokens], mask[:, : grid.frame_tokens] = first_frame, 0.0
    clean = torch.cat([clean, reference.tokens_BTC], dim=1)
    mask = torch.cat([mask, torch.full((1, reference.tokens_BTC.shape[1], 1), 1 - reference.strength)], dim=1)
    x = torch.lerp(clean, noise, mask)
    coordinates = torch.cat([grid.bounds(), reference.bounds_AT2], dim=1)[None]
    scheduler = FlowMatchEulerDiscreteScheduler()
    scheduler.set_timesteps(sigmas=levels[:-1].tolist())
    marked = torch.zeros_like(mask)
    marked[:, : grid.frame_tokens] = 1.0  # never the reference, whose first frame has the same positions

    def predict(sigma: torch.Tensor, context: torch.Tensor, blocks: list[int]) -> torch.Tensor:
        audio_width = peer.config.audio_in_channels
        velocity = peer(
            hidden_states=x,
            audio_hidden_states=torch.zeros(1, 1, audio_width),
            encoder_hidden_states=context,
            audio_encoder_hidden_states=torch.zeros(1, 1, peer.config.audio_cross_attention_dim),
            timestep=mask[..., 0] * sigma * 1000,
            audio_timestep=sigma[None] * 1000,
            sigma=sigma[None] * 1000,
            audio_sigma=sigma[None] * 1000,
            audio_num_frames=1,
            video_coords=coordinates,
            isolate_modalities=True,
            spatio_temporal_guidance_blocks=blocks,
            video_keyframes_mask=marked,
            return_dict=False,
        )[0]
        return x - mask * sigma * velocity

    for sigma, timestep in zip(levels[:-1], scheduler.timesteps, strict=True):
        cond = predict(sigma, contexts[0], [])
        uncond = predict(sigma, contexts[1], [])
        perturbed = predict(sigma, contexts[0], [stg_block])
        guided = cond + (weights.guidance - 1) * (cond - uncond) + weights.stg_scale * (cond - perturbed)
        guided = guided * (weights.rescale * cond.std() / guided.std() + 1 - weights.rescale)
        x0 = guided * mask + clean * (1 - mask)
        x = scheduler.step((x - x0) / sigma, timestep, x, return_dict=False)[0]
    return x[:, : grid.tokens]


@pytest.mark.parametrize("given", [False, True], ids=["free", "first-frame"])
@pytest.mark.parametrize(("strength", "downscale"), [(1.0, 1), (0.6, 1), (1.0, 2)])
def test_guided_run_equals_a_loop_of_diffusers_parts(pair, strength, downscale, given):
    """Red: four guided steps (CFG, STG, rescale, reference tokens) no longer give the official result."""
    model, peer = pair
    width = model.config.in_channels
    small = Grid(
        GRID.frames,
        GRID.height // downscale,
        GRID.width // downscale,
        GRID.fps,
        (8, 32 * downscale, 32 * downscale),
    )
    reference = Reference(randn(1, small.tokens, width, seed=11), small.bounds(), strength)
    first = (
        unpatchify(randn(1, GRID.frame_tokens, width, seed=12), 1, GRID.height, GRID.width) if given else None
    )
    contexts = [randn(1, TEXT, model.config.context_dim, seed=seed) for seed in (13, 14)]
    noise = randn(1, GRID.tokens + small.tokens, width, seed=15)
    weights = Weights(guidance=4.0, stg_scale=1.0, rescale=0.7)
    levels = sigmas(4)
    tokens = None if first is None else patchify(first)
    expected = official_loop(peer, GRID, reference, tokens, contexts, noise, levels, weights, 2)

    track = video_track(model.config, GRID, reference, first, device=CPU, dtype=torch.float32)
    denoiser = Denoiser(
        model,
        track,
        None,
        Contexts(contexts[0]),
        Contexts(contexts[1]),
        PassWeights(weights, stg_blocks=(2,)),
    )
    with torch.inference_mode():
        x = euler(denoiser, denoiser.pack(track.start(noise[:, : track.sampled], 1.0), None), levels)
    found = denoiser.unpack(x)[0][:, : GRID.tokens]
    assert relative(found, expected) <= 1e-5
    if first is not None:
        assert torch.equal(found[:, : GRID.frame_tokens], patchify(first))


class SplitConnectors(nn.Module):
    """Stands for the text connectors: the embeddings are both contexts side by side."""

    def __init__(self, video: int) -> None:
        super().__init__()
        self.video, self.device, self.dtype = video, CPU, torch.float32

    def forward(self, embeds, mask, **_):
        return embeds[..., : self.video], embeds[..., self.video :], torch.ones_like(mask)


def vae_config(latent: int) -> dict:
    """A tiny VAE with the real strides: 32 pixels and 8 frames a latent cell."""
    down = ["compress_space_res", "compress_time_res", "compress_all_res", "compress_all_res"]
    up = [name.removesuffix("_res") for name in down]

    def blocks(names: list[str]) -> list:
        return [
            ["res_x", {"num_layers": 1}],
            *(b for n in names for b in ([n, {"multiplier": 1}], ["res_x", {"num_layers": 1}])),
        ]

    return {
        "latent_channels": latent,
        "patch_size": 4,
        "encoder_blocks": blocks(down),
        "decoder_blocks": blocks(up),
        "decoder_base_channels": 2,
    }


def picture(seed: int, width: int, height: int) -> Image.Image:
    levels = torch.randint(0, 256, (height, width, 3), generator=torch.Generator().manual_seed(seed))
    return Image.fromarray(levels.to(torch.uint8).numpy())


WIDTH, HEIGHT, FRAMES, SEED, STEPS = 128, 64, 17, 99, 4


class Marking(LTX2VideoTransformer3DModel):
    """diffusers' transformer, told which tokens to mark: its in-context pipeline never says."""

    def forward(self, hidden_states, *arguments, **options):
        mask_BT1 = torch.zeros(*hidden_states.shape[:2], 1)
        mask_BT1[:, : (HEIGHT // 32) * (WIDTH // 32)] = 1
        return super().forward(hidden_states, *arguments, video_keyframes_mask=mask_BT1, **options)


def diffusers_run(
    model, vae, audio_vae, embeds, sheet, first, *, marked: bool = True
) -> tuple[torch.Tensor, torch.Tensor]:
    """Video and audio latents of diffusers' in-context pipeline."""
    peer = peer_of(model)
    if marked:
        peer.__class__ = Marking
    pipe = LTX2InContextPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=vae.model,
        audio_vae=audio_vae,
        text_encoder=None,
        tokenizer=None,
        connectors=SplitConnectors(model.config.context_dim),
        transformer=peer,
        vocoder=None,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe(
        prompt_embeds=embeds[0],
        negative_prompt_embeds=embeds[1],
        prompt_attention_mask=torch.ones(1, TEXT),
        negative_prompt_attention_mask=torch.ones(1, TEXT),
        reference_conditions=LTX2ReferenceCondition(frames=[sheet] * FRAMES, strength=1.0),
        conditions=LTX2VideoCondition(frames=first, index=0, strength=1.0, crf=0),
        width=WIDTH,
        height=HEIGHT,
        num_frames=FRAMES,
        sigmas=sigmas(STEPS)[:-1].tolist(),
        num_inference_steps=STEPS,
        guidance_scale=4.0,
        stg_scale=1.0,
        modality_scale=3.0,
        guidance_rescale=0.0,
        audio_guidance_scale=7.0,
        audio_stg_scale=1.0,
        audio_modality_scale=3.0,
        audio_guidance_rescale=0.0,
        spatio_temporal_guidance_blocks=[2],
        generator=torch.Generator().manual_seed(SEED),
        output_type="latent",
        return_dict=False,
    )


@torch.no_grad()
def our_run(model, vae, embeds, sheet, first) -> tuple[torch.Tensor, torch.Tensor]:
    """Raw video latents and normalised audio tokens, from the noise that diffusers draws."""
    config, text = model.config, model.config.context_dim
    grid = Grid.of(vae.config, width=WIDTH, height=HEIGHT, frames=FRAMES, fps=24.0)
    reference, given = make_reference(vae, to_pixels(sheet), grid), encode_still(vae, to_pixels(first), 1)
    video = video_track(config, grid, reference, given, device=CPU, dtype=torch.float32)
    sound = audio_track(config, round(FRAMES / 24.0 * 25), device=CPU, dtype=torch.float32)
    generator = torch.Generator().manual_seed(SEED)
    noise = torch.randn(1, grid.tokens * 2, config.in_channels, generator=generator)
    audio_noise = torch.randn(1, sound.sampled, config.audio_in_channels, generator=generator)
    contexts = [Contexts(both[..., :text], both[..., text:]) for both in embeds]
    guide = PassWeights(Weights(4.0, 1.0, 3.0), Weights(7.0, 1.0, 3.0), stg_blocks=(2,))
    denoiser = Denoiser(model, video, sound, *contexts, guide, av_timesteps="cross")
    start = denoiser.pack(video.start(noise[:, : grid.tokens], 1.0), sound.start(audio_noise, 1.0))
    tokens, audio_tokens = denoiser.unpack(euler(denoiser, start, sigmas(STEPS)))
    return vae.denormalise(unpatchify(tokens, grid.frames, grid.height, grid.width)), audio_tokens


@pytest.mark.parametrize("family", RUNNING)
def test_joint_run_equals_the_diffusers_pipeline(family):
    """Red: video and audio sampled jointly with all four passes, a sheet and a first frame differ from
    diffusers' LTX2InContextPipeline where both define the same (release-time AV timesteps, no rescaling).
    Or diffusers' pipeline now passes the mask of LTX-2.5 by itself, and the class above is to go."""
    config = tiny_config(audio=True, layers=4, family=family)
    config = replace(config, audio_in_channels=8, audio_out_channels=8)
    model = Transformer(config).eval()
    randomise(model, seed=6)
    with_large_marker(model)
    torch.manual_seed(7)
    channels = config.in_channels
    vae = VideoVAE(vae_config(channels)).eval()
    set_statistics(vae, torch.linspace(-0.2, 0.2, channels), torch.linspace(0.5, 1.5, channels))
    audio_vae = AutoencoderKLLTX2Audio(base_channels=8, latent_channels=2, mel_bins=16, num_res_blocks=1)
    embeds = [randn(1, TEXT, config.context_dim + config.audio_context_dim, seed=seed) for seed in (21, 22)]
    sheet, first = picture(1, WIDTH, HEIGHT), picture(2, WIDTH, HEIGHT)
    given = (model, vae, audio_vae.eval(), embeds, sheet, first)
    video, sound = diffusers_run(*given)
    latents, audio_tokens = our_run(model, vae, embeds, sheet, first)
    assert relative(latents, video) <= 1e-5
    unnormalised = audio_tokens * audio_vae.latents_std + audio_vae.latents_mean
    assert relative(unnormalised, sound.transpose(1, 2).flatten(2)) <= 1e-5
    if config.marker:
        assert relative(diffusers_run(*given, marked=False)[0], video) > 0.01
