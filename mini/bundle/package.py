"""Put a trained recipe's files together as the bundle that ships: `python -m mini.bundle.package
RECIPE_FOLDER`.

The bundle has exactly the official layout, so that mini and the 22B files take the same path:
`mini.safetensors` (`model.diffusion_model.*`, `vae.*`, `audio_vae.*`, `vocoder.*`,
`text_embedding_projection.*`, `config` and `model_version` in the header; bf16, AdaLN tables and latent
statistics fp32), `gemma/` (a Gemma-3 text folder), the adapters `mini-ic-lora.safetensors` and
`mini-ic-lora-still.safetensors`, `bundle.json`, and MODEL_CARD.md with its pictures. It is made in a folder
beside its place and moved there as a whole.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from transformers import Gemma3TextModel

from castsheet.errors import CheckpointError, OutputError
from castsheet.loading.bundle import BUNDLE_FILE, MINI, AdapterFile, Bucket, Bundle, Files
from castsheet.ltx import keys as official
from castsheet.ltx.adapters.lora_file import DOWNSCALE, MODE
from castsheet.ltx.adapters.lora_file import write as write_adapter
from castsheet.ltx.adapters.mode import ReferenceMode
from castsheet.ltx.family import DEFAULT
from castsheet.ltx.header import save_tensors
from castsheet.ltx.model.config import TransformerConfig
from castsheet.machine.files import write_atomic
from mini.bundle.model_card import write_card
from mini.official import official_keys, write_checkpoint
from mini.script import finish
from mini.training.architecture import FPS, FRAMES, HEIGHT, TEXT_LAYERS, WIDTH
from mini.training.stored import AUDIO, BASE, VOCODER, codec_file, header_of
from mini.training.train_flow import gemma_config

ENCODER = "castsheet-mini"
CHECKPOINT, GEMMA = "mini.safetensors", "gemma"
ADAPTERS: dict[ReferenceMode, str] = {
    "looped": "mini-ic-lora.safetensors",
    "still": "mini-ic-lora-still.safetensors",
}
LIMIT_MB = 125.0
_REMEDY = "train with python -m mini.training.recipe --out FOLDER until it says done"


@dataclass(frozen=True)
class Defaults:
    """How the bundle likes to be run."""

    steps: int = 16
    guidance: float = 1.5
    stg_scale: float = 0.0
    stg_blocks: tuple[int, ...] = (5,)
    lora_strength: float = 1.0
    rescale: float = 0.0

    def bundle(
        self, modes: Sequence[ReferenceMode] = ("looped", "still"), family: str = DEFAULT.name
    ) -> Bundle:
        """The content of bundle.json, with an adapter for each of the modes."""
        version = family.removeprefix("ltx-")
        return Bundle(
            name="mini" if family == DEFAULT.name else f"mini-{version}",
            usual=None if family == DEFAULT.name else f"card-{version}",
            files=Files(
                checkpoint=CHECKPOINT,
                text_encoder=GEMMA,
                adapters=tuple(AdapterFile(path=ADAPTERS[mode], reference=mode) for mode in modes),
            ),
            bucket=Bucket(
                width=WIDTH,
                height=HEIGHT,
                frames=FRAMES,
                fps=FPS,
                stg_blocks=self.stg_blocks,
                first_frame_crf=0,
            ),
            preset={
                "steps": self.steps,
                "guidance": self.guidance,
                "stg_scale": self.stg_scale,
                "lora_strength": self.lora_strength,
                "rescale": self.rescale,
                "reference": "still" if "still" in modes else "looped",  # a third of the time, alike in looks
                "audio": True,
            },
        )


def package(
    recipe: Path,
    out: Path,
    *,
    defaults: Defaults | None = None,
    limit_mb: float = LIMIT_MB,
) -> int:
    """Assemble the bundle, whole or not at all; what was at `out` stays until then.

    Args:
        recipe: folder of the recipe, with codec.safetensors, audio.safetensors, vocoder.safetensors,
            base.safetensors, looped.safetensors, perhaps
            decoder.safetensors and still.safetensors, and tokenizer/.

    Returns:
        The bundle's size in bytes.

    Raises:
        CheckpointError: a file is missing or damaged, or does not fit mini's architecture.
        AdapterError: an adapter does not.
        SettingsError: a default is out of range.
        OutputError: the disk refused, or the bundle is above `limit_mb` (10^6 bytes).
    """
    defaults = defaults or Defaults()
    defaults.bundle().settings(None)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".mini-", dir=out.parent) as scratch:
        folder = Path(scratch) / "bundle"
        folder.mkdir(mode=0o755)
        family = write_base(recipe, folder)
        _write_gemma(recipe, folder / GEMMA, family)
        # The still-reference adapter is trained last; a recipe that was ended before has none.
        modes = [mode for mode in ADAPTERS if mode == "looped" or (recipe / f"{mode}.safetensors").exists()]
        for mode in modes:
            state = {key: tensor.bfloat16() for key, tensor in _read(recipe / f"{mode}.safetensors").items()}
            notes = {DOWNSCALE: "1", MODE: mode, "base_model": family}
            write_adapter(
                folder / ADAPTERS[mode], state, notes | {"model": "castsheet mini", "license": "Apache-2.0"}
            )
        content = defaults.bundle(modes, family).model_dump_json(indent=1, exclude_none=False)
        (folder / BUNDLE_FILE).write_text(content + "\n", encoding="utf-8")
        write_card(recipe, folder)
        Bundle.load(folder)
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        if size > limit_mb * 1e6:
            raise OutputError(
                f"the bundle has {size / 1e6:.1f} MB, more than {limit_mb:g}",
                remedy="ship smaller pictures, a narrower model, or raise --limit-mb",
            )
        _swap(folder, out, Path(scratch) / "before")
    return size


def _swap(folder: Path, out: Path, aside: Path) -> None:
    """Rename the new folder into place; the old one goes with the scratch folder."""
    try:
        if out.exists():
            os.replace(out, aside)
        os.replace(folder, out)
    except OSError as error:
        if aside.exists() and not out.exists():
            os.replace(aside, out)
        raise OutputError(
            f"cannot write {out}: {error.strerror}", remedy="make the folder writable"
        ) from error


def write_base(recipe: Path, folder: Path) -> str:
    """Write codec, sound, base and connectors as one file of the official layout, `FOLDER/mini.safetensors`.

    Returns:
        The family that the base is of.

    Raises:
        CheckpointError, OutputError: see `package`.
    """
    base = _read(recipe / BASE)
    tensors = {official.DIT + name: one for name, one in _part(base, "transformer").items()}
    tensors |= {
        official.connectors_from_diffusers(name): one for name, one in _part(base, "connectors").items()
    }
    for file in (codec_file(recipe), recipe / AUDIO, recipe / VOCODER):
        tensors |= _read(file)
    header = header_of(recipe / BASE)
    wanted = official_keys(header, states=TEXT_LAYERS + 1)
    _refuse_differences(recipe, {name: tuple(one.shape) for name, one in tensors.items()}, wanted)
    kept = {name: one.float() if _fine(name) else coarse(one) for name, one in tensors.items()}
    family = TransformerConfig.from_dict(header["transformer"]).family
    source = json.dumps({"gemma_version": ENCODER})
    notes = {} if family == DEFAULT.name else {"gemma_source_checkpoint": source}
    write_checkpoint(folder / CHECKPOINT, kept, header, f"{family.removeprefix('ltx-')}.0", **notes)
    return family


def _fine(name: str) -> bool:
    """As official files have it: AdaLN tables and latent statistics fp32, the rest bf16."""
    return official.is_table(name) or "statistics" in name


def coarse(tensor: Tensor) -> Tensor:
    """bf16 numbers that keep five of their seven stored bits of mantissa, so that they deflate well.

    They differ from the given ones by at most 1/64. The file is as large as before and everybody's loader
    takes it; the wheel that holds it is an eighth smaller.
    """
    bits = tensor.bfloat16().contiguous().view(torch.int16).int()
    bits = (bits + 1 + (bits >> 2 & 1)) & ~3  # to the nearest, ties to even, as bf16 itself is rounded
    return bits.to(torch.int16).view(torch.bfloat16)


def _refuse_differences(
    recipe: Path, found: Mapping[str, tuple[int, ...]], wanted: Mapping[str, tuple[int, ...]]
) -> None:
    wrong = sorted(name for name in {**found, **wanted} if found.get(name) != wanted.get(name))
    if wrong:
        first = ", ".join(f"{n} {found.get(n, 'missing')}, wanted {wanted.get(n, 'none')}" for n in wrong[:5])
        raise CheckpointError(f"{recipe}: {len(wrong)} tensors are not mini's: {first}", remedy=_REMEDY)


def _write_gemma(recipe: Path, folder: Path, family: str) -> None:
    state = _part(_read(recipe / BASE), "gemma")
    with torch.device("meta"):
        model = Gemma3TextModel(gemma_config())
    found = {name: tuple(one.shape) for name, one in state.items()}
    _refuse_differences(recipe, found, {name: tuple(one.shape) for name, one in model.state_dict().items()})
    settings = model.config
    settings.architectures, settings.dtype = [type(model).__name__], torch.bfloat16
    if family != DEFAULT.name:  # a checkpoint of LTX-2.5 names the encoder that it was trained with
        settings.gemma_version = ENCODER
    settings.save_pretrained(folder)
    stored = {name: one.bfloat16().contiguous() for name, one in state.items()}
    weights = folder / "model.safetensors"
    write_atomic(weights, lambda temporary: save_tensors(stored, temporary, {"format": "pt"}))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        source = recipe / "tokenizer" / name
        if not source.is_file():
            raise CheckpointError(f"{source} is missing", remedy=_REMEDY)
        shutil.copyfile(source, folder / name)


def _part(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key.removeprefix(f"{name}."): one for key, one in tensors.items() if key.startswith(f"{name}.")}


def _read(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"cannot read {path}: {error}", remedy=_REMEDY) from error


def main() -> None:
    usual = Defaults()
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("recipe", type=Path, help="the folder that the recipe wrote")
    parser.add_argument("--out", type=Path, default=MINI)
    parser.add_argument("--steps", type=int, default=usual.steps)
    parser.add_argument("--guidance", type=float, default=usual.guidance)
    parser.add_argument("--stg-scale", type=float, default=usual.stg_scale)
    parser.add_argument("--stg-blocks", type=int, nargs="*", default=list(usual.stg_blocks))
    parser.add_argument("--lora-strength", type=float, default=usual.lora_strength)
    parser.add_argument("--rescale", type=float, default=usual.rescale)
    parser.add_argument("--limit-mb", type=float, default=LIMIT_MB)
    options = parser.parse_args()
    defaults = Defaults(
        options.steps,
        options.guidance,
        options.stg_scale,
        tuple(options.stg_blocks),
        options.lora_strength,
        options.rescale,
    )

    def run() -> None:
        size = package(options.recipe, options.out, defaults=defaults, limit_mb=options.limit_mb)
        print(f"{options.out}: {size / 1e6:.1f} MB")

    finish(run)


if __name__ == "__main__":
    main()
