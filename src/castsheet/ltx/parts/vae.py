"""The video VAE: diffusers' network, built from the official `vae` config and filled with official tensors.

Shape legend: B batch, C channels, F frames, H height, W width (of pixels or of latent cells).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from operator import floordiv, mul
from typing import Any

import torch
from diffusers import AutoencoderKLLTX2Video
from torch import Tensor, nn

from castsheet.errors import CheckpointError, SettingsError
from castsheet.ltx import keys
from castsheet.machine.ranges import whole

_STRIDES = {"space": ("spatial", 1, 2), "time": ("temporal", 2, 1), "all": ("spatiotemporal", 2, 2)}
# What the network is, whatever its sizes.
_EXPECTED = {
    "dims": 3,
    "norm_layer": "pixel_norm",
    "latent_log_var": "uniform",
    "use_quant_conv": False,
    "timestep_conditioning": False,
}
# The official decoder starts this many times wider than `decoder_base_channels`, however many blocks it has.
_DECODER_WIDENING = 8


@dataclass(frozen=True)
class Compression:
    """One `compress_*` block: its factors for space and time, and its factor for the width."""

    kind: str
    spatial: int
    temporal: int
    multiplier: int
    residual: bool


@dataclass(frozen=True)
class BlockList:
    """Official blocks in order: `layers[0]` residual layers, `compressions[0]`, `layers[1]`, ..."""

    layers: tuple[int, ...]
    compressions: tuple[Compression, ...]

    @classmethod
    def parse(cls, blocks: Any, field: str) -> BlockList:
        """Read `encoder_blocks` or `decoder_blocks`.

        Raises:
            CheckpointError: a block of an unknown kind, or not res, compress, res, ..., res in turn.
        """
        layers: list[int] = []
        compressions: list[Compression] = []
        for position, block in enumerate(blocks):
            name, settings = block
            settings = {"num_layers": settings} if isinstance(settings, int) else dict(settings)
            if (name == "res_x") != (position % 2 == 0):
                raise unsupported(
                    "video VAE",
                    f"{field}[{position}] is {name!r} where residual and compress blocks must alternate",
                )
            if name == "res_x":
                if settings.get("inject_noise") or settings.get("attention_head_dim"):
                    raise unsupported(
                        "video VAE", f"{field}[{position}] asks for injected noise or attention"
                    )
                layers.append(whole(settings["num_layers"], 0, 256))
            else:
                compressions.append(_compression(name, settings, f"{field}[{position}]"))
        if len(layers) != len(compressions) + 1:
            raise unsupported("video VAE", f"{field} does not end with a residual block")
        return cls(tuple(layers), tuple(compressions))

    @property
    def spatial(self) -> int:
        return math.prod(step.spatial for step in self.compressions)

    @property
    def temporal(self) -> int:
        return math.prod(step.temporal for step in self.compressions)


def is_diffusion(config: Any) -> bool:
    """Whether an official `vae` config is that of LTX-2.5's VAE with a diffusion decoder."""
    return isinstance(config, Mapping) and config.get("_class_name") == "CausalDiffusionVAE"


def _conv_form(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config as one of the convolutional VAE: the same encoder, and a decoder of the same strides.

    Raises:
        CheckpointError: the encoder's blocks are missing.
    """
    encoder = config.get("encoder", config)
    blocks = encoder.get("blocks", encoder.get("encoder_blocks"))
    if not blocks:
        raise unsupported("video VAE", "the encoder's blocks are missing")
    strides = [name.removesuffix("_res") for name, _ in blocks if name.startswith("compress_")]
    plain = ["res_x", {"num_layers": 1}]
    return {
        "latent_channels": encoder.get("out_channels", config.get("latent_channels", 128)),
        "encoder_blocks": blocks,
        "decoder_blocks": [plain, *(one for name in strides for one in ([name, {"multiplier": 1}], plain))],
        "decoder_base_channels": 1,
        "patch_size": encoder.get("patch_size", 4),
        "norm_layer": encoder.get("norm_layer", "pixel_norm"),
        # A constant variance takes as many channels as a shared one: the means are the same.
        "latent_log_var": {"constant": "uniform"}.get(
            str(encoder.get("latent_log_var")), encoder.get("latent_log_var", "uniform")
        ),
        "encoder_spatial_padding_mode": encoder.get("spatial_padding_mode", "zeros"),
    }


def diffusers_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Constructor arguments of diffusers' `AutoencoderKLLTX2Video` for an official `vae` config.

    Raises:
        CheckpointError: the config names something that the network does not have.
    """
    if is_diffusion(config):
        return diffusers_settings(_conv_form(config))
    for field, value in _EXPECTED.items():
        if config.get(field, value) != value:
            raise unsupported("video VAE", f"{field} is {config[field]!r}, not {value!r}")
    try:
        encoder = BlockList.parse(config["encoder_blocks"], "encoder_blocks")
        decoder = BlockList.parse(list(config["decoder_blocks"])[::-1], "decoder_blocks reversed")
        latent, patch = whole(config["latent_channels"], 1, 4096), whole(config["patch_size"], 1, 64)
        widest = whole(config.get("decoder_base_channels", 128), 1, 4096) * _DECODER_WIDENING
        seen, shown = (whole(config.get(name, 3), 1, 64) for name in ("in_channels", "out_channels"))
    except (KeyError, TypeError, ValueError) as error:
        raise unsupported("video VAE", f"a field is missing or malformed ({error!r})") from error
    if (encoder.spatial, encoder.temporal) != (decoder.spatial, decoder.temporal):
        raise unsupported("video VAE", "encoder and decoder scale space or time by different factors")

    # The official encoder is as wide as it has latent channels; no program reads `encoder_base_channels`.
    encoder_widths = list(accumulate((step.multiplier for step in encoder.compressions), mul, initial=latent))
    narrowing = (step.multiplier for step in decoder.compressions)
    decoder_widths = list(accumulate(narrowing, floordiv, initial=widest))
    padding = config.get("spatial_padding_mode", "zeros")

    # diffusers lists the decoder from its end to its start, but the kinds of upsampling from start to end.
    return {
        "in_channels": seen,
        "out_channels": shown,
        "latent_channels": latent,
        "block_out_channels": tuple(encoder_widths[1:]),
        "down_block_types": ("LTX2VideoDownBlock3D",) * len(encoder.compressions),
        "layers_per_block": encoder.layers,
        "downsample_type": tuple(step.kind for step in encoder.compressions),
        "spatio_temporal_scaling": (True,) * len(encoder.compressions),
        "decoder_block_out_channels": tuple(decoder_widths[:-1][::-1]),
        "decoder_layers_per_block": decoder.layers[::-1],
        "decoder_spatio_temporal_scaling": (True,) * len(decoder.compressions),
        "decoder_inject_noise": (False,) * len(decoder.layers),
        "upsample_type": tuple(step.kind for step in decoder.compressions),
        "upsample_residual": tuple(step.residual for step in decoder.compressions)[::-1],
        "upsample_factor": tuple(step.multiplier for step in decoder.compressions)[::-1],
        "timestep_conditioning": False,
        "patch_size": patch,
        "patch_size_t": 1,
        "encoder_causal": True,
        "decoder_causal": bool(config.get("causal_decoder", False)),
        "encoder_spatial_padding_mode": config.get("encoder_spatial_padding_mode", padding),
        "decoder_spatial_padding_mode": config.get("decoder_spatial_padding_mode", padding),
        "spatial_compression_ratio": patch * encoder.spatial,
        "temporal_compression_ratio": encoder.temporal,
    }


def scale_of(config: Mapping[str, Any]) -> tuple[int, int, int]:
    """(frames, pixels, pixels) that a latent cell of an official `vae` config spans: (8, 32, 32) for LTX-2.3.

    The first latent frame spans one frame only. Raises CheckpointError as `diffusers_settings` does.
    """
    settings = diffusers_settings(config)
    spatial = settings["spatial_compression_ratio"]
    return settings["temporal_compression_ratio"], spatial, spatial


class VideoVAE(nn.Module):
    """Pixels to normalised latents and back.

    Attributes:
        config: the official `vae` config.
        spatial: pixels of a latent cell's side (32 for LTX-2.3).
        temporal: frames of a latent frame, the first one excepted (8 for LTX-2.3).
        channels: latent channels (128 for LTX-2.3).
        tiling: whether it decodes in tiles.

    Raises:
        CheckpointError: the config describes a network that is not supported.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        settings = diffusers_settings(config)
        self.config = config
        self.model = AutoencoderKLLTX2Video(**settings)
        self.spatial: int = settings["spatial_compression_ratio"]
        self.temporal: int = settings["temporal_compression_ratio"]
        self.channels: int = settings["latent_channels"]
        self.encoder_compressions = len(settings["downsample_type"])
        self.tiling = False

    def moments(self, pixels_BCFHW: Tensor) -> tuple[Tensor, Tensor]:
        """Raw posterior mean (not normalised) and log variance, (B,C,F',h,w) each; differentiable.

        Raises:
            SettingsError: frames are not 1 + a multiple of `temporal`, or a side is not one of `spatial`.
        """
        frames, height, width = pixels_BCFHW.shape[2:]
        check_size(width, height, frames, spatial=self.spatial, temporal=self.temporal)
        posterior = self.model.encode(pixels_BCFHW.to(self.model.dtype)).latent_dist
        return posterior.mean, posterior.logvar

    def encode(self, pixels_BCFHW: Tensor) -> Tensor:
        """Pixels in [-1,1] to latents normalised per channel: (mean - mean-of-means) / std-of-means.

        Raises:
            SettingsError: see `moments`.
        """
        return self.normalise(self.moments(pixels_BCFHW)[0])

    def decode(self, latents_BCFHW: Tensor, seed: int = 0) -> Tensor:
        """Normalised latents (B,C,F',h,w) to (F'-1)*temporal+1 frames of pixels (B,3,F,H,W), about [-1,1].

        Args:
            seed: of the noise that a decoder draws.
        """
        first, *more = self.pieces(latents_BCFHW, seed)
        return torch.cat([first, *more], dim=2) if more else first

    def pieces(self, latents_BCFHW: Tensor, seed: int = 0) -> Iterator[Tensor]:
        """What `decode` gives, in runs of frames that follow each other: in tiles, each when it is finished.

        Args:
            seed: of the noise that a decoder draws; this one draws none.
        """
        del seed
        raw = self.denormalise(latents_BCFHW.to(self.model.dtype))
        if self.tiling and raw.shape[2] > self.model.tile_sample_min_num_frames // self.temporal:
            yield from self._tiles_in_time(raw)
        else:
            yield self.model.decode(raw).sample

    def tile(self, tiling: bool) -> None:
        """Decode in overlapping tiles of space and time, as diffusers does, or whole again.

        Seams are blended; the picture differs slightly from the whole one, so this is for cards that need it.
        """
        if tiling:
            self.model.enable_tiling()
        else:
            self.model.disable_tiling()
        self.tiling = tiling

    def _tiles_in_time(self, raw_BCFHW: Tensor) -> Iterator[Tensor]:
        """Frames of overlapping tiles, each blended with the end of the one before."""
        longest, stride = self.model.tile_sample_min_num_frames, self.model.tile_sample_stride_num_frames
        left, before = (raw_BCFHW.shape[2] - 1) * self.temporal + 1, None
        for start in range(0, raw_BCFHW.shape[2], stride // self.temporal):
            if not left:
                break
            tile = self.model.decode(raw_BCFHW[:, :, start : start + longest // self.temporal + 1]).sample
            ready = stride + 1
            if before is not None:
                # The first latent frame stands for one frame, and all others for `temporal`.
                tile, ready = self.model.blend_t(before, tile[:, :, :-1], longest - stride), stride
            yield tile[:, :, : min(ready, left)]
            left, before = max(left - ready, 0), tile

    def normalise(self, raw_BCFHW: Tensor) -> Tensor:
        mean, std = self._statistics(raw_BCFHW)
        return (raw_BCFHW - mean) / std

    def denormalise(self, latents_BCFHW: Tensor) -> Tensor:
        mean, std = self._statistics(latents_BCFHW)
        return latents_BCFHW * std + mean

    def _statistics(self, like: Tensor) -> tuple[Tensor, Tensor]:
        shape = (1, -1, 1, 1, 1)
        return self.model.latents_mean.to(like).view(shape), self.model.latents_std.to(like).view(shape)


def video_vae_from_official(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> VideoVAE:
    """Build the VAE around official tensors (names with or without `vae.`), keeping their device and dtype.

    Raises:
        CheckpointError: a tensor is missing, unknown or of the wrong shape; up to five are named.
    """
    with torch.device("meta"):
        vae = VideoVAE(config)
    fill(vae.model, {keys.vae_to_diffusers(name, vae.encoder_compressions): t for name, t in tensors.items()})
    return vae


def check_size(width: int, height: int, frames: int, *, spatial: int, temporal: int) -> None:
    """Refuse pixels that are no whole latent cells of `spatial` pixels and `temporal` frames.

    Raises:
        SettingsError: a side or the frame count does not fit; the nearest ones are named.
    """
    for name, side in (("width", width), ("height", height)):
        if side % spatial:
            below = max(side // spatial, 1) * spatial
            raise SettingsError(
                f"{name} {side} is not a multiple of {spatial}",
                remedy=f"use {name} {below} or {side // spatial * spatial + spatial}",
            )
    if (frames - 1) % temporal:
        below = (frames - 1) // temporal * temporal + 1
        raise SettingsError(
            f"{frames} frames: the count must be {temporal}k+1",
            remedy=f"use {below} or {below + temporal} frames",
        )


def fill(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Put tensors into a module as they are (device and dtype kept), strictly.

    Raises:
        CheckpointError: missing, unknown or mis-shaped tensors; up to five of each are named.
    """
    check_shapes(module, {name: tuple(tensor.shape) for name, tensor in state.items()})
    module.load_state_dict(dict(state), strict=True, assign=True)


def check_shapes(module: nn.Module, found: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse tensors that are not exactly the module's, by their names and shapes.

    Raises:
        CheckpointError: missing, unknown or mis-shaped tensors; up to five of each are named.
    """
    wanted = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    missing = [name for name in wanted if name not in found]
    unknown = [name for name in found if name not in wanted]
    misshapen = [
        f"{name} {found[name]} instead of {shape}"
        for name, shape in wanted.items()
        if name in found and found[name] != shape
    ]
    complaints = [
        f"{len(names)} {label}: {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}"
        for label, names in (("missing", missing), ("unknown", unknown), ("of another shape", misshapen))
        if names
    ]
    if complaints:
        raise CheckpointError(
            f"the tensors do not fit {type(module).__name__}: {'; '.join(complaints)}",
            remedy="check that the file is a complete LTX model and that its config header is its own",
        )


def _compression(name: str, settings: Mapping[str, Any], field: str) -> Compression:
    target, _, variant = name.removeprefix("compress_").partition("_")
    encoder = not field.startswith("decoder")
    if not name.startswith("compress_") or target not in _STRIDES or variant != ("res" if encoder else ""):
        raise unsupported("video VAE", f"{field} is {name!r}")
    kind, temporal, spatial = _STRIDES[target]
    multiplier = whole(settings.get("multiplier", 2 if encoder else 1), 1, 64)
    return Compression(kind, spatial, temporal, multiplier, bool(settings.get("residual", False)))


def unsupported(part: str, what: str) -> CheckpointError:
    """The error for a config that describes another network than diffusers' for LTX-2.3 and LTX-2.5."""
    return CheckpointError(
        f"this file's {part} is not supported: {what}",
        remedy="use a released LTX-2.3 or LTX-2.5 file with its own config header",
    )
