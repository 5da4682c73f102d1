"""Our denoiser against diffusers' on tiny random models of every family that runs, fp32.

The marker of LTX-2.5 is far larger here than a trained one, so that no tolerance can hide its absence.
diffusers' transformer marks the tokens of a mask that its caller passes; its in-context pipeline passes none.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from diffusers import LTX2VideoTransformer3DModel
from torch import Tensor

from benchmarks.peers import peer_of
from castsheet.ltx.family import FAMILIES
from castsheet.ltx.keys import transformer_to_diffusers
from castsheet.ltx.model.dit import Output, Stream, Transformer
from castsheet.ltx.model.rope import audio_bounds, video_bounds
from tests.doubles.ltx_tiny import (
    AUDIO,
    COLUMNS,
    FPS,
    FRAMES,
    ROWS,
    TARGET,
    laid_out,
    randn,
    randomise,
    tiny_audio,
    tiny_config,
    tiny_video,
    with_large_marker,
)

REFERENCE = 2
TOLERANCE = 1e-5


def per_token(stream: Stream) -> Tensor:
    """Timesteps as diffusers wants them: one a token, times 1000."""
    return stream.timesteps_BS.repeat_interleave(torch.tensor(stream.sequence.segments), dim=1) * 1000


def coordinates(reference: int) -> Tensor:
    target = video_bounds(FRAMES, ROWS, COLUMNS, FPS)
    return torch.cat((target, video_bounds(reference, ROWS, COLUMNS, FPS)), dim=1) if reference else target


def keyframes(video: Stream) -> Tensor:
    """The mask that diffusers' transformer takes: 1 in the clip's first latent frame, (B,T,1)."""
    mask_BT1 = torch.zeros(*video.tokens_BTC.shape[:2], 1)
    mask_BT1[:, : ROWS * COLUMNS] = 1
    return mask_BT1


def call(
    peer: LTX2VideoTransformer3DModel, video: Stream, audio: Stream, *, reference: int = 0, **options: Any
) -> Output:
    batch = video.tokens_BTC.shape[0]
    video_out, audio_out = peer(
        hidden_states=video.tokens_BTC,
        audio_hidden_states=audio.tokens_BTC,
        encoder_hidden_states=video.context_BLD,
        audio_encoder_hidden_states=audio.context_BLD,
        timestep=per_token(video),
        audio_timestep=per_token(audio),
        sigma=video.sigma_B * 1000,
        audio_sigma=audio.sigma_B * 1000,
        video_coords=coordinates(reference).expand(batch, -1, -1, -1),
        audio_coords=audio_bounds(AUDIO).expand(batch, -1, -1, -1),
        return_dict=False,
        **({"video_keyframes_mask": keyframes(video)} | options),
    )
    return Output(video_out, audio_out)


def assert_equal(ours: Output, theirs: Output) -> None:
    """Largest difference over largest value, video and (where we computed it) audio."""
    pairs = [(ours.video_BTC, theirs.video_BTC)]
    if ours.audio_BTC is not None:
        pairs.append((ours.audio_BTC, theirs.audio_BTC))
    for left, right in pairs:
        assert (left - right).abs().max() <= TOLERANCE * right.abs().max()


@pytest.fixture(scope="module", params=[name for name, family in FAMILIES.items() if family.runs])
def model(request: pytest.FixtureRequest) -> Transformer:
    # A multiplier other than 1000, so that a gate on the plain timestep shows.
    config = replace(tiny_config(audio=True, family=request.param), cross_timestep_scale=250.0)
    model = Transformer(config).eval()
    randomise(model)
    return with_large_marker(model)


@pytest.fixture(scope="module")
def peer(model: Transformer) -> LTX2VideoTransformer3DModel:
    return peer_of(model)


@pytest.mark.parametrize("reference", [0, REFERENCE])
@pytest.mark.parametrize("stg", [[], [1], [0, 2]])
@torch.no_grad()
def test_video_only(
    model: Transformer, peer: LTX2VideoTransformer3DModel, reference: int, stg: list[int]
) -> None:
    """Red: the video stream alone (how the adapters were trained) no longer computes the published model."""
    single = Transformer(model.config.video_only())
    single.load_state_dict({k: model.state_dict()[k] for k in single.state_dict()}, strict=True)
    video, audio = tiny_video(model.config, reference=reference), tiny_audio(model.config)
    theirs = call(
        peer,
        video,
        audio,
        reference=reference,
        isolate_modalities=True,
        spatio_temporal_guidance_blocks=stg,
    )
    assert_equal(single(video, stg_blocks=stg), Output(theirs.video_BTC))
    assert_equal(model(video, audio, stg_blocks=stg, stg_audio=True, isolate=True), theirs)


@pytest.mark.parametrize("reference", [0, REFERENCE])
@pytest.mark.parametrize("stg", [[], [1]])
@torch.no_grad()
def test_audio_video_with_cross_timesteps(
    model: Transformer, peer: LTX2VideoTransformer3DModel, reference: int, stg: list[int]
) -> None:
    """Red: joint sound and picture differ from diffusers' in-context pipeline (release-time semantics)."""
    video = tiny_video(model.config, reference=reference)
    audio = tiny_audio(model.config, sigmas=(0.55, 0.9))
    ours = model(video, audio, stg_blocks=stg, stg_audio=True, av_timesteps="cross")
    options = {"use_cross_timestep": True, "spatio_temporal_guidance_blocks": stg}
    assert_equal(ours, call(peer, video, audio, reference=reference, **options))


@torch.no_grad()
def test_own_timesteps_agree_where_timesteps_are_uniform(
    model: Transformer, peer: LTX2VideoTransformer3DModel
) -> None:
    """Red: the current official semantics differ even where both published ones say the same."""
    video, audio = tiny_video(model.config), tiny_audio(model.config)
    for cross in (True, False):
        assert_equal(model(video, audio), call(peer, video, audio, use_cross_timestep=cross))


@torch.no_grad()
def test_own_timesteps_by_hand(model: Transformer, peer: LTX2VideoTransformer3DModel) -> None:
    """Red: with a reference or other audio sigmas, A2V/V2A rows and gates hang on the wrong timesteps."""
    video = tiny_video(model.config, reference=REFERENCE)
    audio = tiny_audio(model.config, sigmas=(0.55, 0.9))
    ours = model(video, audio)
    assert_equal(ours, own_timesteps(peer, video, audio))
    released = model(video, audio, av_timesteps="cross")
    assert (ours.video_BTC - released.video_BTC).abs().max() > 0.01


def own_timesteps(peer: LTX2VideoTransformer3DModel, video: Stream, audio: Stream) -> Output:
    """diffusers' blocks under the official current rule, written out token by token.

    Scale and shift of the attentions between the streams come from each token's own timestep, the gates from
    the other stream's sigma.
    """
    batch = video.tokens_BTC.shape[0]
    ratio = peer.config.cross_attn_timestep_scale_multiplier / peer.config.timestep_scale_multiplier

    def rows(module: torch.nn.Module, t: Tensor) -> tuple[Tensor, Tensor]:
        ada, embedded = module(t.flatten(), batch_size=batch, hidden_dtype=torch.float32)
        return ada.view(batch, -1, ada.shape[-1]), embedded.view(batch, -1, embedded.shape[-1])

    video_t, audio_t = per_token(video), per_token(audio)
    video_sigma, audio_sigma = video.sigma_B * 1000, audio.sigma_B * 1000
    temb, embedded = rows(peer.time_embed, video_t)
    temb_audio, embedded_audio = rows(peer.audio_time_embed, audio_t)
    coords = coordinates(REFERENCE)[None]
    audio_coords = audio_bounds(AUDIO)[None]
    x, a = peer.proj_in(video.tokens_BTC), peer.audio_proj_in(audio.tokens_BTC)
    if peer.config.use_keyframes_abs_pos_embedding:
        x = x + keyframes(video) * peer.keyframes_abs_pos_embedding
    for block in peer.transformer_blocks:
        x, a = block(
            hidden_states=x,
            audio_hidden_states=a,
            encoder_hidden_states=video.context_BLD,
            audio_encoder_hidden_states=audio.context_BLD,
            temb=temb,
            temb_audio=temb_audio,
            temb_ca_scale_shift=rows(peer.av_cross_attn_video_scale_shift, video_t)[0],
            temb_ca_audio_scale_shift=rows(peer.av_cross_attn_audio_scale_shift, audio_t)[0],
            temb_ca_gate=rows(peer.av_cross_attn_video_a2v_gate, audio_sigma * ratio)[0],
            temb_ca_audio_gate=rows(peer.av_cross_attn_audio_v2a_gate, video_sigma * ratio)[0],
            temb_prompt=rows(peer.prompt_adaln, video_sigma)[0],
            temb_prompt_audio=rows(peer.audio_prompt_adaln, audio_sigma)[0],
            video_rotary_emb=tuple(t.expand(batch, -1, -1, -1) for t in peer.rope(coords)),
            audio_rotary_emb=tuple(t.expand(batch, -1, -1, -1) for t in peer.audio_rope(audio_coords)),
            ca_video_rotary_emb=tuple(
                t.expand(batch, -1, -1, -1) for t in peer.cross_attn_rope(coords[:, :1])
            ),
            ca_audio_rotary_emb=tuple(
                t.expand(batch, -1, -1, -1) for t in peer.cross_attn_audio_rope(audio_coords)
            ),
        )
    shift, scale = (peer.scale_shift_table + embedded[:, :, None]).unbind(2)
    shift_a, scale_a = (peer.audio_scale_shift_table + embedded_audio[:, :, None]).unbind(2)
    return Output(
        peer.proj_out(peer.norm_out(x) * (1 + scale) + shift),
        peer.audio_proj_out(peer.audio_norm_out(a) * (1 + scale_a) + shift_a),
    )


@torch.no_grad()
def test_attention_bias(model: Transformer, peer: LTX2VideoTransformer3DModel) -> None:
    """Red: per-element attention strengths reach the wrong tokens, or none."""
    video, audio = tiny_video(model.config, reference=REFERENCE), tiny_audio(model.config)
    mask_TT = (randn(*2 * video.tokens_BTC.shape[1:2], seed=9) > -0.5).float()
    mask_TT.fill_diagonal_(1)
    biased = laid_out(video, bias=(1 - mask_TT) * -10000.0)
    theirs = call(
        peer,
        video,
        audio,
        reference=REFERENCE,
        use_cross_timestep=True,
        video_self_attention_mask=mask_TT.expand(2, -1, -1),
    )
    assert_equal(model(biased, audio, av_timesteps="cross"), theirs)
    kept = model(biased, targets=TARGET).video_BTC
    torch.testing.assert_close(kept, model(biased).video_BTC[:, :TARGET], atol=1e-6, rtol=0)


def test_weights_of_both_sides_are_the_same_set(model: Transformer) -> None:
    """Red: our model has a tensor that the published one lacks, or lacks one."""
    assert set(map(transformer_to_diffusers, model.state_dict())) == set(peer_of(model).state_dict())
