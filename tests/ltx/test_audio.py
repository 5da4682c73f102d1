"""Audio VAE and vocoder: layout from official configs, names, parity with diffusers."""

from __future__ import annotations

import copy

import pytest
import torch
from diffusers import AutoencoderKLLTX2Audio
from diffusers.pipelines.ltx2.vocoder import LTX2VocoderWithBWE

from castsheet.errors import CheckpointError
from castsheet.ltx.parts.audio import (
    AudioVAE,
    Vocoder,
    audio_vae_from_official,
    audio_vae_settings,
    vocoder_from_official,
    vocoder_settings,
)
from mini.official import audio_vae_to_official, vocoder_to_official
from tests.doubles.model_doubles import OFFICIAL, toy_config

CONFIG = toy_config()


def randomised(module: torch.nn.Module) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return module


def test_official_configs_give_the_published_networks():
    """Red: the 22B file's audio parts are built with other sizes and cannot load."""
    with torch.device("meta"):
        vae, vocoder = AudioVAE(OFFICIAL["audio_vae"]), Vocoder(OFFICIAL["vocoder"])
    stored = [audio_vae_to_official(vae), vocoder_to_official(vocoder)]
    assert [len(tensors) for tensors in stored] == [102, 1227]
    assert [sum(t.numel() for t in tensors.values()) for tensors in stored] == [53_248_402, 129_085_032]
    assert (vae.channels, vae.rate, vae.latents_per_second, vocoder.rate) == (128, 16_000, 25.0, 48_000)
    assert vae.latent_frames(121 / 24) == 126
    for name in (
        "vocoder.ups.0.weight",
        "bwe_generator.act_post.downsample.lowpass.filter",
        "mel_stft.mel_basis",
    ):
        assert f"vocoder.{name}" in stored[1]


def test_settings_equal_diffusers_own_defaults_for_the_release():
    """Red: a setting of the released audio networks is read wrongly."""
    vae = AutoencoderKLLTX2Audio().config
    ours = audio_vae_settings(OFFICIAL["audio_vae"])
    assert {name: vae[name] for name in ours} == ours
    vocoder = LTX2VocoderWithBWE().config
    ours = vocoder_settings(OFFICIAL["vocoder"])
    differing = {name for name, value in ours.items() if vocoder[name] != value}
    # The official code clamps the first stage's waveform to [-1,1]; diffusers' conversion leaves that out.
    assert differing == {"final_act_fn"}
    assert ours["final_act_fn"] == "clamp"


def test_audio_vae_equals_diffusers_with_normalised_tokens():
    """Red: sounds are decoded from wrongly scaled or wrongly ordered latents."""
    vae = randomised(AudioVAE(CONFIG["audio_vae"]))
    vae.model.latents_mean.copy_(torch.randn(16))
    vae.model.latents_std.copy_(torch.rand(16) + 0.5)
    mel = torch.randn(1, 2, 37, 16)
    raw = vae.model.encode(mel).latent_dist.mode()
    packed = raw.transpose(1, 2).flatten(2)
    tokens = vae.encode(mel)
    assert tokens.shape == (1, 10, 16)
    torch.testing.assert_close(
        tokens * vae.model.latents_std + vae.model.latents_mean, packed, atol=1e-5, rtol=0
    )
    torch.testing.assert_close(vae.decode(tokens), vae.model.decode(raw).sample, atol=1e-5, rtol=0)
    assert vae.decode(tokens).shape == mel.shape


def test_official_names_round_trip():
    """Red: audio parts cannot be read back from the file that they were written to."""
    vae, vocoder = randomised(AudioVAE(CONFIG["audio_vae"])), randomised(Vocoder(CONFIG["vocoder"]))
    stored = audio_vae_to_official(vae)
    assert "audio_vae.per_channel_statistics.std-of-means" in stored
    again = audio_vae_to_official(audio_vae_from_official(CONFIG["audio_vae"], stored))
    assert list(again) == list(stored)
    assert all(torch.equal(again[name], tensor) for name, tensor in stored.items())
    waves = vocoder_to_official(vocoder)
    back = vocoder_from_official(CONFIG["vocoder"], waves)
    mel = torch.randn(1, 2, 5, 64)
    assert torch.equal(back(mel), vocoder(mel))


def test_vocoder_runs_in_fp32_from_a_bf16_file():
    """Red: the vocoder computes in bf16, or with an empty resampling filter."""
    vocoder = randomised(Vocoder(CONFIG["vocoder"]))
    half = {name: tensor.bfloat16() for name, tensor in vocoder_to_official(vocoder).items()}
    back = vocoder_from_official(CONFIG["vocoder"], half)
    assert {p.dtype for p in back.parameters()} == {torch.float32}
    sound = back(torch.randn(1, 2, 4, 64).bfloat16())
    assert sound.dtype == torch.float32
    assert sound.shape == (1, 2, 4 * 160 * 3)
    assert torch.equal(back.model.resampler.filter, vocoder.model.resampler.filter)


def changed(part: str, *path: str, value: object) -> dict:
    config = copy.deepcopy(CONFIG[part])
    inner = config
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    return config


def test_unsupported_configs_are_refused():
    """Red: an unknown audio network is built anyway and plays noise."""
    network = ("model", "params", "ddconfig")
    with pytest.raises(CheckpointError, match="ch_mult"):
        AudioVAE(changed("audio_vae", *network, "ch_mult", value=[1, 2]))
    with pytest.raises(CheckpointError, match="mel cells"):
        AudioVAE(changed("audio_vae", *network, "ch", value=24))
    with pytest.raises(CheckpointError, match="malformed"):
        AudioVAE({"model": {}})
    with pytest.raises(CheckpointError, match="snake"):
        Vocoder(changed("vocoder", "vocoder", "activation", value="snake"))
    with pytest.raises(CheckpointError, match="bwe"):
        Vocoder({"vocoder": CONFIG["vocoder"]["vocoder"]})
