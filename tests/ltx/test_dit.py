"""What our denoiser promises beyond the published formulas: exact shortcuts, training, sizes, refusals."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from castsheet.errors import CheckpointError, FamilyError
from castsheet.ltx.model.config import ModelConfig, TransformerConfig
from castsheet.ltx.model.dit import Output, Transformer
from castsheet.ltx.model.rows import clip_segments
from castsheet.ltx.model.sequence import Sequence
from tests.doubles.ltx_tiny import (
    TARGET,
    laid_out,
    official_dict,
    pair,
    randn,
    streams,
    tiny_audio,
    tiny_config,
    tiny_transformer,
    tiny_video,
)

OFFICIAL = json.loads((Path(__file__).parents[1] / "data" / "ltx-2.3-config.json").read_text())["config"]
BOTH = pytest.mark.parametrize("audio", [False, True])


def identical(left: Output, right: Output) -> bool:
    if left.audio_BTC is None or right.audio_BTC is None:
        return torch.equal(left.video_BTC, right.video_BTC) and left.audio_BTC is right.audio_BTC
    return torch.equal(left.video_BTC, right.video_BTC) and torch.equal(left.audio_BTC, right.audio_BTC)


# --- sizes and names ---


def test_official_sizes() -> None:
    """Red: the 22B file no longer loads strictly: a tensor was added, lost or reshaped."""
    config = TransformerConfig.from_dict(OFFICIAL["transformer"])
    with torch.device("meta"):
        full, video = Transformer(config), Transformer(config.video_only())
    assert len(full.state_dict()) == 4186
    assert len(video.state_dict()) == 1457
    assert sum(p.numel() for p in full.parameters()) == 18_988_838_144
    assert sum(p.numel() for p in video.parameters()) == 13_124_316_288
    assert set(video.state_dict()) < set(full.state_dict())


OFFICIAL_SHAPES = {
    "patchify_proj.weight": (4096, 128),
    "adaln_single.emb.timestep_embedder.linear_1.weight": (4096, 256),
    "adaln_single.linear.weight": (36864, 4096),
    "prompt_adaln_single.linear.bias": (8192,),
    "av_ca_video_scale_shift_adaln_single.linear.weight": (16384, 4096),
    "av_ca_a2v_gate_adaln_single.linear.weight": (4096, 4096),
    "av_ca_audio_scale_shift_adaln_single.linear.weight": (8192, 2048),
    "av_ca_v2a_gate_adaln_single.linear.weight": (2048, 2048),
    "scale_shift_table": (2, 4096),
    "audio_proj_out.weight": (128, 2048),
    "transformer_blocks.47.scale_shift_table": (9, 4096),
    "transformer_blocks.47.audio_prompt_scale_shift_table": (2, 2048),
    "transformer_blocks.47.scale_shift_table_a2v_ca_video": (5, 4096),
    "transformer_blocks.47.scale_shift_table_a2v_ca_audio": (5, 2048),
    "transformer_blocks.47.attn1.to_out.0.weight": (4096, 4096),
    "transformer_blocks.47.attn2.to_gate_logits.weight": (32, 4096),
    "transformer_blocks.47.ff.net.0.proj.weight": (16384, 4096),
    "transformer_blocks.47.audio_ff.net.2.weight": (2048, 8192),
    "transformer_blocks.47.audio_to_video_attn.to_q.weight": (2048, 4096),
    "transformer_blocks.47.audio_to_video_attn.to_out.0.weight": (4096, 2048),
    "transformer_blocks.47.video_to_audio_attn.to_k.weight": (2048, 4096),
    "transformer_blocks.47.video_to_audio_attn.to_gate_logits.weight": (32, 2048),
    "transformer_blocks.47.video_to_audio_attn.k_norm.weight": (2048,),
}


def test_official_shapes() -> None:
    """Red: a parameter's official name or shape changed; files would load by luck or not at all."""
    with torch.device("meta"):
        state = Transformer(TransformerConfig.from_dict(OFFICIAL["transformer"])).state_dict()
    assert {name: tuple(state[name].shape) for name in OFFICIAL_SHAPES} == OFFICIAL_SHAPES


# --- exact shortcuts ---


@BOTH
@pytest.mark.parametrize("stg", [(0,), (1,), (1, 2), (2,)])
@pytest.mark.parametrize("targets", [None, TARGET])
@torch.no_grad()
def test_pair_is_bitwise_two_calls(audio: bool, stg: tuple[int, ...], targets: int | None) -> None:
    """Red: sharing the blocks before the first perturbed one changes the picture."""
    model = tiny_transformer(audio=audio)
    video, sound = streams(model)
    plain, perturbed = model.forward_passes(
        pair(video, sound, stg_blocks=stg, stg_audio=audio), targets=targets
    )
    assert identical(plain, model(video, sound, targets=targets))
    assert identical(perturbed, model(video, sound, stg_blocks=stg, stg_audio=audio, targets=targets))
    assert not torch.equal(plain.video_BTC, perturbed.video_BTC)


@BOTH
@pytest.mark.parametrize("stg", [(), (2,)])
@pytest.mark.parametrize("targets", [1, 5, TARGET, TARGET + 3])
@torch.no_grad()
def test_keep_equals_first_rows(audio: bool, stg: tuple[int, ...], targets: int) -> None:
    """Red: leaving out rows that nothing reads changes the rows that are wanted."""
    model = tiny_transformer(audio=audio)
    video, sound = streams(model)
    full, kept = model(video, sound, stg_blocks=stg), model(video, sound, stg_blocks=stg, targets=targets)
    assert kept.video_BTC.shape[1] == targets
    torch.testing.assert_close(kept.video_BTC, full.video_BTC[:, :targets], atol=1e-6, rtol=0)
    if kept.audio_BTC is not None:
        torch.testing.assert_close(kept.audio_BTC, full.audio_BTC, atol=1e-6, rtol=0)


@BOTH
@torch.no_grad()
def test_segments_equal_tokens_of_their_own(audio: bool) -> None:
    """Red: modulation by segment is not the modulation that each token would get alone."""
    model = tiny_transformer(audio=audio)
    video, sound = streams(model)
    tokens = video.tokens_BTC.shape[1]
    # Three kinds of timestep: a clean first frame, the noisy rest, a reference at a tenth of the noise.
    segments = (8, TARGET - 8, tokens - TARGET)
    timesteps_BS = torch.stack((torch.zeros(2), video.sigma_B, 0.1 * video.sigma_B), dim=1)
    grouped = replace(video, sequence=replace(video.sequence, segments=segments), timesteps_BS=timesteps_BS)
    alone = replace(
        video,
        sequence=replace(video.sequence, segments=(1,) * tokens),
        timesteps_BS=timesteps_BS.repeat_interleave(torch.tensor(segments), dim=1),
    )
    left, right = model(grouped, sound), model(alone, sound)
    torch.testing.assert_close(left.video_BTC, right.video_BTC, atol=1e-5, rtol=0)
    assert not torch.allclose(left.video_BTC, model(video, sound).video_BTC, atol=1e-3)


@torch.no_grad()
def test_samples_of_a_batch_keep_their_own_sigma() -> None:
    """Red: training with one sigma a sample would train every sample at the first one's noise level."""
    model = tiny_transformer(audio=True)
    video, sound = streams(model)
    assert sound is not None
    both = model(video, sound)
    for index in range(2):
        one = [
            replace(
                stream,
                tokens_BTC=stream.tokens_BTC[index : index + 1],
                context_BLD=stream.context_BLD[index : index + 1],
                timesteps_BS=stream.timesteps_BS[index : index + 1],
                sigma_B=stream.sigma_B[index : index + 1],
            )
            for stream in (video, sound)
        ]
        alone = model(*one).video_BTC[0]
        torch.testing.assert_close(alone, both.video_BTC[index], atol=1e-5, rtol=0)


@torch.no_grad()
def test_no_audio_equals_isolated_audio() -> None:
    """Red: leaving audio out is not the model's own video-only function."""
    model = tiny_transformer(audio=True)
    video, sound = streams(model)
    assert torch.equal(model(video).video_BTC, model(video, sound, isolate=True).video_BTC)
    assert not torch.allclose(model(video).video_BTC, model(video, sound).video_BTC, atol=1e-2)


@torch.no_grad()
def test_order_of_target_and_reference_does_not_matter() -> None:
    """Red: tokens are told apart by their place in the sequence, not by position and timestep."""
    model = tiny_transformer()
    video = tiny_video(model.config, reference=2)
    order = torch.cat((torch.arange(TARGET, video.tokens_BTC.shape[1]), torch.arange(TARGET)))
    turned = replace(
        video,
        tokens_BTC=video.tokens_BTC[:, order],
        sequence=Sequence(video.sequence.segments[::-1], video.sequence.rope.rows(order)),
        timesteps_BS=video.timesteps_BS.flip(1),
    )
    torch.testing.assert_close(model(turned).video_BTC, model(video).video_BTC[:, order], atol=1e-5, rtol=0)


def test_clip_segments() -> None:
    """Red: kept rows are modulated with another segment's timestep."""
    assert clip_segments((84, 1260, 1344), 1344) == (84, 1260)
    assert clip_segments((84, 1260), 85) == (84, 1)
    assert clip_segments((84, 1260), 84) == (84,)
    assert clip_segments((84, 1260), 1344) == (84, 1260)


# --- training, dtypes, compiling ---


@BOTH
def test_checkpointing_gives_the_same_gradients(audio: bool) -> None:
    """Red: recomputing blocks in the backward pass trains another function."""
    model = tiny_transformer(audio=audio)
    gradients = []
    for recompute in (False, True):
        model.gradient_checkpointing = recompute
        model.zero_grad()
        out = model(*streams(model))
        loss = out.video_BTC.square().mean() + (0 if out.audio_BTC is None else out.audio_BTC.square().mean())
        loss.backward()
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters()})
    assert all(torch.equal(gradients[0][name], gradients[1][name]) for name in gradients[0])


@BOTH
def test_every_parameter_trains(audio: bool) -> None:
    """Red: a parameter never reaches the loss, so it would stay at its first value."""
    model = tiny_transformer(audio=audio)
    out = model(*streams(model))
    (
        out.video_BTC.square().mean() + (0 if out.audio_BTC is None else out.audio_BTC.square().mean())
    ).backward()
    dead = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert dead == []


def test_a_step_of_training_lowers_the_loss() -> None:
    """Red: the model does not learn even one batch."""
    torch.manual_seed(0)
    model = Transformer(tiny_config(layers=2))
    video = tiny_video(model.config, reference=1)
    goal = randn(*video.tokens_BTC.shape, seed=5)
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(30):
        loss = (model(video).video_BTC - goal).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]


@BOTH
@torch.no_grad()
def test_bf16_weights_with_fp32_tables(audio: bool) -> None:
    """Red: the mixed precision of an official file widens activations or fails."""
    model = tiny_transformer(audio=audio)
    exact = model(*streams(model)).video_BTC
    for name, parameter in model.named_parameters():
        if "scale_shift_table" not in name:
            parameter.data = parameter.data.bfloat16()
    out = model(*streams(model))
    assert out.video_BTC.dtype == torch.bfloat16
    error = (out.video_BTC - exact).square().mean().sqrt() / exact.square().mean().sqrt()
    assert error < 0.03


def test_autocast_trains() -> None:
    """Red: fp32 weights under bf16 autocast give a wrong dtype inside attention, or no gradients."""
    model = tiny_transformer()
    exact = model(tiny_video(model.config, reference=1)).video_BTC
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = model(tiny_video(model.config, reference=1)).video_BTC
    out.float().square().mean().backward()
    assert model.transformer_blocks[0].attn1.to_q.weight.grad.dtype == torch.float32
    assert (out - exact).square().mean().sqrt() < 0.03 * exact.square().mean().sqrt()


@BOTH
@torch.no_grad()
def test_blocks_compile_as_one_graph(audio: bool) -> None:
    """Red: a block breaks into several graphs and compiling it brings little."""
    torch.compiler.reset()
    model = tiny_transformer(audio=audio, layers=2)
    video, sound = streams(model)
    expected = model.forward_passes(pair(video, sound, stg_blocks=(1,)), targets=TARGET)
    for block in model.transformer_blocks:
        block.compile(fullgraph=True, backend="eager")
    got = model.forward_passes(pair(video, sound, stg_blocks=(1,)), targets=TARGET)
    assert all(identical(left, right) for left, right in zip(expected, got, strict=True))
    assert isinstance(model.transformer_blocks[0], nn.Module)
    assert not any("_orig_mod" in name for name in model.state_dict())


# --- refusals ---


def test_streams_that_do_not_fit_are_refused() -> None:
    """Red: a wrong segment list is broadcast silently and the reference gets the target's timestep."""
    model = tiny_transformer()
    video = tiny_video(model.config, reference=1)
    with pytest.raises(ValueError, match="do not divide"):
        laid_out(video, segments=(TARGET, 1))
    with pytest.raises(ValueError, match="but 3 tokens"):
        replace(video, tokens_BTC=video.tokens_BTC[:, :3])
    with pytest.raises(ValueError, match="do not fit"):
        replace(video, timesteps_BS=video.timesteps_BS[:, :1])
    with pytest.raises(ValueError, match="RoPE tables for 3"):
        laid_out(video, rope=video.sequence.rope.first(3))
    with pytest.raises(ValueError, match="video-only"):
        model(video, tiny_audio(tiny_config(audio=True)))
    with pytest.raises(ValueError, match="do not exist"):
        model(video, stg_blocks=(29,))
    both = tiny_transformer(audio=True)
    with pytest.raises(ValueError, match="cross_rope"):
        both(laid_out(tiny_video(both.config), cross_rope=None), tiny_audio(both.config))


# --- config ---


@BOTH
def test_config_round_trip(audio: bool) -> None:
    """Red: a checkpoint that we write opens with other sizes."""
    config = tiny_config(audio=audio)
    back = TransformerConfig.from_dict(json.loads(json.dumps(official_dict(config))))
    assert (official_dict(back), back.audio) == (official_dict(config), audio)
    official = TransformerConfig.from_dict(OFFICIAL["transformer"])
    assert TransformerConfig.from_dict(official_dict(official)) == official
    assert (official.dim, official.audio_dim, official.cross_timestep_scale) == (4096, 2048, 1000.0)


def test_header() -> None:
    """Red: the metadata of a single-file checkpoint is not read, or damage in it passes."""
    header = {"config": json.dumps(OFFICIAL), "model_version": "2.3.0"}
    config = ModelConfig.from_header(header)
    assert (config.version, config.transformer.layers) == ("2.3.0", 48)
    assert config.vae["latent_channels"] == 128
    assert config.audio_vae is not None
    assert config.vocoder is not None
    damaged = [
        ({}, "no `config`"),
        ({"config": "{"}, "not valid JSON"),
        ({"config": "[1]"}, "not a JSON object"),
        ({"config": json.dumps({"transformer": OFFICIAL["transformer"]})}, "'vae'"),
        ({"config": json.dumps({**OFFICIAL, "audio_vae": 3})}, "audio_vae"),
    ]
    for metadata, message in damaged:
        with pytest.raises(CheckpointError, match=message):
            ModelConfig.from_header(metadata)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_layers": None}, "wrong type"),
        ({"cross_attention_dim": 2048}, "do not fit together"),
        ({"attention_head_dim": 127}, "do not fit together"),
        ({"audio_cross_attention_dim": 64}, "do not fit together"),
        ({"positional_embedding_max_pos": [20]}, "do not fit together"),
    ],
)
def test_damaged_config(change: dict[str, object], message: str) -> None:
    """Red: an impossible size is found only deep inside the model."""
    with pytest.raises(CheckpointError, match=message):
        TransformerConfig.from_dict({**OFFICIAL["transformer"], **change})


def test_missing_value_is_not_assumed() -> None:
    """Red: the cross-attention timestep multiplier falls back to 1 and sound drifts from picture."""
    raw = dict(OFFICIAL["transformer"])
    del raw["av_ca_timestep_scale_multiplier"]
    with pytest.raises(CheckpointError, match="av_ca_timestep_scale_multiplier"):
        TransformerConfig.from_dict(raw)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ff_bias": False, "use_keyframes_abs_pos_embedding": False}, "keyframes.*is False.*LTX-2.5"),
        ({"ff_bias": True, "use_keyframes_abs_pos_embedding": True}, "ff_bias is True.*LTX-2.5"),
        ({"use_prompt_adaln_single": False}, "use_prompt_adaln_single is False.*LTX-2.5"),
        ({"ff_bias": False, "audio_ff_bias": False}, "audio_ff_bias is False.*LTX-2.5"),
        ({"ff_bias": False, "connector_ff_bias": False}, "connector_ff_bias is False.*LTX-2.5"),
        ({"cross_attention_adaln": False}, "cross_attention_adaln is False"),
        ({"rope_type": "interleaved"}, "rope_type"),
        ({"apply_gated_attention": False}, "apply_gated_attention"),
    ],
)
def test_other_formulas_are_named(change: dict[str, object], message: str) -> None:
    """Red: a file of a family's unreleased variant, or of 2.0, is run with other formulas and gives noise."""
    with pytest.raises(FamilyError, match=message) as caught:
        TransformerConfig.from_dict({**OFFICIAL["transformer"], **change})
    assert "LTX-2." in caught.value.remedy or "ltx-2." in caught.value.remedy
