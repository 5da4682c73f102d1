"""Safetensors files and configs from outside: our reader and the loader's library agree on every header."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from castsheet.errors import AdapterError, CastsheetError, CheckpointError
from castsheet.ltx.adapters.lora_file import LoRA
from castsheet.ltx.files.inspect import inspect_file
from castsheet.ltx.header import read_header
from castsheet.ltx.model.config import TransformerConfig
from castsheet.ltx.parts.connectors import ConnectorSettings
from castsheet.ltx.parts.vae import diffusers_settings
from castsheet.train.data.dataset import Dataset, DatasetError
from castsheet.train.data.official import _latents

OFFICIAL: dict[str, Any] = json.loads((Path(__file__).parents[1] / "data/ltx-2.3-config.json").read_text())[
    "config"
]


def entry(shape: Any, offsets: Any, dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def stored(header: dict[str, Any] | bytes, data: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


# name: (header, bytes of data)
HEADERS: dict[str, tuple[dict[str, Any] | bytes, int]] = {
    "overlapping": ({"a": entry([2], [0, 8]), "b": entry([2], [4, 12])}, 12),
    "one within another": ({"a": entry([4], [0, 16]), "b": entry([1], [4, 8])}, 16),
    "two in one place": ({"a": entry([2], [0, 8]), "b": entry([2], [0, 8])}, 8),
    "a hole": ({"a": entry([1], [0, 4]), "b": entry([1], [8, 12])}, 12),
    "a hole before": ({"a": entry([1], [4, 8])}, 8),
    "bytes after": ({"a": entry([1], [0, 4])}, 12),
    "too few bytes": ({"a": entry([3], [0, 12])}, 8),
    "negative offsets": ({"a": entry([1], [-4, 0])}, 0),
    "backward offsets": ({"a": entry([1], [4, 0])}, 4),
    "a negative side": ({"a": entry([-1], [0, -4])}, 0),
    "two negative sides": ({"a": entry([-2, -1], [0, 8])}, 8),
    "a side of 2.5": ({"a": entry([2.5, 2.5], [0, 25])}, 25),
    "a side of 2.0": ({"a": entry([2.0], [0, 8])}, 8),
    "a side of true": ({"a": entry([True, 2], [0, 8])}, 8),
    "sides of text": ({"a": entry("22", [0, 16])}, 16),
    "sides of texts": ({"a": entry(["2", "2"], [0, 16])}, 16),
    "sides of null": ({"a": entry(None, [0, 4])}, 4),
    "a side of 1e999": (b'{"a":{"dtype":"F32","shape":[1e999],"data_offsets":[0,4]}}', 4),
    "a side of infinity": (b'{"a":{"dtype":"F32","shape":[Infinity],"data_offsets":[0,4]}}', 4),
    "a side of 200 digits": (b'{"a":{"dtype":"F32","shape":[' + b"9" * 200 + b'],"data_offsets":[0,4]}}', 4),
    "a side of 2^64": ({"a": entry([2**64, 0], [0, 0])}, 0),
    "100,000 sides": ({"a": entry([1] * 100_000, [0, 4])}, 4),
    "offsets of floats": ({"a": entry([1], [0.0, 4.0])}, 4),
    "offsets of texts": ({"a": entry([1], ["0", "4"])}, 4),
    "three offsets": ({"a": entry([1], [0, 4, 8])}, 4),
    "no offsets": ({"a": {"dtype": "F32", "shape": [1]}}, 4),
    "an unknown type": ({"a": entry([1], [0, 4], "F31")}, 4),
    "a type of null": ({"a": entry([1], [0, 4], None)}, 4),
    "a type of a list": ({"a": entry([1], [0, 4], ["F32"])}, 4),
    "a name twice": (b"{%s,%s}" % ((b'"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}',) * 2), 4),
    "a tensor that is a number": ({"a": 1}, 0),
    "a tensor that is a list": ({"a": [1]}, 0),
    "a list": (b"[]", 0),
    "a number": (b"5", 0),
    "half an object": (b"{", 0),
    "deep": (b'{"a":' * 5000, 0),
    "not UTF-8": (b'{"\xff":1}', 0),
    "metadata of numbers": ({"__metadata__": {"a": 1}}, 0),
    "metadata of objects": ({"__metadata__": {"a": {}}}, 0),
    "metadata that are a list": ({"__metadata__": ["a"]}, 0),
    "half a character": (b'{"\\ud800":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', 4),
}  # fmt: skip


@pytest.mark.parametrize("case", HEADERS)
def test_headers(case: str, tmp_path: Path) -> None:
    """Red: `inspect` finds nothing wrong with a file that `generate` refuses, or crashes on it."""
    header, size = HEADERS[case]
    path = tmp_path / "m.safetensors"
    path.write_bytes(stored(header, bytes(size)))
    for read, kind in (
        (read_header, CheckpointError),
        (inspect_file, CheckpointError),
        (LoRA.open, AdapterError),
    ):
        with pytest.raises(kind):
            read(path)


def test_what_passes_here_the_library_takes(tmp_path: Path) -> None:
    """Red: our reader is laxer than the loader's library for headers with one thing changed at random."""
    dice = np.random.default_rng(5)
    path = tmp_path / "m.safetensors"
    good = {
        "a": entry([2, 3], [0, 24]),
        "b": entry([], [24, 28]),
        "c": entry([0, 4], [28, 28]),
        "d": entry([2], [28, 32], "F16"),
    }
    values = [0, 1, 2, 4, 24, 28, 32, -1, 2.0, "F16", "BF16", "U8", [], [1], [0, 24], [24, 28], None, True]
    taken = 0
    for _ in range(600):
        header = json.loads(json.dumps(good))
        for _ in range(dice.integers(1, 3)):
            one = header[dice.choice(list(header))]
            field = dice.choice(list(one))
            value = values[dice.integers(len(values))]
            if isinstance(one[field], list) and one[field] and dice.integers(2):
                one[field][dice.integers(len(one[field]))] = value
            else:
                one[field] = value
        path.write_bytes(stored(header, bytes(32)))
        try:
            read_header(path)
        except CheckpointError:
            continue
        taken += 1
        with safe_open(path, framework="pt") as file:
            assert set(file.keys()) == set(header)
    assert taken


# --- configs

Change = tuple[str, str, Any]
CONFIGS: list[Change] = [
    *(("transformer", "num_layers", value) for value in (0, -1, 10**9, 3.5, "48", True, [48], math.nan)),
    *(("transformer", "num_attention_heads", value) for value in (0, 3.5, -32, 10**400, "x")),
    *(("transformer", "attention_head_dim", value) for value in (0, 127, 1e308)),
    *(("transformer", "positional_embedding_theta", value) for value in (0, -1, math.inf, math.nan, "x")),
    *(("transformer", "norm_eps", value) for value in (0, -1, 1, math.nan)),
    *(("transformer", "timestep_scale_multiplier", value) for value in (0, 1e300)),
    *(("transformer", "positional_embedding_max_pos", value) for value in ([], [1, 2], [0, 1, 1], 20)),
    *(("connectors", "connector_num_layers", value) for value in (-5, 0, 10**9, 2.5, None)),
    *(("connectors", "connector_num_learnable_registers", value) for value in (0, -1, 1e9)),
    *(("connectors", "caption_channels", value) for value in (0, -3840, "x")),
    *(("connectors", "connector_attention_head_dim", value) for value in (0, 1e308)),
    *(("vae", "latent_channels", value) for value in (-1, 0, 10**9, 128.5, "x")),
    *(("vae", "patch_size", value) for value in (0, -4, 1e9)),
    *(("vae", "decoder_base_channels", value) for value in (0, -1, 10**12)),
    *(("vae", "in_channels", value) for value in (0, -3)),
    *(("vae", "encoder_blocks", value) for value in ([], "x", [["res_x", -1]], [5])),
]  # fmt: skip
READ: dict[str, Callable[[dict[str, Any]], object]] = {
    "transformer": TransformerConfig.from_dict,
    "connectors": ConnectorSettings.parse,
    "vae": diffusers_settings,
}


@pytest.mark.parametrize(("part", "key", "value"), CONFIGS)
def test_configs(part: str, key: str, value: Any) -> None:
    """Red: a number of a checkpoint's config crashes, or builds layers until memory ends, or is taken."""
    config = dict(OFFICIAL["vae" if part == "vae" else "transformer"])
    READ[part](config)
    with pytest.raises(CastsheetError):
        READ[part]({**config, key: value})


@pytest.mark.parametrize("multiplier", [0, -2, 1.5, 10**9])
def test_multipliers(multiplier: float) -> None:
    """Red: a block that multiplies by 0 divides by it."""
    config = json.loads(json.dumps(OFFICIAL["vae"]))
    for name, block in config["encoder_blocks"]:
        if name.startswith("compress"):
            block["multiplier"] = multiplier
    with pytest.raises(CheckpointError):
        diffusers_settings(config)


# --- adapters and training data

LAYER = "diffusion_model.transformer_blocks.0.attn1.to_q"


@pytest.mark.parametrize(
    "alpha",
    [torch.ones(2), torch.tensor(1e38), torch.tensor(math.nan), torch.tensor(math.inf), torch.tensor(-1e9),
     torch.ones(0), torch.tensor(1 + 2j)],
    ids=["two numbers", "1e38", "NaN", "infinity", "-1e9", "no number", "complex"],
)  # fmt: skip
def test_alphas(alpha: torch.Tensor, tmp_path: Path) -> None:
    """Red: an adapter's alpha crashes, or blows the weights up without a word."""
    path = tmp_path / "a.safetensors"
    factors = {f"{LAYER}.lora_down.weight": torch.ones(2, 4), f"{LAYER}.lora_up.weight": torch.ones(4, 2)}
    save_file({**factors, f"{LAYER}.alpha": alpha}, path)
    with pytest.raises(AdapterError):
        LoRA.open(path)


NOTES = {"version": "1", "fps": "24.0", "context": "c.safetensors", "augment": "{}"}
SAMPLES: dict[str, tuple[dict[str, str], dict[str, torch.Tensor]]] = {
    "augment is a list": ({"augment": "[1]"}, {}),
    "augment of texts": ({"augment": '{"drop": "x"}'}, {}),
    "augment of true": ({"augment": '{"drop": true}'}, {}),
    "augment is null": ({"augment": "null"}, {}),
    "augment is deep": ({"augment": "[" * 5000}, {}),
    "augment of NaN": ({"augment": '{"drop": NaN}'}, {}),
    "fps is a word": ({"fps": "fast"}, {}),
    "fps is 0": ({"fps": "0"}, {}),
    "fps is negative": ({"fps": "-24"}, {}),
    "fps is NaN": ({"fps": "nan"}, {}),
    "fps is infinite": ({"fps": "inf"}, {}),
    "fps is 1e300": ({"fps": "1e300"}, {}),
    "another version": ({"version": "9"}, {}),
    "a context elsewhere": ({"context": "../../x.safetensors"}, {}),
    "a context at the root": ({"context": "/x.safetensors"}, {}),
    "no context": ({"context": ""}, {}),
    "a context that is not there": ({"context": "d.safetensors"}, {}),
    "latents of rank 5": ({}, {"latents": torch.ones(4, 2, 2, 2, 1)}),
    "latents of rank 3": ({}, {"latents": torch.ones(4, 2, 2)}),
    "no frames": ({}, {"latents": torch.ones(4, 0, 2, 2)}),
    "latents of integers": ({}, {"latents": torch.ones(4, 1, 2, 2, dtype=torch.int32)}),
    "no rows in the reference": ({}, {"references": torch.ones(1, 4, 1, 0, 2)}),
    "no rows and columns": ({}, {"references": torch.ones(1, 4, 1, 0, 0)}),
    "no variants": ({}, {"references": torch.ones(0, 4, 1, 2, 2)}),
    "a reference of other channels": ({}, {"references": torch.ones(1, 3, 1, 2, 2)}),
    "a reference twice as large": ({}, {"references": torch.ones(1, 4, 1, 4, 4)}),
    "a mask of another shape": ({}, {"mask": torch.ones(2, 2, 2)}),
}


@pytest.mark.parametrize("case", SAMPLES)
def test_samples(case: str, tmp_path: Path) -> None:
    """Red: a sample that contradicts itself crashes the training, or is learnt from."""
    notes, tensors = SAMPLES[case]
    good = {"latents": torch.ones(4, 1, 2, 2), "references": torch.ones(1, 4, 1, 2, 2)}
    (tmp_path / "samples").mkdir()
    (tmp_path / "contexts").mkdir()
    save_file({"video": torch.ones(3, 8)}, tmp_path / "contexts" / "c.safetensors")
    path = tmp_path / "samples" / "a.safetensors"
    save_file(good, path, NOTES)
    Dataset.open(tmp_path, channels=4, context_dim=8)
    save_file({**good, **tensors}, path, {**NOTES, **notes})
    with pytest.raises(DatasetError):
        Dataset.open(tmp_path, channels=4, context_dim=8)


@pytest.mark.parametrize(
    "change",
    [{"fps": None}, {"fps": [24]}, {"fps": "x"}, {"fps": 0}, {"fps": math.nan}, {"fps": True},
     {"num_frames": "x"}, {"num_frames": None}, {"num_frames": math.inf}, {"num_frames": 3}, {"height": 2.5},
     {"latents": torch.ones(2)}, {"latents": "x"}],
    ids=str,
)  # fmt: skip
def test_official_samples(change: dict[str, Any], tmp_path: Path) -> None:
    """Red: a number of the official layout that is none ends in a traceback."""
    good = {"latents": torch.ones(4, 2, 2, 2), "num_frames": 2, "height": 2, "width": 2, "fps": 24}
    path = tmp_path / "a.pt"
    torch.save(good, path)
    assert _latents(path)[1] == 24
    torch.save({**good, **change}, path)
    with pytest.raises(DatasetError):
        _latents(path)


def test_the_library_is_stricter_nowhere() -> None:
    """Red: the library that loads tensors no longer raises what is caught."""
    with pytest.raises((SafetensorError, OSError)), safe_open("nothing.safetensors", framework="pt"):
        pass
