"""Everything wrong that a user can hand in, through the real command line: model files, settings.

Whatever it is: exit code 2, a message with a remedy, no traceback, and no file left in the output folder.
"""

from __future__ import annotations

import json
import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from mini.official import write_checkpoint
from tests.doubles.hostile import Run, Work, expect_refusal, good, half, run, work

# --- checkpoints


def rewrite(change: Callable[[dict, dict], object], version: str = "2.3.0") -> Callable[[Work], object]:
    """Write the checkpoint again with other tensors or another config."""

    def do(work: Work) -> None:
        with safe_open(work.checkpoint, "pt") as file:
            config = json.loads(file.metadata()["config"])
        tensors = load_file(work.checkpoint)
        change(tensors, config)
        write_checkpoint(work.checkpoint, tensors, config, version)

    return do


def keep(*_: object) -> None:
    """Change nothing."""


def metadata(values: dict[str, str] | None) -> Callable[[Work], object]:
    """The right tensors under another header."""

    def do(work: Work) -> None:
        save_file(load_file(work.checkpoint), work.checkpoint, metadata=values)

    return do


def _first(tensors: dict, part: str) -> str:
    return next(name for name in tensors if part in name and name.endswith(".weight"))


def _spoil(part: str) -> Callable[[dict, dict], object]:
    return lambda t, _: t[_first(t, part)].view(-1)[0:1].fill_(float("nan"))


def _drop(part: str) -> Callable[[dict, dict], object]:
    return lambda t, _: [t.pop(name) for name in list(t) if part in name]


CHECKPOINTS: dict[str, tuple[Callable[[Work], object], str]] = {
    "missing": (lambda w: w.checkpoint.unlink(), "not there"),
    "truncated": (lambda w: half(w.checkpoint), "truncated"),
    "header only": (lambda w: w.checkpoint.write_bytes(w.checkpoint.read_bytes()[:400]), "truncated"),
    "no bytes": (lambda w: w.checkpoint.write_bytes(b""), "empty"),
    "a pickle": (lambda w: w.checkpoint.write_bytes(pickle.dumps({"a": 1})), "pickle"),
    "a web page": (lambda w: w.checkpoint.write_text("<html>403 Forbidden</html>"), "safetensors"),
    "a Git LFS pointer": (
        lambda w: w.checkpoint.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
        "safetensors",
    ),
    "family 2.5": (rewrite(keep, "2.5.0"), "LTX-2.5"),
    "family 2.0": (rewrite(keep, "2.0.0"), "LTX-2.0"),
    "a missing block": (rewrite(_drop("transformer_blocks.1.attn1")), "transformer_blocks.1.attn1"),
    "no VAE": (rewrite(_drop("vae.")), "vae"),
    "no connectors": (rewrite(_drop("connector")), "connector"),
    "NaN in the denoiser": (rewrite(_spoil("transformer_blocks.0")), "NaN"),
    "NaN in the VAE": (rewrite(_spoil("vae.decoder")), "NaN"),
    "NaN in the connectors": (rewrite(_spoil("embeddings_connector")), "NaN"),
    "a wrong shape": (
        rewrite(lambda t, _: t.update({n: torch.zeros(3, 3) for n in [_first(t, "attn1.to_q")]})),
        "shape",
    ),
    "no metadata": (metadata(None), "config"),
    "no config": (metadata({"model_version": "2.3.0"}), "config"),
    "config is not JSON": (metadata({"config": "{heads: 2", "model_version": "2.3.0"}), "config"),
    "config is a list": (metadata({"config": "[]", "model_version": "2.3.0"}), "config"),
    "config lacks the heads": (
        rewrite(lambda _, c: c["transformer"].pop("num_attention_heads")),
        "num_attention_heads",
    ),
    "config contradicts the tensors": (
        rewrite(lambda _, c: c["transformer"].update(num_layers=5)),
        "5 layers",
    ),
    "bundle.json is not JSON": (lambda w: (w.bundle / "bundle.json").write_text("{"), "bundle.json"),
    "bundle.json names nothing": (lambda w: (w.bundle / "bundle.json").write_text("{}"), "bundle.json"),
    "no text encoder": (lambda w: shutil.rmtree(w.bundle / "text_encoder"), "text_encoder"),
    "no tokenizer": (
        lambda w: [p.unlink() for p in (w.bundle / "text_encoder").glob("tokenizer*")],
        "tokenizer",
    ),
    "no config of the encoder": (
        lambda w: (w.bundle / "text_encoder" / "config.json").unlink(),
        "config.json|text_encoder",
    ),
    "a truncated encoder": (
        lambda w: half(next((w.bundle / "text_encoder").glob("*.safetensors"))),
        "text_encoder",
    ),
}


@pytest.mark.parametrize(("damage", "says"), CHECKPOINTS.values(), ids=CHECKPOINTS.keys())
def test_checkpoints(run: Run, work: Work, damage: Callable[[Work], object], says: str) -> None:
    """Red: an interrupted download or a foreign file gives a traceback, or a clip of noise."""
    damage(work)
    expect_refusal(run, work, work.generate(), says)


def test_folders_and_names_that_are_no_model(run: Run, work: Work) -> None:
    """Red: a wrong --model gives a traceback."""
    empty = work.folder / "empty"
    empty.mkdir()
    for model in (empty, work.folder / "gone.safetensors", work.folder / "face.png"):
        expect_refusal(run, work, [*work.generate(), "--model", model], re.escape(str(model)))
        expect_refusal(run, work, ["inspect", model], re.escape(str(model)))


# --- adapters

_KEY = "diffusion_model.transformer_blocks.0.attn1.to_q"


def adapter(tensors: dict[str, torch.Tensor], **header: str) -> Callable[[Path], object]:
    values = {"reference_downscale_factor": "1"} | header
    return lambda path: save_file(tensors, path, metadata=values)


Shape = tuple[int, int]


def pair(a: Shape = (4, 48), b: Shape = (48, 4), key: str = _KEY) -> dict[str, torch.Tensor]:
    """The two factors of one layer, at the tiny model's width."""
    return {f"{key}.lora_A.weight": torch.ones(a) * 0.01, f"{key}.lora_B.weight": torch.ones(b) * 0.01}


def _cut(path: Path) -> None:
    adapter(pair())(path)
    half(path)


ADAPTERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda _: None, "ic-lora.safetensors"),
    "truncated": (_cut, "truncated"),
    "no bytes": (lambda p: p.write_bytes(b""), "cannot read|empty"),
    "a pickle": (lambda p: p.write_bytes(pickle.dumps([1])), "pickle"),
    "family 2.5": (adapter(pair(), model_version="2.5.0"), "2.5"),
    "unknown keys": (adapter(pair(key="diffusion_model.down_blocks.0.attentions.0")), "down_blocks"),
    "a block too many": (adapter(pair(key=_KEY.replace("blocks.0", "blocks.47"))), "transformer_blocks.47"),
    "a wrong width": (adapter(pair((4, 4096), (4096, 4))), "to_q"),
    "ranks that differ": (adapter(pair((4, 48), (48, 8))), "to_q"),
    "A without B": (adapter({f"{_KEY}.lora_A.weight": torch.ones(4, 48)}), "to_q"),
    "NaN": (adapter({k: v * float("nan") for k, v in pair().items()}), "NaN"),
    "no LoRA at all": (adapter({"weight": torch.ones(3)}), "LoRA|lora"),
    "a corrupt factor": (adapter(pair(), reference_downscale_factor="two"), "reference_downscale_factor"),
    "a negative factor": (adapter(pair(), reference_downscale_factor="-1"), "reference_downscale_factor"),
}


@pytest.mark.parametrize(("write", "says"), ADAPTERS.values(), ids=ADAPTERS.keys())
def test_adapters(run: Run, work: Work, write: Callable[[Path], object], says: str) -> None:
    """Red: an adapter that does not fit is merged in part, and the clip is subtly wrong."""
    path = work.folder / "ic-lora.safetensors"
    write(path)
    expect_refusal(run, work, work.generate("--adapter", f"{path}:1.0"), says)


# --- prompts, sizes and settings

SETTINGS: dict[str, tuple[list[str], str]] = {
    "prompt without a reference half": (["--prompt", "Generated video: mara walks"], "Reference sheet:"),
    "prompt without an action": (["--prompt", "Reference sheet: mara"], "Generated video:"),
    "prompt without headings": (["--prompt", "mara walks"], "Reference sheet:"),
    "prompt in the wrong order": (
        ["--prompt", "Generated video: mara walks\n\nReference sheet: mara"],
        "stands before",
    ),
    "empty prompt": (["--prompt", ""], "Reference sheet:"),
    "empty first half": (["--prompt", "Reference sheet:\n\nGenerated video: mara walks"], "is empty"),
    "empty action": (["--action", ""], "empty|nothing says"),
    "blank action": (["--action", " \n\t "], "empty|nothing says"),
    "endless action": (["--action", "mara walks " * 2000], "tokens"),
    "somebody unknown": (["--action", "mara greets old_man"], "'old_man'"),
    "120 frames": (["--frames", "120"], "8 k|8k"),
    "0 frames": (["--frames", "0"], "frames"),
    "-7 frames": (["--frames", "-7"], "frames"),
    "a million frames": (["--frames", "1000001"], "frames"),
    "width 100": (["--width", "100"], "width|100x128"),
    "width 0": (["--width", "0"], "width"),
    "width -192": (["--width", "-192"], "width"),
    "height 1e9": (["--height", "1000000000"], "height"),
    "0 fps": (["--fps", "0"], "fps"),
    "NaN fps": (["--fps", "nan"], "fps"),
    "0 steps": (["--steps", "0"], "steps"),
    "steps is a word": (["--steps", "many"], "steps"),
    "infinite guidance": (["--guidance", "inf"], "guidance"),
    "NaN strength": (["--lora-strength", "nan"], "lora_strength"),
    "reference strength 2": (["--reference-strength", "2"], "reference_strength"),
    "sigmas upwards": (["--sigmas", "0,0.5,1"], "sigma"),
    "sigmas are words": (["--sigmas", "high,low"], "number"),
    "a block that is not there": (["--stg-blocks", "40"], "block"),
    "a negative block": (["--stg-blocks", "-1"], "stg_blocks"),
    "seed is a word": (["--seed", "lucky"], "seed"),
    "seed is a fraction": (["--seed", "1.5"], "seed"),
    "unknown preset": (["--preset", "best"], "card"),
    "unknown format": (["--prompt-format", "haiku"], "prose"),
    "unknown option": (["--frmaes", "9"], "frmaes|No such option"),
    "unknown device": (["--device", "abacus"], "abacus"),
    "unknown dtype": (["--dtype", "int3"], "int3"),
    "sound without its weights": (["--audio"], "audio"),
    "a first frame that is missing": (["--first-frame", "gone.png"], "gone.png"),
    "a first frame that is text": (["--first-frame", __file__], "not a picture"),
    "an output that is no .mp4": (["-o", "clip.exe"], r"\.mp4"),
}


@pytest.mark.parametrize(("extra", "says"), SETTINGS.values(), ids=SETTINGS.keys())
def test_prompts_and_settings(run: Run, work: Work, extra: list[str], says: str) -> None:
    """Red: a run starts that cannot succeed, or stops minutes later."""
    expect_refusal(run, work, work.generate(*extra), says)


def test_the_undamaged_files_work(run: Run, work: Work) -> None:
    """Red: all of the above may be refused for another reason than the damage."""
    result = run(work.generate())
    assert result.code == 0, result.err
    assert len(list(work.out.iterdir())) >= 3
    adapter(pair())(work.folder / "ic-lora.safetensors")
    result = run(work.generate("--adapter", str(work.folder / "ic-lora.safetensors")))
    assert result.code == 0, result.err
