"""A diffusers folder seen as an official file: official tensor names, official config.

Every subfolder (transformer/, connectors/, vae/, audio_vae/, vocoder/) holds a config.json and one or more
safetensors files. The rename tables of `keys` translate the names. The functions below translate the
settings: they are the inverse of the functions that build diffusers' networks from official configs.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from diffusers import LTX2VideoTransformer3DModel

from castsheet.errors import CheckpointError
from castsheet.ltx import keys
from castsheet.ltx.header import Entry, read_header, read_json
from castsheet.machine.regular import is_file

_KINDS = {"spatial": "space", "temporal": "time", "spatiotemporal": "all"}
# Settings of the denoiser that both layouts name alike.
_SAME = (
    "num_layers",
    "num_attention_heads",
    "attention_head_dim",
    "in_channels",
    "out_channels",
    "cross_attention_dim",
    "caption_channels",
    "norm_eps",
    "norm_elementwise_affine",
    "activation_fn",
    "attention_bias",
    "rope_type",
    "timestep_scale_multiplier",
    "audio_num_attention_heads",
    "audio_attention_head_dim",
    "audio_in_channels",
    "audio_out_channels",
    "audio_cross_attention_dim",
    "ff_bias",
    "audio_ff_bias",
    "use_prompt_adaln_single",
    "use_keyframes_abs_pos_embedding",
)
_REMEDY = "point to a folder saved by diffusers' LTX-2.3 or LTX-2.5 pipelines, or to the official single file"


def is_diffusers_folder(folder: Path) -> bool:
    """Whether a folder has one of the parts as a subfolder with its config.json."""
    return any(is_file(folder / part / "config.json") for part in keys.PARTS)


def no_model(folder: Path) -> CheckpointError:
    """The error for a folder that holds no model."""
    files = ", ".join(sorted(file.name for file in folder.glob("*.safetensors"))[:5])
    remedy = f"name one of its files: {files}" if files else "name a .safetensors file or a diffusers folder"
    return CheckpointError(
        f"{folder} is a folder without a model (no transformer/config.json)", remedy=remedy
    )


def read_folder(folder: Path) -> tuple[dict[str, Any], dict[str, Entry]]:
    """The official config and the tensors, under official names, of a diffusers folder.

    Raises:
        CheckpointError: a config or tensor file is missing or damaged.
    """
    configs: dict[str, dict[str, Any]] = {
        part: read_json(folder / part / "config.json")
        for part in keys.PARTS
        if is_file(folder / part / "config.json")
    }
    try:
        raw = _official_config(configs)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise CheckpointError(f"{folder}: a config.json lacks or garbles {error}", remedy=_REMEDY) from error

    compressions = len(configs.get("vae", {}).get("block_out_channels", ()))
    rename: dict[str, Callable[[str], str]] = {
        "transformer": keys.transformer_from_diffusers,
        "connectors": keys.connectors_from_diffusers,
        "vae": lambda name: keys.vae_from_diffusers(name, compressions),
        "audio_vae": keys.audio_vae_from_diffusers,
        "vocoder": keys.vocoder_from_diffusers,
    }
    entries: dict[str, Entry] = {}
    for part in configs:
        for path in shards(folder / part):
            for name, entry in read_header(path).entries.items():
                entries[rename[part](name)] = entry
    return raw, entries


def shards(folder: Path) -> list[Path]:
    """The weight files of one model folder: those that its index names, else its only file.

    Raises:
        CheckpointError: no file, several files without an index, or a file of the index is missing.
    """
    index = next(iter(sorted(folder.glob("*.safetensors.index.json"))), None)
    if index is not None:
        weight_map = read_json(index).get("weight_map")
        if not isinstance(weight_map, dict):
            raise CheckpointError(f"{index} has no weight_map", remedy=_REMEDY)
        files = sorted({folder / Path(str(name)).name for name in weight_map.values()})
        missing = [path.name for path in files if not path.is_file()]
        if missing:
            raise CheckpointError(
                f"{folder} lacks {len(missing)} of {len(files)} shards: {', '.join(missing[:5])}",
                remedy="download the folder again",
            )
        return files
    files = sorted(folder.glob("*.safetensors"))
    plain = [path for path in files if path.name.count(".") == 1]
    chosen = plain if len(plain) == 1 else files
    if len(chosen) != 1:
        found = ", ".join(path.name for path in files[:5]) or "none"
        raise CheckpointError(
            f"{folder} should hold one *.safetensors or an index; found: {found}", remedy=_REMEDY
        )
    return chosen


def _official_config(configs: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    raw: dict[str, Any] = {}
    if "transformer" in configs:
        raw["transformer"] = _transformer(configs["transformer"]) | _connectors(configs.get("connectors"))
    if "vae" in configs:
        raw["vae"] = _vae(configs["vae"])
    if "audio_vae" in configs:
        raw["audio_vae"] = _audio_vae(configs["audio_vae"])
    # LTX-2.0's vocoder has no bandwidth extension, and an official 2.3 config must describe one.
    if "bwe_hidden_channels" in configs.get("vocoder", {}):
        raw["vocoder"] = _vocoder(configs["vocoder"])
    return raw


def _transformer(stored: Mapping[str, Any]) -> dict[str, Any]:
    # A config.json may leave out what equals the class's own defaults.
    parameters = inspect.signature(LTX2VideoTransformer3DModel.__init__).parameters
    config = {name: p.default for name, p in parameters.items() if p.default is not p.empty} | dict(stored)
    return {
        "_class_name": "AVTransformer3DModel",
        **{name: config[name] for name in _SAME},
        "use_audio_video_cross_attention": True,
        "qk_norm": str(config["qk_norm"]).removesuffix("_across_heads"),
        "positional_embedding_theta": config["rope_theta"],
        "positional_embedding_max_pos": [
            config["pos_embed_max_pos"],
            config["base_height"],
            config["base_width"],
        ],
        "audio_positional_embedding_max_pos": [config["audio_pos_embed_max_pos"]],
        "av_ca_timestep_scale_multiplier": config["cross_attn_timestep_scale_multiplier"],
        "frequencies_precision": "float64" if config["rope_double_precision"] else "float32",
        "use_middle_indices_grid": True,
        "causal_temporal_positioning": bool(config["causal_offset"]),
        "apply_gated_attention": config["gated_attn"] and config["audio_gated_attn"],
        "cross_attention_adaln": config["cross_attn_mod"] and config["audio_cross_attn_mod"],
        "caption_proj_before_connector": not config["use_prompt_embeddings"],
    }


def _connectors(config: Mapping[str, Any] | None) -> dict[str, Any]:
    if config is None:
        return {}
    return {
        "caption_channels": config["caption_channels"],
        "text_encoder_norm_type": "per_token_rms" if config["per_modality_projections"] else "masked_mean",
        "connector_num_attention_heads": config["video_connector_num_attention_heads"],
        "connector_attention_head_dim": config["video_connector_attention_head_dim"],
        "connector_num_layers": config["video_connector_num_layers"],
        "connector_num_learnable_registers": config["video_connector_num_learnable_registers"],
        "connector_positional_embedding_max_pos": [config["connector_rope_base_seq_len"]],
        "connector_apply_gated_attention": config["video_gated_attn"],
        "connector_norm_output": True,
        "audio_connector_num_attention_heads": config["audio_connector_num_attention_heads"],
        "audio_connector_attention_head_dim": config["audio_connector_attention_head_dim"],
    }


def _vae(config: Mapping[str, Any]) -> dict[str, Any]:
    latent, widths = config["latent_channels"], config["block_out_channels"]
    encoder: list[list[Any]] = [["res_x", {"num_layers": config["layers_per_block"][0]}]]
    for i, (kind, width) in enumerate(zip(config["downsample_type"], widths, strict=True)):
        before = widths[i - 1] if i else latent
        encoder.append([f"compress_{_KINDS[kind]}_res", {"multiplier": width // before}])
        encoder.append(["res_x", {"num_layers": config["layers_per_block"][i + 1]}])

    # Kinds stand in order of execution, everything else from the decoder's end to its start.
    decoder: list[list[Any]] = [["res_x", {"num_layers": config["decoder_layers_per_block"][0]}]]
    steps = zip(
        config["upsample_type"][::-1], config["upsample_factor"], config["upsample_residual"], strict=True
    )
    for i, (kind, factor, residual) in enumerate(steps):
        decoder.append([f"compress_{_KINDS[kind]}", {"multiplier": factor, "residual": residual}])
        decoder.append(["res_x", {"num_layers": config["decoder_layers_per_block"][i + 1]}])
    return {
        "_class_name": "CausalVideoAutoencoder",
        "dims": 3,
        "in_channels": config["in_channels"],
        "out_channels": config["out_channels"],
        "latent_channels": latent,
        "encoder_blocks": encoder,
        "decoder_blocks": decoder,
        "norm_layer": "pixel_norm",
        "patch_size": config["patch_size"],
        "latent_log_var": "uniform",
        "use_quant_conv": False,
        "causal_decoder": config["decoder_causal"],
        "timestep_conditioning": config["timestep_conditioning"],
        "decoder_base_channels": config["decoder_block_out_channels"][-1] // 8,
        "encoder_spatial_padding_mode": config["encoder_spatial_padding_mode"],
        "decoder_spatial_padding_mode": config["decoder_spatial_padding_mode"],
    }


def _audio_vae(config: Mapping[str, Any]) -> dict[str, Any]:
    network = {
        "double_z": config["double_z"],
        "mel_bins": config["mel_bins"],
        "z_channels": config["latent_channels"],
        "resolution": config["resolution"],
        "in_channels": config["in_channels"],
        "out_ch": config["output_channels"],
        "ch": config["base_channels"],
        "ch_mult": list(config["ch_mult"]),
        "num_res_blocks": config["num_res_blocks"],
        "attn_resolutions": list(config["attn_resolutions"] or ()),
        "dropout": config["dropout"],
        "mid_block_add_attention": config["mid_block_add_attention"],
        "norm_type": config["norm_type"],
        "causality_axis": config["causality_axis"],
    }
    return {
        "model": {"params": {"ddconfig": network, "sampling_rate": config["sample_rate"]}},
        "preprocessing": {"stft": {"hop_length": config["mel_hop_length"], "causal": config["is_causal"]}},
    }


def _vocoder(config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "vocoder": _generator(config, ""),
        "bwe": {
            **_generator(config, "bwe_"),
            "n_fft": config["filter_length"],
            "hop_length": config["hop_length"],
            "win_size": config["window_length"],
            "num_mels": config["num_mel_channels"],
            "input_sampling_rate": config["input_sampling_rate"],
            "output_sampling_rate": config["output_sampling_rate"],
        },
    }


def _generator(config: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    final = config[f"{prefix}final_act_fn"]
    return {
        "upsample_initial_channel": config[f"{prefix}hidden_channels"],
        "resblock": "AMP1" if config[f"{prefix}antialias"] else "1",
        "upsample_rates": config[f"{prefix}upsample_factors"],
        "upsample_kernel_sizes": config[f"{prefix}upsample_kernel_sizes"],
        "resblock_kernel_sizes": config[f"{prefix}resnet_kernel_sizes"],
        "resblock_dilation_sizes": config[f"{prefix}resnet_dilations"],
        "stereo": config[f"{prefix}out_channels"] == 2,
        "activation": config[f"{prefix}act_fn"],
        "use_tanh_at_final": final == "tanh",
        "apply_final_activation": final is not None,
        "use_bias_at_final": config[f"{prefix}final_bias"],
    }
