"""Safetensors files, checkpoints, adapters, training data, and runs that go on."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from castsheet.ltx.header import read_header
from castsheet.train.data.official import _latents
from tests.doubles.killed import run as ran
from tests.reliability.test_headers import HEADERS, SAMPLES, stored
from tools.attack.case import Case, Do
from tools.attack.files import bundle
from tools.attack.texts import GENERATE, TRAIN, WAVES

INSPECT = ("inspect", "m.safetensors")
MAKE = (*GENERATE, *WAVES)
CHECKPOINT = "tiny/tiny.safetensors"
_INSPECTED = {
    "overlapping offsets": "overlapping",
    "a hole": "a hole",
    "negative offsets": "negative offsets",
    "two tensors in one place": "two in one place",
    "a name twice": "a name twice",
    "shape is infinity": "a side of infinity",
    "shape is 1e999": "a side of 1e999",
    "shape is 2.5 twice": "a side of 2.5",
    "shape negative twice": "two negative sides",
    "shape is a text": "sides of text",
    "shape is texts": "sides of texts",
    "shape is booleans": "a side of true",
    "shape of 100,000 axes": "100,000 sides",
    "offsets are floats": "offsets of floats",
}
_SAMPLED = {
    "augment is a list": "augment is a list",
    "augment of texts": "augment of texts",
    "augment deep": "augment is deep",
    "augment null": "augment is null",
    "latents of rank 5": "latents of rank 5",
    "latents of no frames": "no frames",
    "reference of zero rows": "no rows in the reference",
    "reference of zero rows and columns": "no rows and columns",
    "no variants": "no variants",
}


def _header(case: str, name: str = "m.safetensors") -> Do:
    header, size = HEADERS[case]
    return lambda folder: (folder / name).write_bytes(stored(header, bytes(size)))


def _deep_config(name: str) -> Do:
    config = {"__metadata__": {"config": "[" * 5000, "model_version": "2.3.0"}}
    header = {**config, "a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
    return lambda folder: (folder / name).write_bytes(stored(header, bytes(4)))


def _config(change: Callable[[dict[str, Any]], object]) -> Do:
    """Rewrite the checkpoint with another config in its header."""

    def do(folder: Path) -> None:
        path = folder / CHECKPOINT
        metadata = read_header(path).metadata
        config = json.loads(metadata["config"])
        change(config)
        save_file(load_file(path), path, {**metadata, "config": json.dumps(config)})

    return do


def _put(part: str, key: str, value: Any) -> Do:
    return _config(lambda config: config[part].__setitem__(key, value))


def _multiplier(config: dict[str, Any]) -> None:
    for block in (*config["vae"]["encoder_blocks"], *config["vae"]["decoder_blocks"]):
        block[1]["multiplier"] = 0


def _complex(folder: Path) -> None:
    path = folder / CHECKPOINT
    tensors = load_file(path)
    name = next(name for name in tensors if "transformer_blocks.0" in name and tensors[name].dim() == 2)
    tensors[name] = tensors[name].to(torch.complex64)
    save_file(tensors, path, read_header(path).metadata)


def _alpha(value: torch.Tensor) -> Do:
    def do(folder: Path) -> None:
        path = folder / "tiny/ic-lora.safetensors"
        tensors = load_file(path)
        down = next(name for name in tensors if "lora_A" in name or "lora_down" in name)
        tensors[f"{down.rpartition('.lora_')[0]}.alpha"] = value
        save_file(tensors, path, read_header(path).metadata)

    return do


def _sample(case: str) -> Do:
    notes, tensors = SAMPLES[case]

    def do(folder: Path) -> None:
        path = folder / "data/samples/clip0.safetensors"
        metadata = read_header(path).metadata
        new = load_file(path)
        channels = new["latents"].shape[0]
        for name, value in tensors.items():
            axis = 0 if name == "latents" else 1
            size = list(value.shape)
            size[axis] = channels
            new[name] = torch.ones(size, dtype=value.dtype)
        save_file(new, path, {**metadata, **notes})

    return do


def _official(change: dict[str, Any], folder: Path) -> None:
    good = {"latents": torch.ones(4, 2, 2, 2), "num_frames": 2, "height": 2, "width": 2, "fps": 24}
    torch.save({**good, **change}, folder / "a.pt")
    _latents(folder / "a.pt")


def _begun(then: Do) -> Do:
    """Train first, then change something."""

    def do(folder: Path) -> None:
        ended = ran(TRAIN, folder)
        assert ended.code == 0, ended.said
        then(folder)

    return do


def _log(content: bytes) -> Do:
    return _begun(lambda folder: (folder / "out/run/log.jsonl").open("ab").write(content))


def _state(change: Callable[[dict[str, Any]], object]) -> Do:
    def do(folder: Path) -> None:
        path = _last(folder) / "state.json"
        state = json.loads(path.read_text())
        change(state)
        path.write_text(json.dumps(state))

    return _begun(do)


def _last(folder: Path) -> Path:
    return max((folder / "out/run/checkpoints").glob("step_*"))


def _moments(folder: Path) -> None:
    path = _last(folder) / "training.safetensors"
    tensors = load_file(path)
    name = next(
        name for name, value in tensors.items() if name.startswith("optimiser.") and value.numel() > 1
    )
    tensors[name] = torch.ones(3, 3)
    save_file(tensors, path, read_header(path).metadata)


def _numbers(state: dict[str, Any]) -> None:
    state["numbers"] = [1, 2]


_OFFICIAL: dict[str, dict[str, Any]] = {
    "fps is a list": {"fps": [24]},
    "fps is None": {"fps": None},
    "num_frames a text": {"num_frames": "x"},
    "num_frames None": {"num_frames": None},
    "num_frames inf": {"num_frames": math.inf},
}
FURTHER = (*TRAIN, "--set", "steps=6")
_ADAPTER = (*MAKE, "--adapter")
_T = "tensors"
CASES = [
    *(Case(_T, f"inspect: {name}", INSPECT, _header(case)) for name, case in _INSPECTED.items()),
    Case(_T, "inspect: deep JSON in config", INSPECT, _deep_config("m.safetensors"), codes=(0, 2)),
    Case(_T, "checkpoint: shape is 1e999", MAKE, _header("a side of 1e999", CHECKPOINT)),
    Case(_T, "checkpoint: deep JSON in config", MAKE, _deep_config(CHECKPOINT)),
    Case(_T, "checkpoint config heads = 3.5", MAKE, _put("transformer", "num_attention_heads", 3.5)),
    Case(_T, "checkpoint config layers = 10^9", MAKE, _put("transformer", "num_layers", 10**9)),
    Case(_T, "checkpoint config theta = 0", MAKE, _put("transformer", "positional_embedding_theta", 0)),
    Case(_T, "checkpoint config vae multiplier 0", MAKE, _config(_multiplier)),
    Case(_T, "checkpoint config latent_channels -1", MAKE, _put("vae", "latent_channels", -1)),
    Case(_T, "checkpoint config connector layers -5", MAKE, _put("transformer", "connector_num_layers", -5)),
    Case(
        _T,
        "checkpoint config registers = 0",
        MAKE,
        _put("transformer", "connector_num_learnable_registers", 0),
    ),
    Case(_T, "checkpoint with weights are complex", MAKE, _complex),
    Case(_T, "adapter alpha of two numbers", MAKE, _alpha(torch.ones(2))),
    Case(_T, "adapter alpha 1e38", MAKE, _alpha(torch.tensor(1e38))),
    Case(_T, "adapter strength '1e30'", (*_ADAPTER, "tiny/ic-lora.safetensors:1e30")),
    Case(_T, "bundle.json preset value of 400 digits", MAKE, bundle('"steps": 1', f'"steps": {"9" * 400}')),
    Case(
        _T,
        "text encoder: config.json deep",
        MAKE,
        lambda folder: (folder / "tiny/text_encoder/config.json").write_text("[" * 5000),
    ),
    *(Case(_T, f"sample with {name}", TRAIN, _sample(case)) for name, case in _SAMPLED.items()),
    *(
        Case(_T, f"official sample: {name}", call=partial(_official, change))
        for name, change in _OFFICIAL.items()
    ),
    Case(
        _T,
        "training log with a damaged line",
        FURTHER,
        _log(b'{"kind": "train"\n'),
        codes=(0,),
        finishes=True,
    ),
    Case(
        _T, "training log with NULs (power cut)", FURTHER, _log(bytes(300) + b"\n"), codes=(0,), finishes=True
    ),
    Case(_T, "training log of other JSON", FURTHER, _log(b"[1, 2]\n"), codes=(0,), finishes=True),
    Case(_T, "training log not UTF-8", FURTHER, _log(b"\xff\xfe\n"), codes=(0,), finishes=True),
    Case(_T, "resume: state.json numbers garbage", FURTHER, _state(_numbers)),
    Case(_T, "resume: state.json step is a text", FURTHER, _state(lambda state: state.update(step="x"))),
    Case(_T, "resume: state.json step -5", FURTHER, _state(lambda state: state.update(step=-5))),
    Case(_T, "resume: moments of another shape", FURTHER, _begun(_moments)),
    Case(
        _T,
        "resume: state.json deep",
        FURTHER,
        _begun(lambda folder: (_last(folder) / "state.json").write_text("[" * 5000)),
    ),
]
