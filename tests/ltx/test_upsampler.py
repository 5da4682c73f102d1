"""The latent upsampler against diffusers, and files that are none."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import LTX2LatentUpsamplePipeline

from castsheet.errors import CheckpointError
from castsheet.ltx.files.upsampler import Upsampler
from castsheet.ltx.header import save_tensors
from castsheet.ltx.latents import enlarge
from castsheet.ltx.parts.vae import VideoVAE
from mini.official import set_statistics
from tests.doubles.ltx_tiny import close
from tests.doubles.tiny_bundle import CHANNELS, vae_config
from tests.doubles.tiny_upsampler import latents, tiny_upsampler, write_upsampler

KINDS = [(2.0, False, 3), (2.0, True, 3), (1.5, True, 3), (2.0, False, 2)]


@pytest.fixture(scope="module")
def vae() -> VideoVAE:
    vae = VideoVAE(vae_config()).eval()
    set_statistics(vae, torch.linspace(-0.2, 0.2, CHANNELS), torch.linspace(0.5, 1.5, CHANNELS))
    return vae


@torch.no_grad()
@pytest.mark.parametrize(("scale", "rational", "dims"), KINDS)
def test_enlarged_as_diffusers_does(vae: VideoVAE, tmp_path: Path, scale, rational, dims) -> None:
    """Red: latents are enlarged by other numbers than the official pipeline's, or not normalised as its."""
    peer = tiny_upsampler(scale, rational=rational, dims=dims)
    found = Upsampler.open(write_upsampler(tmp_path / "up.safetensors", peer, spatial_scale=scale))
    assert (found.scale, found.channels) == (scale, CHANNELS)
    x = latents(3, 4, 6)
    pipeline = LTX2LatentUpsamplePipeline(vae=vae.model, latent_upsampler=peer)
    raw = pipeline(
        latents=x, latents_normalized=True, height=64, width=96, num_frames=17, output_type="latent"
    ).frames
    enlarged = enlarge(found.load(dtype=torch.float32), vae, x)
    assert enlarged.shape == (1, CHANNELS, 3, 4 * scale, 6 * scale)
    close(enlarged, vae.normalise(raw))


def test_the_released_networks_size() -> None:
    """Red: the publisher's file, 72 tensors of 1,024 channels and 995,778,752 bytes, is another network."""
    with torch.device("meta"):
        network = tiny_upsampler(in_channels=128, mid_channels=1024, num_blocks_per_stage=4)
    state = network.state_dict()
    assert len(state) == 72
    # The file is its tensors in bf16, and a header of some 43 kB.
    assert 0 < 995_778_752 - 2 * sum(one.numel() for one in state.values()) < 50_000


def test_a_blur_that_the_file_leaves_out_is_filled_in(vae: VideoVAE, tmp_path: Path) -> None:
    """Red: a file whose fixed blur was not saved is refused, or blurs by random memory."""
    peer = tiny_upsampler(1.5, rational=True)
    whole = Upsampler.open(write_upsampler(tmp_path / "whole.safetensors", peer))
    bare = {name: one for name, one in peer.state_dict().items() if "blur_down" not in name}
    save_tensors(bare, tmp_path / "bare.safetensors")
    x = latents(2, 2, 2)
    networks = [
        one.load(dtype=torch.float32) for one in (whole, Upsampler.open(tmp_path / "bare.safetensors"))
    ]
    left, right = (enlarge(network, vae, x) for network in networks)
    assert torch.equal(left, right)


@pytest.mark.parametrize(
    ("network", "config", "words"),
    [
        ({"spatial_upsample": False, "temporal_upsample": True}, {}, "temporal"),
        ({}, {"spatial_scale": 0.75}, "0.75"),
        ({}, {"spatial_scale": "two"}, "spatial_scale"),
        ({"scale": 4.0, "rational": True}, {}, "by 4"),
    ],
)
def test_other_upsamplers_are_refused_by_name(tmp_path: Path, network, config, words) -> None:
    """Red: frames are added, or the clip gets another size than was asked for, in silence."""
    file = write_upsampler(tmp_path / "up.safetensors", tiny_upsampler(**network), **config)
    with pytest.raises(CheckpointError, match=words):
        Upsampler.open(file)


def test_files_that_are_no_upsampler_are_refused(tmp_path: Path) -> None:
    """Red: an adapter or a torn file named as upsampler ends in a traceback."""
    other = tmp_path / "other.safetensors"
    save_tensors({"diffusion_model.x.lora_A.weight": torch.zeros(2, 2)}, other)
    with pytest.raises(CheckpointError, match="no latent upsampler"):
        Upsampler.open(other)
    save_tensors(
        {"initial_conv.weight": torch.zeros(0, 2, 3, 3), "upsampler.0.weight": torch.zeros(4)}, other
    )
    with pytest.raises(CheckpointError, match="no latent upsampler"):
        Upsampler.open(other)
    named = tiny_upsampler().state_dict() | {"res_blocks.first.conv1.bias": torch.zeros(32)}
    save_tensors(named, other)
    with pytest.raises(CheckpointError, match=r"unknown: res_blocks\.first"):
        Upsampler.open(other).load()
    network = tiny_upsampler()
    state = {name: one for name, one in network.state_dict().items() if "final_conv" not in name}
    save_tensors(state, other)
    with pytest.raises(CheckpointError, match="missing: final_conv"):
        Upsampler.open(other).load()
