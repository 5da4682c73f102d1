"""LTX-2.5's other video VAE: the encoder of the first, and a small diffusion model as decoder.

The decoder is diffusers' network with our own attention (neighbourhood.py). It makes pixels from noise in one
step, so decoding needs a seed. Its latents are those of the convolutional VAE.

Cost: 51 times the convolutional decoder's: 11.9 s of an H200 for a clip of 768x448x121 (docs/families.md).

Legend: B batch, C channels, F frames, H height, W width (of pixels or of latent cells), O outputs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from diffusers import LTX2VideoDiffusionDecoderModel
from torch import Tensor, nn

from castsheet.errors import CheckpointError
from castsheet.ltx import keys
from castsheet.ltx.parts.neighbourhood import NeighbourhoodAttention
from castsheet.ltx.parts.vae import VideoVAE, fill

_RENAMED = {
    "t_embedder.mlp.0.": "t_embedder.timestep_embedder.linear_1.",
    "t_embedder.mlp.2.": "t_embedder.timestep_embedder.linear_2.",
    ".attn.proj.": ".attn.to_out.0.",
    ".attn.q_norm.": ".attn.norm_q.",
    ".attn.k_norm.": ".attn.norm_k.",
}
# A constant gate of each residual branch, and the layer that it can be multiplied into.
_GATED = {".attn.to_out.0": ".gate_msa", ".mlp.w_down": ".gate_mlp", ".context_proj": ".gate_ctx"}
_UNUSED = re.compile(r"(^|\.)(coarse_|type_emb|gate_(msa|mlp|ctx)$)")


def decoder_settings(config: Mapping[str, Any], latent_channels: int) -> dict[str, Any]:
    """Constructor arguments of diffusers' decoder.

    Raises:
        CheckpointError: a value is missing; other programs would assume another one than the file means.
    """
    decoder = config.get("decoder", config)
    try:
        settings = {
            "decoder_num_inference_steps": int(decoder["default_num_inference_steps"]),
            "decoder_timestep_scale_multiplier": float(decoder["timestep_scale_multiplier"]),
            "decoder_model_output_type": str(config["model_output_type"]),
        }
        renamed = {
            "stage_channels": "decoder_stage_channels",
            "stage_depths": "decoder_stage_depths",
            "stage_kernels": "decoder_stage_kernels",
            "stage5_kernel": "decoder_stage5_kernel",
            "head_dim": "decoder_head_dim",
            "na_head_dim": "decoder_head_dim",
            "t_emb_dim": "decoder_t_emb_dim",
            "patch_size": "patch_size",
        }
        settings |= {own: _tuples(decoder[name]) for name, own in renamed.items() if name in decoder}
        if "upsamples" in decoder:
            settings["decoder_upsample_strides"] = tuple(tuple(stride) for stride, _ in decoder["upsamples"])
            settings["decoder_upsample_channel_reductions"] = tuple(by for _, by in decoder["upsamples"])
    except (KeyError, TypeError, ValueError) as error:
        raise _unusable(f"the decoder's {error} is missing or malformed") from error
    return {**settings, "latent_channels": latent_channels}


class DiffusionVAE(VideoVAE):
    """`VideoVAE` whose decoder draws noise: the same seed gives the same pixels.

    Raises:
        CheckpointError: the config describes a network that is not supported.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        self.model.decoder = nn.Identity()
        try:
            self.decoder = LTX2VideoDiffusionDecoderModel(**decoder_settings(config, self.channels))
        except ValueError as error:
            raise _unusable(str(error)) from error
        self.decoder.set_attn_processor(NeighbourhoodAttention())

    def pieces(self, latents_BCFHW: Tensor, seed: int = 0) -> Iterator[Tensor]:
        """The frames at once: the decoder joins its tiles itself."""
        raw = self.denormalise(latents_BCFHW.to(self.model.dtype))
        yield self.decoder.decode(raw, generator=torch.Generator().manual_seed(seed), return_dict=False)[0]

    def tile(self, tiling: bool) -> None:
        """Make the decoder's last stages work in overlapping tiles of space and time, or whole again."""
        if tiling:
            self.decoder.enable_tiling()
        else:
            self.decoder.disable_tiling()
        self.tiling = tiling


def diffusion_vae_from_official(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> DiffusionVAE:
    """Build the VAE around official tensors (names with or without `vae.`), keeping their device and dtype.

    Raises:
        CheckpointError: a tensor is missing, unknown or of the wrong shape; up to five are named.
    """
    with torch.device("meta"):
        vae = DiffusionVAE(config)
    bare = {name.removeprefix(keys.VAE): tensor for name, tensor in tensors.items()}
    decoder = {
        name.removeprefix("decoder."): one for name, one in bare.items() if name.startswith("decoder.")
    }
    encoder = {
        keys.vae_to_diffusers(name, vae.encoder_compressions): tensor
        for name, tensor in bare.items()
        if not name.startswith("decoder.")
    }
    statistics = {name: tensor for name, tensor in encoder.items() if name.startswith("latents_")}
    fill(vae.model, encoder)
    fill(vae.decoder, {f"decoder.{name}": one for name, one in decoder_tensors(decoder).items()} | statistics)
    return vae


def decoder_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The decoder's tensors as diffusers' network has them.

    Gates of a distilled file are multiplied into the layers that they gate. One product for queries, keys and
    values becomes three. Tensors that only other programs read, such as coarse previews, are left out.
    """
    made: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if _UNUSED.search(name):
            continue
        new = name
        for old, other in _RENAMED.items():
            new = new.replace(old, other)
        layer, _, leaf = new.rpartition(".")
        if layer.endswith(".qkv"):
            made |= {
                f"{layer.removesuffix('qkv')}to_{one}.{leaf}": part
                for one, part in zip("qkv", tensor.chunk(3), strict=True)
            }
            continue
        gate = next(
            (
                tensors.get(layer.removesuffix(end) + own)
                for end, own in _GATED.items()
                if layer.endswith(end)
            ),
            None,
        )
        made[new] = tensor if gate is None else _gated(tensor, gate)
    return made


def _gated(tensor: Tensor, gate_O: Tensor) -> Tensor:
    gate = gate_O.float()
    return ((gate[:, None] if tensor.ndim == 2 else gate) * tensor.float()).to(tensor.dtype)


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _unusable(what: str) -> CheckpointError:
    return CheckpointError(
        f"this diffusion video VAE is not supported: {what}",
        remedy="use the file with the convolutional decoder, ltx-2.5-video-vae-conv-bf16.safetensors",
    )
