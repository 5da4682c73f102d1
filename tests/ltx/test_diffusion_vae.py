"""LTX-2.5's diffusion decoder: diffusers' network, our windows, the file's names, a seed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.autoencoders.ltx2_diffusion_decoder import (
    LTX2VideoVaeNeighborhoodAttention,
    LTX2VideoVaeNeighborhoodAttnProcessor,
)
from torch import Tensor

from castsheet.errors import CheckpointError
from castsheet.ltx.files.checkpoint import Checkpoint
from castsheet.ltx.parts.diffusion_vae import DiffusionVAE, decoder_tensors, diffusion_vae_from_official
from castsheet.ltx.parts.neighbourhood import NeighbourhoodAttention, attend
from castsheet.ltx.parts.vae import VideoVAE, scale_of
from mini.official import video_vae_to_official
from tests.doubles.ltx25_doubles import VAE, as_ltx_25, write_split
from tests.doubles.ltx_tiny import randn
from tests.doubles.model_doubles import random_tensors, toy_config

CONFIG: dict[str, Any] = {
    "_class_name": "CausalDiffusionVAE",
    "model_output_type": "x0",
    "encoder": {
        "blocks": [
            ["res_x", {"num_layers": 1}],
            ["compress_space_res", {"multiplier": 1}],
            ["res_x", {"num_layers": 1}],
            ["compress_time_res", {"multiplier": 1}],
            ["res_x", {"num_layers": 1}],
            ["compress_all_res", {"multiplier": 1}],
            ["res_x", {"num_layers": 1}],
            ["compress_all_res", {"multiplier": 1}],
            ["res_x", {"num_layers": 1}],
        ],
        "out_channels": 8,
        "patch_size": 4,
        "latent_log_var": "constant",
    },
    "decoder": {
        "default_num_inference_steps": 1,
        "timestep_scale_multiplier": 1000.0,
        "head_dim": 8,
        "t_emb_dim": 16,
        "patch_size": 4,
        "stage_channels": [32, 16, 8, 8, 8],
        "stage_depths": [1, 1, 1, 1, 2],
        "stage_kernels": [[3, 3, 3], [3, 3, 3], [3, 3, 3], [3, 3, 3]],
        "upsamples": [[[1, 2, 2], 2], [[2, 1, 1], 2], [[2, 2, 2], 1], [[2, 2, 2], 1]],
        "stage5_kernel": [3, 5, 5],
    },
}


def published(vae: DiffusionVAE) -> dict[str, Tensor]:
    """The VAE's tensors as a published file has them: fused products, shorter names, more than we read."""
    names = {"timestep_embedder.linear_1": "mlp.0", "timestep_embedder.linear_2": "mlp.2", "to_out.0": "proj"}
    names |= {"norm_q": "q_norm", "norm_k": "k_norm"}
    made: dict[str, Tensor] = {}
    state = vae.decoder.state_dict()
    for name, tensor in state.items():
        if name.startswith("latents_") or ".to_k." in name or ".to_v." in name:
            continue
        new = name
        for own, other in names.items():
            new = new.replace(own, other)
        if ".to_q." in name:
            parts = [state[name.replace("to_q", f"to_{one}")] for one in "qkv"]
            new, tensor = new.replace("to_q", "qkv"), torch.cat(parts)
        made[new] = tensor
    made |= {"decoder.type_emb": torch.zeros(1, 8), "decoder.coarse_head.weight": torch.ones(2)}
    encoder = video_vae_to_official(VideoVAEView(vae))
    return made | {name.removeprefix("vae."): tensor for name, tensor in encoder.items()}


class VideoVAEView:
    """The encoder's half of a VAE, as `video_vae_to_official` reads it."""

    def __init__(self, vae: VideoVAE) -> None:
        self.model, self.encoder_compressions = vae.model, vae.encoder_compressions


@pytest.fixture(scope="module")
def vae() -> DiffusionVAE:
    torch.manual_seed(0)
    made = DiffusionVAE(CONFIG).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape))
    return made


@pytest.mark.parametrize(
    ("grid", "window"),
    [((5, 9, 13), (3, 5, 5)), ((11, 12, 17), (11, 11, 11)), ((3, 7, 7), (3, 7, 7)), ((9, 20, 10), (3, 7, 5))],
)
@torch.no_grad()
def test_windows_are_those_of_the_published_decoder(grid: tuple, window: tuple) -> None:
    """Red: a cell near the border, or near an edge between our blocks, sees other neighbours."""
    torch.manual_seed(1)
    attention = LTX2VideoVaeNeighborhoodAttention(32, window, head_dim=16)
    x = randn(2, *grid, 32, seed=2)
    expected = attention(x)
    attention.set_processor(NeighbourhoodAttention())
    torch.testing.assert_close(attention(x), expected, atol=2e-6, rtol=0)


def test_a_window_as_large_as_the_grid_is_plain_attention() -> None:
    """Red: scores are scaled twice, or a mask hides cells that all may see."""
    q, k, v = (randn(1, 3, 4, 5, 2, 8, seed=seed) for seed in range(3))
    flat = (x.flatten(1, 3).transpose(1, 2) for x in (q, k, v))
    plain = torch.nn.functional.scaled_dot_product_attention(*flat, scale=1.0)
    torch.testing.assert_close(attend(q, k, v, (3, 4, 5)).flatten(1, 3), plain.transpose(1, 2))


@torch.no_grad()
def test_a_published_file_decodes_as_diffusers_does(vae: DiffusionVAE) -> None:
    """Red: a tensor is renamed, split or left out wrongly, or the latents are not denormalised."""
    loaded = diffusion_vae_from_official(CONFIG, published(vae)).eval()
    latents = randn(1, 8, 2, 3, 3, seed=4)
    got = loaded.decode(latents, seed=7)
    assert got.shape == (1, 3, 9, 96, 96)
    peer = vae.decoder
    peer.set_attn_processor(LTX2VideoVaeNeighborhoodAttnProcessor())
    noise = torch.Generator().manual_seed(7)
    expected = peer.decode(vae.denormalise(latents), generator=noise, return_dict=False)[0]
    peer.set_attn_processor(NeighbourhoodAttention())
    assert (got - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert torch.equal(got, loaded.decode(latents, seed=7))
    assert not torch.equal(got, loaded.decode(latents, seed=8))


@torch.no_grad()
def test_tiles_are_about_the_whole(vae: DiffusionVAE) -> None:
    """Red: where memory is short a clip is cut into tiles that lie at wrong places."""
    latents = randn(1, 8, 2, 6, 6, seed=4)
    enter = vae.decoder.decoder.conv_in_x_t.weight
    kept = enter.clone()
    enter.zero_()  # every tile draws noise of its own, which is not what is asked here
    whole = vae.decode(latents)
    vae.tile(True)
    vae.decoder.tile_sample_min_height = vae.decoder.tile_sample_min_width = 128
    vae.decoder.tile_sample_stride_height = vae.decoder.tile_sample_stride_width = 64
    tiled = vae.decode(latents)
    vae.tile(False)
    enter.copy_(kept)
    assert tiled.shape == whole.shape
    assert torch.corrcoef(torch.stack((tiled.flatten(), whole.flatten())))[0, 1] > 0.95


def test_gates_are_multiplied_into_their_layers() -> None:
    """Red: a distilled file's decoder, which carries gates, decodes as if they were one."""
    gates = {"msa": randn(4, seed=1), "mlp": randn(4, seed=2), "ctx": randn(4, seed=3)}
    layers = {"attn.proj": "msa", "mlp.w_down": "mlp", "context_proj": "ctx"}
    weights = {f"b.{layer}.weight": randn(4, 4, seed=5) for layer in layers}
    weights |= {"b.attn.proj.bias": randn(4, seed=6), "b.context_proj.bias": randn(4, seed=6)}
    made = decoder_tensors(weights | {f"b.gate_{name}": gate for name, gate in gates.items()})
    for layer, name in layers.items():
        own = layer.replace("attn.proj", "attn.to_out.0")
        assert torch.equal(made[f"b.{own}.weight"], gates[name][:, None] * weights[f"b.{layer}.weight"])
    assert torch.equal(made["b.attn.to_out.0.bias"], gates["msa"] * weights["b.attn.proj.bias"])
    assert not any("gate" in name for name in made)


@pytest.mark.parametrize(
    "gone", ["default_num_inference_steps", "timestep_scale_multiplier", "model_output_type"]
)
def test_a_missing_value_is_not_assumed(gone: str) -> None:
    """Red: a decode takes two steps, or reads velocities for pictures: what other programs assume."""
    config = {**CONFIG, "decoder": dict(CONFIG["decoder"])}
    config["decoder"].pop(gone, None)
    config.pop(gone, None)
    with pytest.raises(CheckpointError, match=gone):
        DiffusionVAE(config)


def test_both_vaes_encode_alike(vae: DiffusionVAE) -> None:
    """Red: latents of one VAE's encoder are not those of the other, whose weights are the same."""
    assert scale_of(CONFIG) == (8, 32, 32)
    conv = toy_config()["vae"] | {"latent_channels": 8, "encoder_blocks": CONFIG["encoder"]["blocks"]}
    conv |= {"decoder_blocks": [[n.removesuffix("_res"), s] for n, s in CONFIG["encoder"]["blocks"]][::-1]}
    other = VideoVAE(conv | {"decoder_base_channels": 1}).eval()
    state = other.model.state_dict() | {
        n: t for n, t in vae.model.state_dict().items() if n.startswith("encoder.")
    }
    other.model.load_state_dict(state)
    pixels = randn(1, 3, 9, 64, 64, seed=9)
    with torch.no_grad():
        assert torch.equal(vae.encode(pixels), other.encode(pixels))


def test_the_convolutional_file_is_taken_unless_the_other_is_named(tmp_path: Path, vae: DiffusionVAE) -> None:
    """Red: a decode takes seconds instead of a tenth of one because a second file lies in the folder."""
    from safetensors.torch import save_file

    from tests.doubles.gemma4_doubles import LAYERS
    from tests.doubles.ltx25_doubles import metadata

    config = as_ltx_25(toy_config())
    folder = write_split(tmp_path, random_tensors(config, states=LAYERS + 1), config)
    other = folder / "vae" / "ltx-2.5-video-vae-bf16.safetensors"
    stored = {name: tensor.contiguous().clone() for name, tensor in published(vae).items()}
    save_file(stored, other, metadata({"vae": CONFIG}, "vae"))
    assert type(Checkpoint.open(folder).load_video_vae()) is VideoVAE
    assert isinstance(Checkpoint.open(folder, vae=other).load_video_vae(dtype=torch.float32), DiffusionVAE)
    (folder / VAE).unlink()
    assert isinstance(Checkpoint.open(folder).load_video_vae(), DiffusionVAE)
