"""Names of the parts and tensors of an official LTX-2.3 file, and how diffusers names the same tensors.

All functions work on strings only. "Official" names are those of the single file, with the prefix of their
part (`vae.`, `vocoder.`, ...). "diffusers" names are those of a module in its own folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Part = Literal["transformer", "connectors", "vae", "audio_vae", "vocoder"]
PARTS: tuple[Part, ...] = ("transformer", "connectors", "vae", "audio_vae", "vocoder")

DIT = "model.diffusion_model."
PROJECTION = "text_embedding_projection."
VIDEO_CONNECTOR = f"{DIT}video_embeddings_connector."
AUDIO_CONNECTOR = f"{DIT}audio_embeddings_connector."
VAE = "vae."
AUDIO_VAE = "audio_vae."
VOCODER = "vocoder."

QUANTISATION_SUFFIXES = (".weight_scale", ".input_scale", ".scale_weight", ".scale_input", ".comfy_quant")

# Ends of the names of the layers that hold nearly all weights and work.
LARGE = tuple(
    f".{attention}.{layer}"
    for attention in (
        "attn1",
        "attn2",
        "audio_attn1",
        "audio_attn2",
        "audio_to_video_attn",
        "video_to_audio_attn",
    )
    for layer in ("to_q", "to_k", "to_v", "to_out.0")
) + tuple(f".{ff}.{layer}" for ff in ("ff", "audio_ff") for layer in ("net.0.proj", "net.2"))

_TRANSFORMER = {
    "patchify_proj": "proj_in",
    "audio_patchify_proj": "audio_proj_in",
    "adaln_single": "time_embed",
    "audio_adaln_single": "audio_time_embed",
    "prompt_adaln_single": "prompt_adaln",
    "audio_prompt_adaln_single": "audio_prompt_adaln",
    "av_ca_video_scale_shift_adaln_single": "av_cross_attn_video_scale_shift",
    "av_ca_audio_scale_shift_adaln_single": "av_cross_attn_audio_scale_shift",
    "av_ca_a2v_gate_adaln_single": "av_cross_attn_video_a2v_gate",
    "av_ca_v2a_gate_adaln_single": "av_cross_attn_audio_v2a_gate",
    "scale_shift_table_a2v_ca_video": "video_a2v_cross_attn_scale_shift_table",
    "scale_shift_table_a2v_ca_audio": "audio_a2v_cross_attn_scale_shift_table",
    "q_norm": "norm_q",
    "k_norm": "norm_k",
}
_CONNECTORS = {
    "video_embeddings_connector": "video_connector",
    "audio_embeddings_connector": "audio_connector",
    "video_aggregate_embed": "video_text_proj_in",
    "audio_aggregate_embed": "audio_text_proj_in",
    "transformer_1d_blocks": "transformer_blocks",
    "q_norm": "norm_q",
    "k_norm": "norm_k",
}
_VOCODER = {
    "ups": "upsamplers",
    "resblocks": "resnets",
    "conv_pre": "conv_in",
    "conv_post": "conv_out",
    "act_post": "act_out",
}
_STATISTICS = {
    "per_channel_statistics.mean-of-means": "latents_mean",
    "per_channel_statistics.std-of-means": "latents_std",
}


def part_of(name: str) -> Part | None:
    """The part of the model that an official tensor name belongs to; None if it belongs to none."""
    if name.startswith((VIDEO_CONNECTOR, AUDIO_CONNECTOR, PROJECTION)):
        return "connectors"
    if name.startswith(DIT):
        return "transformer"
    for part, prefix in (("vae", VAE), ("audio_vae", AUDIO_VAE), ("vocoder", VOCODER)):
        if name.startswith(prefix):
            return part  # type: ignore[return-value]
    return None


def is_quantisation(name: str) -> bool:
    """Whether a tensor is a scale of a quantised weight, not a weight of the model."""
    return name.endswith(QUANTISATION_SUFFIXES) or name.endswith("scaled_fp8")


def is_table(name: str) -> bool:
    """Whether a tensor is an AdaLN table, which stays fp32 in files and in memory."""
    return "scale_shift_table" in name


def is_large(layer: str) -> bool:
    """Whether a layer of the denoiser, named without prefix, is one that a format such as fp8 is for."""
    return layer.startswith("transformer_blocks.") and layer.endswith(LARGE)


def is_audio(name: str) -> bool:
    """Whether a tensor of the denoiser or connectors belongs to the audio half or a bridge to it."""
    return any(
        segment.startswith(("audio_", "av_ca_", "video_to_audio_")) or "_a2v_ca_" in segment
        for segment in name.split(".")
    )


def transformer_to_diffusers(name: str) -> str:
    return _segments(name.removeprefix(DIT), _TRANSFORMER)


def transformer_from_diffusers(name: str) -> str:
    return DIT + _segments(name, _inverse(_TRANSFORMER))


def connectors_to_diffusers(name: str) -> str:
    return _segments(name.removeprefix(DIT).removeprefix(PROJECTION), _CONNECTORS)


def connectors_from_diffusers(name: str) -> str:
    official = _segments(name, _inverse(_CONNECTORS))
    return (DIT if "_embeddings_connector." in official else PROJECTION) + official


def audio_vae_to_diffusers(name: str) -> str:
    name = name.removeprefix(AUDIO_VAE)
    return _STATISTICS.get(name, name)


def audio_vae_from_diffusers(name: str) -> str:
    return AUDIO_VAE + _inverse(_STATISTICS).get(name, name)


def vocoder_to_diffusers(name: str) -> str:
    # The official root and its first child share one name, so only the first prefix is dropped.
    name = name.removeprefix(VOCODER)
    return _segments(name, _VOCODER).replace(".downsample.lowpass.", ".downsample.")


def vocoder_from_diffusers(name: str) -> str:
    return VOCODER + _segments(name, _inverse(_VOCODER)).replace(".downsample.", ".downsample.lowpass.")


def vae_to_diffusers(name: str, compressions: int) -> str:
    """Official video VAE name -> diffusers name, for an encoder and decoder with that many compressions.

    Official blocks are one flat list (res, compress, res, ..., res). diffusers nests a compression in the
    block before it (encoder) or after it (decoder), and calls the innermost res block `mid_block`.
    """
    name = name.removeprefix(VAE)
    if name in _STATISTICS:
        return _STATISTICS[name]
    half, _, rest = name.partition(".")
    blocks, _, tail = rest.partition(".")
    number, _, tail = tail.partition(".")
    if blocks not in ("down_blocks", "up_blocks") or not number.isdigit():
        return name
    index = int(number)
    if blocks == "down_blocks":
        block = "mid_block" if index == 2 * compressions else f"down_blocks.{index // 2}"
        inner = ".downsamplers.0" if index % 2 else ""
    else:
        block = "mid_block" if index == 0 else f"up_blocks.{(index - 1) // 2}"
        inner = ".upsamplers.0" if index % 2 else ""
    return f"{half}.{block}{inner}.{tail.replace('res_blocks', 'resnets')}"


def vae_from_diffusers(name: str, compressions: int) -> str:
    """The inverse of `vae_to_diffusers`."""
    inverse = _inverse(_STATISTICS)
    if name in inverse:
        return VAE + inverse[name]
    half, _, rest = name.partition(".")
    rest = rest.replace("resnets", "res_blocks")
    head, _, tail = rest.partition(".")
    if head == "mid_block":
        innermost = f"down_blocks.{2 * compressions}" if half == "encoder" else "up_blocks.0"
        return f"{VAE}{half}.{innermost}.{tail}"
    if head not in ("down_blocks", "up_blocks"):
        return VAE + name
    number, _, tail = tail.partition(".")
    position = 2 * int(number) + (0 if head == "down_blocks" else 2)
    for inner, shift in (("downsamplers.0.", 1), ("upsamplers.0.", -1)):
        if tail.startswith(inner):
            position, tail = position + shift, tail.removeprefix(inner)
    return f"{VAE}{half}.{head}.{position}.{tail}"


def _segments(name: str, table: Mapping[str, str]) -> str:
    return ".".join(table.get(segment, segment) for segment in name.split("."))


def _inverse(table: Mapping[str, str]) -> dict[str, str]:
    return {new: old for old, new in table.items()}
