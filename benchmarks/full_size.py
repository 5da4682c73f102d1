"""The command line at full size: a 22B model's files with random weights, and the commands that users type.

    python -m benchmarks.full_size make DIR                      the files: 72 GB
    python -m benchmarks.full_size run DIR --out RESULTS         the commands of `RUNS`, a process each
    python -m benchmarks.full_size sequence DIR --memory 40      clips of 241 and 121 frames in one process

DIR should be in memory (a tmpfs), since a disk's speed is not what is measured. Stages are timed by castsheet
itself; they are read from each clip's sidecar. `--tiny` makes and runs a toy model on the CPU.

The files have the official layout, so they go through the same code as published ones. Weights are normal
with the variance that keeps an input's size; all come from one pool of random numbers, which is written fast.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from torch import Tensor
from transformers import Gemma3TextConfig, Gemma3TextModel

from benchmarks.common import Bench, open_bench
from castsheet import Castsheet
from castsheet.loading.download import GIB
from castsheet.ltx import keys
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
PROMPT = """Reference sheet: hero, a tall figure in a red coat with a brown backpack, by an old barn.

Generated video: hero walks left past the barn while the camera follows at walking pace."""
STAGES = ("load", "text", "reference", "sampling", "decode")


@dataclass(frozen=True)
class Run:
    """A command to time: a name, and what follows `castsheet generate SHEET --model DIR`."""

    name: str
    options: tuple[str, ...]


RUNS = (
    Run("with sound, all memory", ("--audio",)),
    Run("fp8, 22 GiB", ("--dtype", "fp8", "--memory", "22")),
    Run("12 GiB", ("--memory", "12")),
)
TINY_RUNS = (Run("with sound", ("--audio",)), Run("fp8", ("--dtype", "fp8")))


def make(folder: Path, *, tiny: bool) -> None:
    """Write the model's files, and a sheet."""
    folder.mkdir(parents=True, exist_ok=True)
    pool = np.random.default_rng(0).standard_normal(POOL >> 8 if tiny else POOL, dtype=np.float32)
    config, gemma = (
        toy() if tiny else (json.loads(OFFICIAL.read_text(encoding="utf-8"))["config"], gemma_12b())
    )
    transformer = Transformer(meta_config(config))
    write(folder / "ltx.safetensors", checkpoint(config, transformer, gemma), pool, metadata(config))
    write_gemma(folder / "gemma", gemma, pool)
    write(folder / "ic-lora.safetensors", adapter(transformer, 4 if tiny else RANK), pool, {})
    files = {
        "checkpoint": "ltx.safetensors",
        "text_encoder": "gemma",
        "adapters": [{"path": "ic-lora.safetensors"}],
    }
    bundle: dict[str, Any] = {"version": 1, "name": "random", "files": files}
    if tiny:
        bundle["bucket"] = {"width": 128, "height": 64, "frames": 17, "fps": 24.0, "stg_blocks": [1]}
    (folder / "bundle.json").write_text(json.dumps(bundle, indent=1), encoding="utf-8")
    levels = np.random.default_rng(1).integers(
        0, 255, (64, 128, 3) if tiny else (448, 768, 3), dtype=np.uint8
    )
    Image.fromarray(levels).save(folder / "sheet.png")


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


def metadata(config: Mapping[str, Any]) -> dict[str, str]:
    return {"config": json.dumps(config), "model_version": "2.3.0"}


def meta_config(config: Mapping[str, Any]) -> TransformerConfig:
    torch.set_default_device("meta")
    return TransformerConfig.from_dict(config["transformer"])


def checkpoint(
    config: Mapping[str, Any], transformer: Transformer, gemma: Gemma3TextConfig
) -> dict[str, Tensor]:
    """Every tensor of the single file: shapes only, but for the small parts that make sound."""
    connectors = TextConnectors(config["transformer"], states=gemma.num_hidden_layers + 1, audio=True)
    vae = VideoVAE(config["vae"])
    torch.set_default_device("cpu")
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


def write_gemma(folder: Path, config: Gemma3TextConfig, pool: np.ndarray) -> None:
    """A text model and a tokenizer that knows no word: every word of a prompt is one unknown token."""
    folder.mkdir(exist_ok=True)
    with torch.device("meta"):
        write(folder / "model.safetensors", Gemma3TextModel(config).state_dict(), pool, {})
    content = {**config.to_dict(), "model_type": "gemma3_text"}
    (folder / "config.json").write_text(json.dumps(content), encoding="utf-8")
    tokenizer = Tokenizer(
        models.WordLevel({"<pad>": 0, "<eos>": 1, "<bos>": 2, "<unk>": 3}, unk_token="<unk>")
    )
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text('{"bos_token": "<bos>"}', encoding="utf-8")


def write(path: Path, tensors: Mapping[str, Tensor], pool: np.ndarray, about: Mapping[str, str]) -> None:
    """Write a safetensors file in bf16 (AdaLN tables in fp32); meta tensors get random numbers."""
    header: dict[str, Any] = {"__metadata__": dict(about)} if about else {}
    start, places = 0, {}
    for name, tensor in tensors.items():
        wide = keys.is_table(name)
        places[name] = start
        end = start + tensor.numel() * (4 if wide else 2)
        header[name] = {
            "dtype": "F32" if wide else "BF16",
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


class Pools:
    """Random numbers as bytes, one pool for each standard deviation."""

    def __init__(self, pool: np.ndarray) -> None:
        self.pool = torch.from_numpy(pool)
        self.made: dict[tuple[float, torch.dtype], np.ndarray] = {}

    def pieces(self, name: str, tensor: Tensor) -> Iterator[memoryview]:
        """The bytes of a tensor in pieces; those of a meta tensor from a pool, from a place of its own."""
        dtype = torch.float32 if keys.is_table(name) else torch.bfloat16
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
        """What norms and statistics hold: a Gemma norm multiplies by one more than its weight."""
        if name.endswith("std-of-means"):
            return 1.0
        if name.endswith("mean-of-means"):
            return 0.0
        if tensor.ndim == 1 and "norm" in name:
            return 0.0 if name.startswith(("layers.", "norm.")) else 1.0
        return None


def run(folder: Path, bench: Bench, *, steps: int, only: Sequence[str], tiny: bool) -> None:
    """Each command once, in a process of its own, with one cache of prompts."""
    for one in TINY_RUNS if tiny else RUNS:
        if only and one.name not in only:
            continue
        clip = folder / "clips" / f"{one.name.replace(', ', '-').replace(' ', '-')}.mp4"
        command = [sys.executable, "-m", "castsheet.cli", "generate", str(folder / "sheet.png")]
        command += [
            "--model",
            str(folder),
            "--prompt",
            PROMPT,
            "--cache-dir",
            str(folder / "cache"),
            "--force",
        ]
        command += ["--steps", str(steps), *one.options, "-o", str(clip)]
        with bench.attempt(one.name):
            begun = time.perf_counter()
            subprocess.run(command, check=True)
            seconds = time.perf_counter() - begun
            record = json.loads(clip.with_suffix(".clip.json").read_text(encoding="utf-8"))
            add(bench, one.name, find(record, "timings_s"), find(record, "memory"), whole=seconds)


def sequence(folder: Path, bench: Bench, *, memory: str, frames: Sequence[int], steps: int) -> None:
    """Clips of several lengths in one process under one budget."""
    castsheet = Castsheet.load(folder, memory=memory, cache_dir=folder / "cache")
    for number, count in enumerate(frames):
        name = f"{memory} GiB, clip {number + 1}: {count} frames"
        with bench.attempt(name):
            if bench.on_gpu:
                torch.cuda.reset_peak_memory_stats()
            begun = time.perf_counter()
            clip = castsheet(folder / "sheet.png", prompt=PROMPT, frames=count, steps=steps, force=True)
            seconds = time.perf_counter() - begun
            peak = torch.cuda.max_memory_allocated() / GIB if bench.on_gpu else None
            record = clip.provenance
            add(bench, name, record["timings_s"], record["memory"], whole=seconds, peak_gib=peak)


def add(bench: Bench, name: str, timings: Mapping[str, float], memory: str | None, **more: Any) -> None:
    """One row: seconds of each stage, the plan in words, and what else was measured."""
    bench.add(name, **{f"{stage}_s": timings[stage] for stage in STAGES}, **more, plan=memory)


def find(record: Any, key: str) -> Any:
    """The first value under `key` in a sidecar, at any depth."""
    if isinstance(record, dict):
        if key in record:
            return record[key]
        return next((found for one in record.values() if (found := find(one, key)) is not None), None)
    return None


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=("make", "run", "sequence"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent / "results")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--only", nargs="+", default=(), help="names of runs")
    parser.add_argument("--memory", default="auto")
    parser.add_argument("--frames", type=int, nargs="+", default=(241, 121))
    parser.add_argument("--commit", default=None, help="where the copy has no .git")
    parser.add_argument("--tiny", action="store_true", help="a toy model on the CPU")
    given = parser.parse_args()
    if given.what == "make":
        begun = time.perf_counter()
        make(given.folder, tiny=given.tiny)
        size = sum(file.stat().st_size for file in given.folder.rglob("*") if file.is_file())
        print(f"{size / GIB:.1f} GiB written in {time.perf_counter() - begun:.1f} s", flush=True)
        return 0
    mode = "tiny" if given.tiny else "full"
    name = "full-size" if given.what == "run" else f"full-size-{given.memory}"
    bench = open_bench(name, given.out, mode=mode, commit=given.commit)
    if given.what == "run":
        run(given.folder, bench, steps=given.steps, only=given.only, tiny=given.tiny)
    else:
        sequence(given.folder, bench, memory=given.memory, frames=given.frames, steps=given.steps)
    return 0


if __name__ == "__main__":
    sys.exit(main())
