"""Mini's sizes, in the form in which an official file's `config` header states them.

Official code, diffusers and ComfyUI core must derive the same widths from the header. ComfyUI core fixes 128
latent channels, 128 registers, strides of 8 x 32 x 32 and the encoder's width; it takes the decoder's first
width from the product of the multipliers, where official code always takes 8 times the base width. It reads
how far positions reach, and takes the official theta and the official connectors' positions for granted.
"""

from __future__ import annotations

from typing import Any

WIDTH, HEIGHT, FRAMES, FPS = 384, 224, 121, 24.0
LATENT_CHANNELS = 128
LATENT = ((FRAMES - 1) // 8 + 1, HEIGHT // 32, WIDTH // 32)
TEXT_WIDTH, TEXT_LAYERS, VOCABULARY, CONTEXT = 128, 3, 1024, 256
BLOCKS, HEADS, HEAD_WIDTH = 7, 6, 64  # the wheel has room for no more blocks beside the audio half
AUDIO_HEAD_WIDTH = 32  # the audio stream is 192 wide: it must carry the noise of 128 channels
ADAPTER_RANK = 32
AUDIO_RATE, MEL_BINS, MEL_HOP = 16000, 64, 160
SOUND_TOKENS = 126  # 5.04 seconds, 25 a second


def config() -> dict[str, Any]:
    """The header's `config`: transformer, video VAE, audio VAE and vocoder."""
    return {
        "transformer": _transformer(),
        "vae": _vae(),
        "audio_vae": _audio_vae(),
        "vocoder": _vocoder(),
    }


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
        "positional_embedding_theta": 10000.0,
        # Four times a clip's seconds, height and width: about as far beyond it as the official ones are.
        "positional_embedding_max_pos": [4 * 5, 4 * HEIGHT, 4 * WIDTH],
        "causal_temporal_positioning": True,
        "use_middle_indices_grid": True,
        "timestep_scale_multiplier": 1000,
        "use_embeddings_connector": True,
        "connector_num_layers": 1,
        "connector_num_attention_heads": HEADS,
        "connector_attention_head_dim": HEAD_WIDTH,
        "connector_num_learnable_registers": 128,
        "connector_positional_embedding_max_pos": [4096],
        "connector_apply_gated_attention": True,
        "connector_norm_output": True,
        "use_audio_video_cross_attention": True,
        "av_cross_ada_norm": True,
        "av_ca_timestep_scale_multiplier": 1000.0,
        "audio_num_attention_heads": HEADS,
        "audio_attention_head_dim": AUDIO_HEAD_WIDTH,
        "audio_out_channels": LATENT_CHANNELS,
        "audio_cross_attention_dim": HEADS * AUDIO_HEAD_WIDTH,
        "audio_positional_embedding_max_pos": [4 * 5],
        "audio_connector_num_attention_heads": HEADS,
        "audio_connector_attention_head_dim": AUDIO_HEAD_WIDTH,
    }


def _vae() -> dict[str, Any]:
    """Coarse steps come first in the decoder, which keeps costly full-resolution layers few.

    Only `compress_all` knows `residual` in every loader; colours pass the decoder by it from the first
    training step on.
    """
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
        "normalize_latent_channels": False,
        "spatial_padding_mode": "zeros",
        "encoder_base_channels": LATENT_CHANNELS,
        "encoder_blocks": [
            _residual(0),  # a layer at full resolution would cost more than the rest of the encoder
            _down("space"),
            _residual(1),
            _down("time"),
            _residual(1),
            _down("all"),
            _residual(1),
            _down("all"),
            _residual(2),
        ],
        "decoder_base_channels": 24,
        # Official files list the decoder from its output to its input. The multipliers' product is 8.
        "decoder_blocks": [
            _residual(2),
            ["compress_space", {"multiplier": 2}],
            _residual(4),
            ["compress_all", {"multiplier": 2, "residual": True}],
            _residual(5),  # where a limb is a few cells wide; a layer there costs little
            ["compress_all", {"multiplier": 1, "residual": True}],
            _residual(4),
            ["compress_time", {"multiplier": 2}],
            _residual(1),
        ],
    }


def _residual(layers: int) -> list[Any]:
    return ["res_x", {"num_layers": layers}]


def _down(kind: str) -> list[Any]:
    return [f"compress_{kind}_res", {"multiplier": 1}]


def _audio_vae() -> dict[str, Any]:
    """Official values but for fewer residual blocks and equal widths: 25 latent tokens a second."""
    network = {
        "double_z": True,
        "mel_bins": MEL_BINS,
        "z_channels": 8,
        "resolution": 256,
        "downsample_time": False,
        "in_channels": 2,
        "out_ch": 2,
        "ch": 128,
        "ch_mult": [1, 1, 1],
        "num_res_blocks": 1,
        "attn_resolutions": [],
        "dropout": 0.0,
        "mid_block_add_attention": False,
        "norm_type": "pixel",
        "causality_axis": "height",
    }
    return {
        "model": {"params": {"ddconfig": network, "sampling_rate": AUDIO_RATE}},
        "preprocessing": {
            "audio": {
                "sampling_rate": AUDIO_RATE,
                "max_wav_value": 32768.0,
                "duration": 5.12,
                "stereo": True,
                "causal_padding": 3,
            },
            "stft": {"filter_length": 1024, "hop_length": MEL_HOP, "win_length": 1024, "causal": True},
            "mel": {"n_mel_channels": MEL_BINS, "mel_fmin": 0, "mel_fmax": AUDIO_RATE // 2},
        },
    }


def _vocoder() -> dict[str, Any]:
    """A generator at 16 kHz and one that widens its band to 48 kHz, narrow ones of the official kind."""
    return {
        "vocoder": _generator(128, [5, 2, 2, 2, 2, 2], [11, 4, 4, 4, 4, 4]),
        "bwe": _generator(64, [6, 5, 2, 2, 2], [12, 11, 4, 4, 4])
        | {
            "apply_final_activation": False,
            "input_sampling_rate": AUDIO_RATE,
            "output_sampling_rate": 48000,
            "hop_length": 80,
            "n_fft": 512,
            "win_size": 512,
            "num_mels": MEL_BINS,
        },
    }


def _generator(width: int, rates: list[int], kernels: list[int]) -> dict[str, Any]:
    return {
        "upsample_initial_channel": width,
        "resblock": "AMP1",
        "upsample_rates": rates,
        "upsample_kernel_sizes": kernels,
        "resblock_kernel_sizes": [3, 7, 11],
        "resblock_dilation_sizes": [[1, 3, 5]] * 3,
        "stereo": True,
        "use_tanh_at_final": False,
        "activation": "snakebeta",
        "use_bias_at_final": False,
    }
