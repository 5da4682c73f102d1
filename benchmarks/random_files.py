"""Files of 22B models with random weights, in the layouts that the families are published in.

Weights are normal with the variance that keeps an input's size. All come from one pool of random numbers,
so that they are written fast.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.pipelines.ltx2.latent_upsampler import LTX2LatentUpsamplerModel
from PIL import Image
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from torch import Tensor
from transformers import Gemma3TextConfig, Gemma3TextModel, Gemma4UnifiedTextConfig, Gemma4UnifiedTextModel

from castsheet.loading.download import released
from castsheet.ltx import keys
from castsheet.ltx.family import DEFAULT, family_of
from castsheet.ltx.model.config import TransformerConfig
from castsheet.ltx.model.dit import Transformer
from castsheet.ltx.parts.audio import AudioVAE, Vocoder
from castsheet.ltx.parts.connectors import TextConnectors
from castsheet.ltx.parts.vae import VideoVAE
from mini.official import official_tensors

OFFICIAL = Path(__file__).resolve().parent.parent / "tests" / "data" / "ltx-2.3-config.json"
POOL = 1 << 25
RANK = 128
ADAPTED = [f"attn{n}.{layer}" for n in (1, 2) for layer in ("to_q", "to_k", "to_v", "to_out.0")]
ADAPTED += ["ff.net.0.proj", "ff.net.2"]
TOKENIZER_CONFIG = '{"bos_token": "<bos>"}'
NAMES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.uint8: "U8"}

TextConfig = Gemma3TextConfig | Gemma4UnifiedTextConfig


def make(folder: Path, *, tiny: bool, family: str = DEFAULT.name) -> None:
    """Write the model's files as the family publishes them, and a sheet."""
    folder.mkdir(parents=True, exist_ok=True)
    pool = np.random.default_rng(0).standard_normal(POOL >> 8 if tiny else POOL, dtype=np.float32)
    newer = family_of(family).encoder == "gemma4"
    config, gemma = official_sizes(tiny=tiny, newer=newer)
    with torch.device("meta"):
        transformer = Transformer(TransformerConfig.from_dict(config["transformer"]))
    tensors = checkpoint(config, transformer, gemma)
    bundle: dict[str, Any] = {"version": 1, "name": "random"}
    if newer:
        files = write_split(folder, tensors, config, gemma, pool)
        bundle["usual"] = "card-2.5"
    else:
        write(folder / "ltx.safetensors", tensors, pool, metadata(config))
        write_gemma(folder / "gemma", gemma, pool)
        files = {"checkpoint": "ltx.safetensors", "text_encoder": "gemma"}
    stated = {"base_model": family}
    write(folder / "ic-lora.safetensors", adapter(transformer, 4 if tiny else RANK), pool, stated)
    (published,) = released(family).optional
    (folder / published.place).parent.mkdir(parents=True, exist_ok=True)
    write(folder / published.place, upsampler(config["vae"], tiny=tiny), pool, {})
    bundle["files"] = {**files, "adapters": [{"path": "ic-lora.safetensors"}]}
    if tiny:
        bundle["bucket"] = {"width": 128, "height": 64, "frames": 17, "fps": 24.0, "stg_blocks": [1]}
    (folder / "bundle.json").write_text(json.dumps(bundle, indent=1), encoding="utf-8")
    levels = np.random.default_rng(1).integers(
        0, 255, (64, 128, 3) if tiny else (448, 768, 3), dtype=np.uint8
    )
    Image.fromarray(levels).save(folder / "sheet.png")


def official_sizes(*, tiny: bool, newer: bool) -> tuple[dict[str, Any], TextConfig]:
    """The official configs of a family, or narrow ones, and its text encoder's."""
    config, gemma = (
        toy() if tiny else (json.loads(OFFICIAL.read_text(encoding="utf-8"))["config"], gemma_12b())
    )
    if not newer:
        return config, gemma
    # All that differs in the published headers.
    config["transformer"] |= {
        "ff_bias": False,
        "use_keyframes_abs_pos_embedding": True,
        "text_encoder_norm_type": "PER_TOKEN_RMS",
    }
    if tiny:
        return config, gemma4_config(layers=6, width=32, inner=64, heads=2, head=16, words=64)
    return config, gemma4_config(layers=48, width=3840, inner=15360, heads=16, head=256, words=262_144)


def gemma4_config(*, layers: int, width: int, inner: int, heads: int, head: int, words: int) -> TextConfig:
    """A Gemma-4's: each sixth layer is global, with one key and value head twice as wide."""
    return Gemma4UnifiedTextConfig(
        vocab_size=words,
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads // 2,
        head_dim=head,
        global_head_dim=2 * head,
        num_global_key_value_heads=1,
        attention_k_eq_v=True,
    )


def toy() -> tuple[dict[str, Any], Gemma3TextConfig]:
    """The official configs with fewer layers and narrower ones."""
    config = json.loads(OFFICIAL.read_text(encoding="utf-8"))["config"]
    config["transformer"] |= {
        "num_layers": 3,
        "in_channels": 16,
        "out_channels": 16,
        "num_attention_heads": 2,
        "attention_head_dim": 24,
        "audio_num_attention_heads": 2,
        "audio_attention_head_dim": 16,
        "cross_attention_dim": 48,
        "audio_cross_attention_dim": 32,
        "caption_channels": 32,
        "connector_num_layers": 1,
        "connector_num_attention_heads": 2,
        "connector_attention_head_dim": 24,
        "audio_connector_num_attention_heads": 2,
        "audio_connector_attention_head_dim": 16,
    }
    config["vae"] |= {"latent_channels": 16, "decoder_base_channels": 2}
    return config, gemma_config(layers=2, width=32, inner=64, heads=2, groups=1, head=16, words=64)


def gemma_12b() -> Gemma3TextConfig:
    return gemma_config(layers=48, width=3840, inner=15360, heads=16, groups=8, head=256, words=262208)


def gemma_config(
    *, layers: int, width: int, inner: int, heads: int, groups: int, head: int, words: int
) -> Gemma3TextConfig:
    return Gemma3TextConfig(
        vocab_size=words,
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=groups,
        head_dim=head,
    )


def metadata(config: Mapping[str, Any], version: str = "2.3.0") -> dict[str, str]:
    return {"config": json.dumps(config), "model_version": version}


def checkpoint(config: Mapping[str, Any], transformer: Transformer, gemma: TextConfig) -> dict[str, Tensor]:
    """Every tensor of the single file: shapes only, but for the small parts that make sound."""
    with torch.device("meta"):
        connectors = TextConnectors(config["transformer"], states=gemma.num_hidden_layers + 1, audio=True)
        vae = VideoVAE(config["vae"])
    sound = {"audio_vae": AudioVAE(config["audio_vae"]), "vocoder": Vocoder(config["vocoder"])}
    return official_tensors(transformer=transformer, connectors=connectors, vae=vae, **sound)


def adapter(transformer: Transformer, rank: int) -> dict[str, Tensor]:
    """Both factors of the ten layers of every block that the published adapter has."""
    tensors: dict[str, Tensor] = {}
    for block in range(transformer.config.layers):
        for layer in ADAPTED:
            name = f"transformer_blocks.{block}.{layer}"
            out, into = transformer.get_submodule(name).weight.shape
            tensors[f"diffusion_model.{name}.lora_A.weight"] = torch.empty(rank, into, device="meta")
            tensors[f"diffusion_model.{name}.lora_B.weight"] = torch.empty(out, rank, device="meta")
    return tensors


def upsampler(vae: Mapping[str, Any], *, tiny: bool) -> dict[str, Tensor]:
    """The latent upsampler's tensors, on no device."""
    with torch.device("meta"):
        network = LTX2LatentUpsamplerModel(
            in_channels=vae["latent_channels"],
            mid_channels=32 if tiny else 1024,
            num_blocks_per_stage=1 if tiny else 4,
            use_rational_resampler=False,
        )
    return dict(network.state_dict())


def write_gemma(folder: Path, config: Gemma3TextConfig, pool: np.ndarray) -> None:
    """A text model and a tokenizer that knows no word: every word of a prompt is one unknown token."""
    folder.mkdir(exist_ok=True)
    with torch.device("meta"):
        write(folder / "model.safetensors", Gemma3TextModel(config).state_dict(), pool, {})
    content = {**config.to_dict(), "model_type": "gemma3_text"}
    (folder / "config.json").write_text(json.dumps(content), encoding="utf-8")
    (folder / "tokenizer.json").write_text(tokenizer().to_str(), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(TOKENIZER_CONFIG, encoding="utf-8")


def tokenizer() -> Tokenizer:
    made = Tokenizer(models.WordLevel({"<pad>": 0, "<eos>": 1, "<bos>": 2, "<unk>": 3}, unk_token="<unk>"))
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return made


def write_split(
    folder: Path,
    tensors: Mapping[str, Tensor],
    config: Mapping[str, Any],
    gemma: TextConfig,
    pool: np.ndarray,
) -> dict[str, str]:
    """LTX-2.5 in the files of its publisher; returns those that a bundle names."""
    release = family_of("ltx-2.5").release
    assert release is not None
    places = {one.role: str(one.file) for one in release.files} | {"checkpoint": release.variants["dev"].file}
    with torch.device("meta"):
        language = Gemma4UnifiedTextModel(gemma).state_dict()
    encoder = {f"model.{name}": tensor for name, tensor in language.items()}
    encoder |= {name: tensor for name, tensor in tensors.items() if name.startswith(keys.PROJECTION)}
    encoder |= {"tokenizer_json": raw_bytes(tokenizer().to_str())}
    encoder |= {"hf_asset__tokenizer_config.json": raw_bytes(TOKENIZER_CONFIG)}
    sound = (keys.AUDIO_VAE, keys.VOCODER)
    held = {
        "checkpoint": {name: one for name, one in tensors.items() if name.startswith(keys.DIT)},
        "vae": {n.removeprefix(keys.VAE): one for n, one in tensors.items() if n.startswith(keys.VAE)},
        "audio": {name: one for name, one in tensors.items() if name.startswith(sound)},
        "text_encoder": encoder,
    }
    version = "gemma4-12b-ltx-v1"
    model = {"model_type": "gemma4_unified", "gemma_version": version, "text_config": gemma.to_dict()}
    source = json.dumps({"ltx_version": "2.5.0", "gemma_version": version})
    alone = {"transformer": config["transformer"], "vae": None, "audio_vae": None, "vocoder": None}
    about = {
        "checkpoint": {**metadata(alone, "2.5.0"), "gemma_source_checkpoint": source},
        "vae": {"config": json.dumps({"vae": config["vae"]})},
        "audio": {"config": json.dumps({part: config[part] for part in ("audio_vae", "vocoder")})},
        "text_encoder": {"gemma_config": json.dumps(model)},
    }
    for role, parts in held.items():
        (folder / places[role]).parent.mkdir(parents=True, exist_ok=True)
        write(folder / places[role], parts, pool, about[role])
    return {role: places[role] for role in ("checkpoint", "text_encoder")}


def raw_bytes(text: str) -> Tensor:
    """A text as the packed encoder holds it."""
    return torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)


def write(path: Path, tensors: Mapping[str, Tensor], pool: np.ndarray, about: Mapping[str, str]) -> None:
    """Write a file in bf16 (AdaLN tables in fp32, bytes as they are); meta tensors get random numbers."""
    header: dict[str, Any] = {"__metadata__": dict(about)} if about else {}
    start, places = 0, {}
    for name, tensor in tensors.items():
        dtype = stored_as(name, tensor)
        places[name] = start
        end = start + tensor.numel() * dtype.itemsize
        header[name] = {
            "dtype": NAMES[dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, end],
        }
        start = end
    raw = json.dumps(header).encode()
    raw += b" " * (-len(raw) % 8)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    os.pwrite(descriptor, len(raw).to_bytes(8, "little") + raw, 0)
    pools = Pools(pool)

    def one(name: str) -> None:
        offset = 8 + len(raw) + places[name]
        for piece in pools.pieces(name, tensors[name]):
            offset += os.pwrite(descriptor, piece, offset)

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        list(threads.map(one, tensors))
    os.close(descriptor)


def stored_as(name: str, tensor: Tensor) -> torch.dtype:
    """The dtype of a tensor in its file."""
    if tensor.dtype == torch.uint8:
        return torch.uint8
    return torch.float32 if keys.is_table(name) else torch.bfloat16


class Pools:
    """Random numbers as bytes, one pool for each standard deviation."""

    def __init__(self, pool: np.ndarray) -> None:
        self.pool = torch.from_numpy(pool)
        self.made: dict[tuple[float, torch.dtype], np.ndarray] = {}

    def pieces(self, name: str, tensor: Tensor) -> Iterator[memoryview]:
        """The bytes of a tensor in pieces; those of a meta tensor from a pool, from a place of its own."""
        dtype = stored_as(name, tensor)
        if not tensor.is_meta:
            yield memoryview(tensor.detach().to(dtype).contiguous().view(torch.uint8).numpy().ravel())
            return
        constant = self.constant(name, tensor)
        if constant is not None:
            filled = torch.full((tensor.numel(),), constant, dtype=dtype)
            yield memoryview(filled.view(torch.uint8).numpy())
            return
        small = tensor.ndim < 2 or "lora_B" in name
        scale = 0.02 if small else float(np.prod(tensor.shape[1:])) ** -0.5
        numbers = self.scaled(scale, dtype)
        left = tensor.numel() * dtype.itemsize
        place = 64 * (zlib.crc32(name.encode()) % (len(numbers) // 128))
        while left:
            piece = memoryview(numbers)[place : place + left]
            yield piece
            left, place = left - len(piece), 0

    def scaled(self, scale: float, dtype: torch.dtype) -> np.ndarray:
        if (scale, dtype) not in self.made:
            self.made[scale, dtype] = (self.pool * scale).to(dtype).view(torch.uint8).numpy()
        return self.made[scale, dtype]

    def constant(self, name: str, tensor: Tensor) -> float | None:
        """What norms and statistics hold; a Gemma-3 norm multiplies by one more than its weight."""
        if name.endswith("layer_scalar"):
            return 1.0
        if name.endswith("std-of-means"):
            return 1.0
        if name.endswith("mean-of-means"):
            return 0.0
        if tensor.ndim == 1 and "norm" in name:
            return 0.0 if name.startswith(("layers.", "norm.")) else 1.0
        return None
