"""Mini's sizes, in the form in which an official file's `config` header states them."""

from __future__ import annotations

from typing import Any

WIDTH, HEIGHT, FRAMES, FPS = 192, 112, 121, 24.0
LATENT_CHANNELS = 64
TEXT_WIDTH, TEXT_LAYERS, VOCABULARY, CONTEXT = 128, 3, 1024, 256
BLOCKS, HEADS, HEAD_WIDTH = 8, 6, 64
ADAPTER_RANK = 32


def config() -> dict[str, Any]:
    """The header's `config`: transformer and VAE, without an audio stream."""
    return {"transformer": _transformer(), "vae": _vae()}


def _transformer() -> dict[str, Any]:
    return {
        "_class_name": "AVTransformer3DModel",
        "num_layers": BLOCKS,
        "num_attention_heads": HEADS,
        "attention_head_dim": HEAD_WIDTH,
        "in_channels": LATENT_CHANNELS,
        "out_channels": LATENT_CHANNELS,
        "cross_attention_dim": HEADS * HEAD_WIDTH,
        "caption_channels": TEXT_WIDTH,
        "caption_proj_before_connector": True,
        "caption_projection_first_linear": False,
        "caption_projection_second_linear": False,
        "caption_proj_input_norm": False,
        "text_encoder_norm_type": "per_token_rms",
        "activation_fn": "gelu-approximate",
        "attention_bias": True,
        "apply_gated_attention": True,
        "cross_attention_adaln": True,
        "qk_norm": "rms_norm",
        "standardization_norm": "rms_norm",
        "norm_elementwise_affine": False,
        "norm_eps": 1e-6,
        "positional_embedding_type": "rope",
        "rope_type": "split",
        "frequencies_precision": "float64",
        "positional_embedding_theta": 100.0,
        "positional_embedding_max_pos": [5, HEIGHT, WIDTH],
        "causal_temporal_positioning": True,
        "use_middle_indices_grid": True,
        "timestep_scale_multiplier": 1000,
        "use_audio_video_cross_attention": False,
        "use_embeddings_connector": True,
        "connector_num_layers": 1,
        "connector_num_attention_heads": HEADS,
        "connector_attention_head_dim": HEAD_WIDTH,
        "connector_num_learnable_registers": 128,
        "connector_positional_embedding_max_pos": [CONTEXT],
        "connector_apply_gated_attention": True,
        "connector_norm_output": True,
    }


def _vae() -> dict[str, Any]:
    """Space halved twice and time three times on top of 4-px patches: 8 x 16 x 16 pixels a token.

    Coarse steps come first, which keeps costly full-resolution layers few: mini must decode on two CPU cores.
    """
    residual, up, down = (lambda n: ["res_x", {"num_layers": n}]), "compress_{}", "compress_{}_res"

    def step(name: str, kind: str, multiplier: int) -> list[Any]:
        settings: dict[str, Any] = {"multiplier": multiplier}
        if name == up:
            settings["residual"] = (
                True  # colours pass the decoder from the first step on; it learns far faster
            )
        return [name.format(kind), settings]

    return {
        "_class_name": "CausalVideoAutoencoder",
        "dims": 3,
        "in_channels": 3,
        "out_channels": 3,
        "latent_channels": LATENT_CHANNELS,
        "patch_size": 4,
        "norm_layer": "pixel_norm",
        "latent_log_var": "uniform",
        "use_quant_conv": False,
        "causal_decoder": False,
        "timestep_conditioning": False,
        "spatial_padding_mode": "zeros",
        "encoder_base_channels": LATENT_CHANNELS,
        "encoder_blocks": [
            residual(1),
            step(down, "all", 1),
            residual(2),
            step(down, "all", 2),
            residual(1),
            step(down, "time", 1),
            residual(1),
        ],
        "decoder_base_channels": 16,
        # Official files list the decoder from its output to its input.
        "decoder_blocks": [
            residual(3),
            step(up, "all", 1),
            residual(2),
            step(up, "all", 2),
            residual(1),
            step(up, "time", 1),
            residual(1),
        ],
    }
