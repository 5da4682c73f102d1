"""The audio VAE and the vocoder: diffusers' networks, built from official configs and official tensors.

Shape legend: B batch, T latent frames (25 a second), C channels of a token (latent channels x mel cells),
W stereo channels, M mel frames, K mel bins, S samples.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from diffusers import AutoencoderKLLTX2Audio
from diffusers.pipelines.ltx2.vocoder import LTX2VocoderWithBWE
from torch import Tensor, nn

from castsheet.ltx import keys
from castsheet.ltx.parts.vae import fill, unsupported

# The official vocoder reads this many mel bins for each channel; its config does not change that.
_VOCODER_MELS = 64
_ANTIALIAS_RATIO, _ANTIALIAS_KERNEL = 2, 12


def audio_vae_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Constructor arguments of diffusers' `AutoencoderKLLTX2Audio` for an official `audio_vae` config.

    Raises:
        CheckpointError: a field is missing, or names something that the network does not have.
    """
    try:
        parameters = config["model"]["params"]
        network, stft = parameters["ddconfig"], config["preprocessing"]["stft"]
        cell_bins = network["mel_bins"] >> (len(network["ch_mult"]) - 1)
        settings = {
            "base_channels": network["ch"],
            "output_channels": network["out_ch"],
            "ch_mult": tuple(network["ch_mult"]),
            "num_res_blocks": network["num_res_blocks"],
            "attn_resolutions": tuple(network["attn_resolutions"]) or None,
            "in_channels": network["in_channels"],
            "resolution": network["resolution"],
            "latent_channels": network["z_channels"],
            "norm_type": network["norm_type"],
            "causality_axis": network["causality_axis"],
            "dropout": network.get("dropout", 0.0),
            "mid_block_add_attention": network["mid_block_add_attention"],
            "sample_rate": parameters["sampling_rate"],
            "mel_hop_length": stft["hop_length"],
            "is_causal": stft.get("causal", True),
            "mel_bins": network["mel_bins"],
            "double_z": network["double_z"],
        }
    except (KeyError, TypeError, ValueError) as error:
        raise unsupported("audio VAE", f"a field is missing or malformed ({error!r})") from error
    if len(settings["ch_mult"]) != 3:
        raise unsupported("audio VAE", f"ch_mult has {len(settings['ch_mult'])} levels, not 3")
    # Latents are normalised as tokens. The official network sizes the statistics by `ch`.
    if settings["base_channels"] != settings["latent_channels"] * cell_bins:
        raise unsupported(
            "audio VAE",
            f"ch {settings['base_channels']} is not z_channels x mel cells "
            f"({settings['latent_channels']} x {cell_bins})",
        )
    return settings


class AudioVAE(nn.Module):
    """Mel spectrograms to normalised latent tokens and back.

    Attributes:
        channels: channels of a latent token (128). rate: samples a second that the mels describe (16000).
        latents_per_second: latent frames a second (25).

    Raises:
        CheckpointError: the config describes a network that is not supported.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        settings = audio_vae_settings(config)
        self.model = AutoencoderKLLTX2Audio(**settings)
        self.channels: int = settings["base_channels"]
        self.cells: int = settings["base_channels"] // settings["latent_channels"]
        self.rate: int = settings["sample_rate"]
        hop = settings["mel_hop_length"] * self.model.temporal_compression_ratio
        self.latents_per_second: float = self.rate / hop

    def latent_frames(self, seconds: float) -> int:
        """Latent frames of a sound of this length, rounded as in the official pipelines."""
        return round(seconds * self.latents_per_second)

    def encode(self, mel_BWMK: Tensor) -> Tensor:
        """Log-mel spectrogram to normalised latent tokens (B,T,C): the mean of the posterior."""
        raw = self.model.encode(mel_BWMK.to(self.model.dtype)).latent_dist.mean
        tokens_BTC = raw.transpose(1, 2).flatten(2)
        return (tokens_BTC - self.model.latents_mean.to(tokens_BTC)) / self.model.latents_std.to(tokens_BTC)

    def decode(self, tokens_BTC: Tensor) -> Tensor:
        """Normalised latent tokens to a log-mel spectrogram (B,W,4T-3,K)."""
        tokens_BTC = tokens_BTC.to(self.model.dtype)
        raw = tokens_BTC * self.model.latents_std.to(tokens_BTC) + self.model.latents_mean.to(tokens_BTC)
        return self.model.decode(raw.unflatten(2, (-1, self.cells)).transpose(1, 2)).sample


def vocoder_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Constructor arguments of diffusers' `LTX2VocoderWithBWE` for an official `vocoder` config.

    Raises:
        CheckpointError: a field is missing, or names something that the network does not have.
    """
    try:
        bwe = config["bwe"]
        return {
            **_generator(config["vocoder"], ""),
            **_generator(bwe, "bwe_"),
            "filter_length": bwe["n_fft"],
            "hop_length": bwe["hop_length"],
            "window_length": bwe["win_size"],
            "num_mel_channels": bwe["num_mels"],
            "input_sampling_rate": bwe["input_sampling_rate"],
            "output_sampling_rate": bwe["output_sampling_rate"],
        }
    except (KeyError, TypeError, ValueError) as error:
        raise unsupported("vocoder", f"a field is missing or malformed ({error!r})") from error


class Vocoder(nn.Module):
    """Mel spectrogram to a waveform, always in fp32: more than a hundred convolutions follow one another, and
    bf16 rounding is audible.

    Attributes:
        rate: samples a second of the waveform (48000).
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        settings = vocoder_settings(config)
        self.model = LTX2VocoderWithBWE(**settings)
        self.rate: int = settings["output_sampling_rate"]

    def forward(self, mel_BWMK: Tensor) -> Tensor:
        """Log-mel spectrogram to a waveform (B,W,S) in [-1,1]."""
        return self.model(mel_BWMK.float())


def audio_vae_from_official(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> AudioVAE:
    """Build the audio VAE around official tensors (`audio_vae.*`), keeping their device and dtype.

    Raises:
        CheckpointError: a tensor is missing, unknown or of the wrong shape.
    """
    with torch.device("meta"):
        vae = AudioVAE(config)
    fill(vae.model, {keys.audio_vae_to_diffusers(name): tensor for name, tensor in tensors.items()})
    return vae


def vocoder_from_official(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Vocoder:
    """Build the vocoder around official tensors (`vocoder.*`) in fp32, keeping their device.

    Raises:
        CheckpointError: a tensor is missing, unknown or of the wrong shape.
    """
    # Not built on the meta device: the resampling filter is computed, not stored.
    vocoder = Vocoder(config)
    fill(vocoder.model, {keys.vocoder_to_diffusers(name): tensor.float() for name, tensor in tensors.items()})
    return vocoder.to(next(iter(tensors.values())).device)


def _generator(config: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    if config["resblock"] != "AMP1" or config["activation"] != "snakebeta":
        raise unsupported("vocoder", f"{config['resblock']!r} with {config['activation']!r}")
    channels = 2 if config["stereo"] else 1
    # Officially the activation is applied unless the config says no: tanh, or else a clamp to [-1,1].
    final = "tanh" if config["use_tanh_at_final"] else "clamp"
    settings = {
        "in_channels": _VOCODER_MELS * channels,
        "hidden_channels": config["upsample_initial_channel"],
        "out_channels": channels,
        "upsample_kernel_sizes": list(config["upsample_kernel_sizes"]),
        "upsample_factors": list(config["upsample_rates"]),
        "resnet_kernel_sizes": list(config["resblock_kernel_sizes"]),
        "resnet_dilations": [list(dilations) for dilations in config["resblock_dilation_sizes"]],
        "act_fn": "snakebeta",
        "antialias": True,
        "antialias_ratio": _ANTIALIAS_RATIO,
        "antialias_kernel_size": _ANTIALIAS_KERNEL,
        "final_act_fn": final if config.get("apply_final_activation", True) else None,
        "final_bias": config["use_bias_at_final"],
    }
    return {f"{prefix}{name}": value for name, value in settings.items()}
