"""A shipped bundle taken apart into a recipe's folder, so that its parts can be trained further."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

from safetensors.torch import load_file

from castsheet.ltx import keys as official
from castsheet.ltx.header import save_tensors
from castsheet.machine.files import write_atomic
from mini.bundle.package import ADAPTERS, CHECKPOINT, GEMMA
from mini.training.train_flow import Models


def unpack(bundle: Path, recipe: Path) -> None:
    """Write codec, audio, vocoder, base and the adapters of a bundle into a folder, and tokenizer/.

    Raises:
        OutputError: the folder cannot be written.
    """
    tokenizer = recipe / "tokenizer"
    tokenizer.mkdir(parents=True, exist_ok=True)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(bundle / GEMMA / name, tokenizer / name)
    tensors = load_file(bundle / CHECKPOINT)
    models = Models.build(tokenizer, "cpu")
    base = {f"transformer.{name}": tensors[official.DIT + name] for name in models.transformer.state_dict()}
    base |= {
        f"connectors.{name}": tensors[official.connectors_from_diffusers(name)]
        for name in models.connectors.state_dict()
    }
    base |= {f"gemma.{name}": one for name, one in load_file(bundle / GEMMA / "model.safetensors").items()}
    files = {
        "base": base,
    }
    for part, prefix in (("codec", official.VAE), ("audio", "audio_vae."), ("vocoder", "vocoder.")):
        files[part] = {name: one for name, one in tensors.items() if name.startswith(prefix)}
    for mode, name in ADAPTERS.items():
        if (bundle / name).exists():
            files[mode] = load_file(bundle / name)
    for name, content in files.items():
        kept = {key: one.contiguous() for key, one in content.items()}
        write_atomic(recipe / f"{name}.safetensors", partial(save_tensors, kept, metadata={"format": "pt"}))
