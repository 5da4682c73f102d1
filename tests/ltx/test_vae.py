"""Video VAE: layout from official configs, names, parity with diffusers, facts that references rely on."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from diffusers import AutoencoderKLLTX2Video
from torch import Tensor

from castsheet.errors import CheckpointError, SettingsError
from castsheet.ltx.parts.vae import VideoVAE, diffusers_settings, video_vae_from_official
from mini.official import set_statistics, video_vae_to_official
from tests.doubles.model_doubles import MINI_VAE, OFFICIAL, toy_config

TOY_VAE = toy_config()["vae"]


def randomised(module: torch.nn.Module, *, seed: int = 3) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            fan_in = parameter[0].numel() if parameter.ndim > 1 else 100
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / math.sqrt(fan_in))
    return module


def peer(latent: int = 8, decoder_base: int = 2) -> AutoencoderKLLTX2Video:
    """diffusers' network with the published 2.3 settings, written out by hand at toy width."""
    return AutoencoderKLLTX2Video(
        latent_channels=latent,
        block_out_channels=tuple(latent * k for k in (2, 4, 8, 8)),
        decoder_block_out_channels=tuple(decoder_base * k for k in (2, 4, 4, 8)),
        layers_per_block=(4, 6, 4, 2, 2),
        decoder_layers_per_block=(4, 6, 4, 2, 2),
        spatio_temporal_scaling=(True,) * 4,
        decoder_spatio_temporal_scaling=(True,) * 4,
        decoder_inject_noise=(False,) * 5,
        downsample_type=("spatial", "temporal", "spatiotemporal", "spatiotemporal"),
        upsample_type=("spatiotemporal", "spatiotemporal", "temporal", "spatial"),
        upsample_residual=(False,) * 4,
        upsample_factor=(2, 2, 1, 2),
        encoder_causal=True,
        decoder_causal=False,
        encoder_spatial_padding_mode="zeros",
        decoder_spatial_padding_mode="zeros",
        spatial_compression_ratio=32,
        temporal_compression_ratio=8,
    )


def video(frames: int, *, height: int = 32, width: int = 64, seed: int = 0) -> Tensor:
    return torch.rand(1, 3, frames, height, width, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_official_config_gives_the_published_network():
    """Red: the 22B file's VAE is built with other widths or block kinds and cannot load."""
    settings = diffusers_settings(OFFICIAL["vae"])
    assert settings["block_out_channels"] == (256, 512, 1024, 1024)
    assert settings["layers_per_block"] == (4, 6, 4, 2, 2)
    assert settings["decoder_block_out_channels"] == (256, 512, 512, 1024)
    assert settings["upsample_factor"] == (2, 2, 1, 2)
    assert settings["upsample_type"] == ("spatiotemporal", "spatiotemporal", "temporal", "spatial")
    with torch.device("meta"):
        vae = VideoVAE(OFFICIAL["vae"])
    counts = [sum(p.numel() for p in half.parameters()) for half in (vae.model.encoder, vae.model.decoder)]
    assert counts == [318_936_897, 407_169_072]
    assert (vae.spatial, vae.temporal, vae.channels) == (32, 8, 128)


def test_encode_and_decode_equal_diffusers():
    """Red: latents or pixels differ from what LTX-2.3 was trained with."""
    other, vae = randomised(peer()), VideoVAE(TOY_VAE)
    vae.model.load_state_dict(other.state_dict())
    mean, std = torch.randn(8), torch.rand(8) + 0.5
    set_statistics(vae, mean, std)
    pixels = video(17)
    expected = (other.encode(pixels).latent_dist.mode() - mean.view(1, -1, 1, 1, 1)) / std.view(
        1, -1, 1, 1, 1
    )
    latents = vae.encode(pixels)
    torch.testing.assert_close(latents, expected, atol=1e-5, rtol=1e-5)
    raw = latents * std.view(1, -1, 1, 1, 1) + mean.view(1, -1, 1, 1, 1)
    torch.testing.assert_close(vae.decode(latents), other.decode(raw).sample, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("config", [MINI_VAE, TOY_VAE], ids=["three compressions", "four compressions"])
def test_official_names_round_trip(config: dict):
    """Red: a VAE cannot be read back from the file that it was written to."""
    vae = randomised(VideoVAE(config))
    stored = video_vae_to_official(vae)
    steps = len(config["encoder_blocks"]) // 2
    assert f"vae.encoder.down_blocks.{2 * steps}.res_blocks.0.conv1.conv.weight" in stored
    assert "vae.encoder.down_blocks.1.conv.conv.weight" in stored
    assert f"vae.decoder.up_blocks.{2 * steps - 1}.conv.conv.bias" in stored
    assert "vae.decoder.up_blocks.0.res_blocks.0.conv2.conv.weight" in stored
    assert "vae.per_channel_statistics.mean-of-means" in stored
    back = video_vae_from_official(config, {name.removeprefix("vae."): t for name, t in stored.items()})
    again = video_vae_to_official(back)
    assert list(again) == list(stored)
    assert all(torch.equal(again[name], tensor) for name, tensor in stored.items())
    pixels = video(9)
    assert torch.equal(back.encode(pixels), vae.encode(pixels))


def test_three_compressions_scale_by_their_own_factors():
    """Red: the mini model's latent grid is counted with diffusers' guess (32, 32) instead of (16, 8)."""
    vae = randomised(VideoVAE(MINI_VAE))
    assert (vae.spatial, vae.temporal) == (16, 8)
    latents = vae.encode(video(17, height=48, width=32))
    assert latents.shape == (1, 8, 3, 3, 2)
    assert vae.decode(latents).shape == (1, 3, 17, 48, 32)


def test_uneven_decoder_layers_stay_in_their_place():
    """Red: a decoder list that is not symmetric is executed in the wrong direction."""
    vae = VideoVAE(MINI_VAE)
    layers = [
        len(vae.model.decoder.mid_block.resnets),
        *(len(b.resnets) for b in vae.model.decoder.up_blocks),
    ]
    assert layers == [2, 3, 2, 1]
    widths = [block.resnets[0].conv1.conv.out_channels for block in vae.model.decoder.up_blocks]
    assert widths == [16, 8, 4]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.float32, 1e-5)])
def test_one_frame_encode_repeated_equals_a_static_video(dtype: torch.dtype, tolerance: float):
    """Red: the reference sheet can no longer be encoded once and repeated."""
    vae = randomised(VideoVAE(TOY_VAE)).to(dtype)
    with torch.no_grad():
        still = video(1).to(dtype)
        moving = vae.encode(still.expand(-1, -1, 121, -1, -1))
        once = vae.encode(still)
    assert moving.shape[2] == 16
    assert (moving - once).abs().max() <= tolerance


def test_first_latent_frame_depends_on_the_first_frame_only():
    """Red: first-frame conditioning from one image differs from that of a clip."""
    vae = randomised(VideoVAE(MINI_VAE))
    pixels = video(25)
    with torch.no_grad():
        whole, first = vae.encode(pixels), vae.encode(pixels[:, :, :1])
    torch.testing.assert_close(whole[:, :, :1], first, atol=1e-5, rtol=0)
    assert (whole[:, :, 1:] - first).abs().max() > 1e-3


def test_gradients_reach_every_parameter():
    """Red: the mini codec cannot be trained."""
    vae = randomised(VideoVAE(MINI_VAE))
    pixels = video(9, width=32)
    mean, logvar = vae.moments(pixels)
    (vae.decode(vae.normalise(mean)).sub(pixels).abs().mean() + logvar.square().mean()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in vae.parameters())


@pytest.mark.parametrize("shape", [(8, 32, 64), (2, 32, 64), (9, 40, 64), (9, 32, 63)])
def test_sizes_that_cannot_be_encoded_are_refused(shape: tuple[int, int, int]):
    """Red: a wrong frame count or size ends in a reshape error deep inside the network."""
    frames, height, width = shape
    with pytest.raises(SettingsError) as error:
        VideoVAE(TOY_VAE).encode(video(frames, height=height, width=width))
    assert error.value.remedy


def broken(**changes: object) -> dict:
    return {**copy.deepcopy(TOY_VAE), **changes}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (broken(norm_layer="group_norm"), "norm_layer"),
        (broken(timestep_conditioning=True), "timestep_conditioning"),
        (broken(encoder_blocks=None), "malformed"),
        ({key: value for key, value in TOY_VAE.items() if key != "latent_channels"}, "latent_channels"),
        (broken(encoder_blocks=[["res_x", {"num_layers": 1}]]), "different factors"),
        (
            broken(encoder_blocks=[["res_x", 1], ["compress_sideways_res", {}], ["res_x", 1]]),
            "compress_sideways_res",
        ),
        (broken(encoder_blocks=[["res_x", 1], ["compress_all", {}], ["res_x", 1]]), "compress_all"),
        (broken(encoder_blocks=[["res_x", 1], ["compress_all_res", {}]]), "does not end"),
        (broken(encoder_blocks=[["res_x", 1], ["res_x", 1]]), "alternate"),
    ],
)
def test_unsupported_configs_say_what_is_unsupported(config: dict, message: str):
    """Red: an unsupported VAE is built anyway and decodes noise."""
    with pytest.raises(CheckpointError, match=message):
        VideoVAE(config)


def test_wrong_tensors_are_named():
    """Red: a missing, foreign or mis-shaped tensor goes unnoticed, or is reported without its name."""
    stored = video_vae_to_official(VideoVAE(MINI_VAE))
    name = "vae.decoder.conv_in.conv.weight"
    with pytest.raises(CheckpointError, match=r"1 missing: decoder\.conv_in\.conv\.weight"):
        video_vae_from_official(MINI_VAE, {key: t for key, t in stored.items() if key != name})
    with pytest.raises(CheckpointError, match=r"1 unknown: decoder\.extra"):
        video_vae_from_official(MINI_VAE, stored | {"vae.decoder.extra": torch.zeros(1)})
    with pytest.raises(CheckpointError, match="of another shape"):
        video_vae_from_official(MINI_VAE, stored | {name: torch.zeros(1)})


@torch.no_grad()
@pytest.mark.parametrize(
    ("frames", "cells"), [(1, (2, 2)), (2, (2, 2)), (3, (2, 2)), (4, (2, 17)), (9, (2, 2))]
)
def test_pieces_are_the_tiles_of_diffusers(frames: int, cells: tuple[int, int]) -> None:
    """Red: what a small card decodes piece by piece differs from diffusers' tiles by a bit, or a frame."""
    other, vae = randomised(peer()), VideoVAE(TOY_VAE)
    vae.model.load_state_dict(other.state_dict())
    generator = torch.Generator().manual_seed(frames)
    latents = torch.randn(1, vae.channels, frames, *cells, generator=generator)
    other.enable_tiling()
    other.use_framewise_decoding = True
    expected = other.decode(vae.denormalise(latents)).sample
    vae.tile(True)
    pieces = list(vae.pieces(latents))
    assert len(pieces) == (1 if frames <= 2 else frames - 1)
    assert torch.equal(torch.cat(pieces, dim=2), expected)
    assert torch.equal(vae.decode(latents), expected)
