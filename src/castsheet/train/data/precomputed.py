"""Writes a training set in the official trainer's layout, which that trainer reads as it is.

    OUT/.precomputed/latents/NAME.pt            latents (C,F,H,W) normalised, num_frames, height, width, fps
    OUT/.precomputed/reference_latents/NAME.pt  the same of the sheet, repeated for all of the clip's F
    OUT/.precomputed/conditions/NAME.pt         video_prompt_embeds (N,D), prompt_attention_mask (N), and with
                                                an audio half audio_prompt_embeds (N,E)
    OUT/official.yaml                           a configuration for that trainer
    OUT/made/                                   notes of what each file was made from

NAME is the clip's path from the table, as the official scripts name it. The official layout has one reference
for a clip: each further sheet becomes a sample of its own, NAME.sheet1 and so on, with the same clip.
Tensors are bf16, the mask int64; sizes are in latent cells. See `official` for the way back.

Legend: C channels, F H W latent frames, rows, columns, N text slots, D E widths, K sheets.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from castsheet.ltx.keys import is_audio
from castsheet.ltx.parts.text import Features
from castsheet.machine.device import pick_device, pick_dtype
from castsheet.machine.files import write_atomic, write_text
from castsheet.machine.locks import Say
from castsheet.machine.marks import Kind, owned
from castsheet.machine.outputs import require_space
from castsheet.machine.regular import is_file, is_folder
from castsheet.train.data.dataset import DatasetError
from castsheet.train.data.encode import (
    Advance,
    Encoding,
    Row,
    contexts_of,
    encode_clip,
    encode_sheets,
    stamp,
    text_encoder_of,
)

ROOT = ".precomputed"
LATENTS, REFERENCES, CONDITIONS = "latents", "reference_latents", "conditions"
OFFICIAL = Kind("the official trainer's data", lambda folder: is_folder(folder / ROOT))
SHEET = ".sheet"
MODULES = ("to_k", "to_q", "to_v", "to_out.0")
_SAMPLE = 32 << 20  # bytes of one sample at the official size, at most


@dataclass(frozen=True)
class Named:
    """A row of the table with the names of its samples: one for each sheet."""

    row: Row
    names: tuple[str, ...]


def precompute(
    rows: Sequence[Row],
    job: Encoding,
    *,
    folder: Path,
    shard: tuple[int, int] = (0, 1),
    advance: Advance = lambda _: None,
    say: Say = lambda _: None,
) -> int:
    """Make the missing samples of this worker's share of the rows, in the official layout.

    Args:
        folder: the table's: names of samples are paths from it. shard, advance, say: see `encode`.

    Returns:
        How many clips were encoded now.

    Raises:
        DatasetError, ImageError, SheetError, SettingsError: an input is not usable; it is named.
        TextEncoderError, CheckpointError: the model's files are not complete.
        OutputError: the folder is somebody else's, or cannot be written.
    """
    with owned(job.out, OFFICIAL, say, part=f"share {shard[0]} of {shard[1]}"):
        mine = _named(rows, folder, job)[shard[0] :: shard[1]]
        write_text(job.out / "official.yaml", yaml.safe_dump(trainer_config(job), sort_keys=False))
        device = pick_device(job.device)
        contexts = contexts_of(job, device)
        stamps = {one.row: stamp(one.row, job, contexts) for one in mine}
        keys = {one.row: contexts.path(one.row.caption).stem for one in mine}
        wordless = [one for one in mine if not _fresh(job, one, (CONDITIONS,), keys[one.row])]
        unseen = [one for one in mine if not _fresh(job, one, (LATENTS, REFERENCES), stamps[one.row])]
        require_space(job.out, sum(len(one.names) for one in {*wordless, *unseen}) * _SAMPLE)
        _write_conditions(wordless, job, device, keys)
        if unseen:
            vae = job.source.checkpoint.load_video_vae(device=device, dtype=pick_dtype(job.dtype, device))
        for done, one in enumerate(unseen, start=1):
            clip, sheets = encode_clip(vae, one.row.video, job.bucket), encode_sheets(vae, one.row, job)
            for name, sheet in zip(one.names, sheets, strict=True):
                _put(job, LATENTS, name, _latents(clip, job.bucket.fps))
                still = sheet[:, :1].expand(-1, clip.shape[1], -1, -1)
                _put(job, REFERENCES, name, _latents(still, job.bucket.fps))
            _finish(job, one, (LATENTS, REFERENCES), stamps[one.row])
            advance(len(mine) - len(unseen) + done)
    return len(unseen)


def trainer_config(job: Encoding) -> dict[str, Any]:
    """A configuration for the official trainer: a LoRA of the video half, as in its own for references."""
    root = job.out.absolute() / ROOT
    # Reference factors are looked up in these folders from where the trainer is started: only whole paths
    # are found from everywhere. Without a factor nothing has to be found.
    near = job.bucket.downscale == 1
    clips, sheets = (name if near else str(root / name) for name in (LATENTS, REFERENCES))
    modules = [f"{block}.{name}" for block in ("attn1", "attn2") for name in MODULES]
    reference = {"type": "reference", "latents_dir": sheets, "probability": 1.0}
    bucket = job.bucket
    return {
        "model": {
            "model_path": str(job.source.checkpoint.path.absolute()),
            "text_encoder_path": str(job.source.text_encoder.absolute()) if job.source.text_encoder else None,
            "training_mode": "lora",
        },
        "lora": {
            "rank": 32,
            "alpha": 32,
            "dropout": 0.0,
            "target_modules": [*modules, "ff.net.0.proj", "ff.net.2"],
        },
        "training_strategy": {
            "name": "flexible",
            "video": {"is_generated": True, "latents_dir": clips, "conditions": [reference]},
        },
        "optimization": {
            "learning_rate": 2e-4,
            "steps": 3000,
            "batch_size": 1,
            "max_grad_norm": 1.0,
            "scheduler_type": "linear",
            "enable_gradient_checkpointing": True,
        },
        "data": {"preprocessed_data_root": str(root), "num_dataloader_workers": 2},
        "validation": {
            "interval": None,
            "video_dims": [bucket.width, bucket.height, bucket.frames],
            "frame_rate": bucket.fps,
        },
        "output_dir": str(job.out.absolute() / "run"),
    }


def _named(rows: Sequence[Row], folder: Path, job: Encoding) -> list[Named]:
    """The rows with their samples' names.

    Raises:
        DatasetError: two samples would have one name.
    """
    found: list[Named] = []
    taken: set[str] = set()
    for row in rows:
        stem = _stem(row.video, folder)
        count = len(row.sheets) + job.augment.variants - 1
        names = (stem, *(f"{stem}{SHEET}{number}" for number in range(1, count)))
        if twice := taken.intersection(names):
            raise DatasetError(f"two samples are called {min(twice)}", remedy="give every clip its own name")
        taken.update(names)
        found.append(Named(row, names))
    return found


def _stem(video: Path, folder: Path) -> str:
    """A clip's path from the table's folder without its ending; from the root, if it lies elsewhere."""
    parts = video.relative_to(folder).parts if video.is_relative_to(folder) else video.parts[1:]
    return Path(*(part for part in parts if part != "..")).with_suffix("").as_posix()


def _write_conditions(
    rows: Sequence[Named], job: Encoding, device: torch.device, keys: dict[Row, str]
) -> None:
    """What the connectors read of the captions; equal captions are encoded once."""
    if not rows:
        return
    sound = any(is_audio(name) for name in job.source.checkpoint.names("connectors"))
    encoder = text_encoder_of(job, device, audio=sound)
    known: dict[str, Features] = {}
    for one in sorted(rows, key=lambda one: keys[one.row]):  # equal captions follow each other
        key = keys[one.row]
        if key not in known:
            known = {key: encoder.features(one.row.caption)}
        told = known[key]
        content = {"video_prompt_embeds": _stored(told.video_ND), "prompt_attention_mask": told.mask_N}
        if told.audio_ND is not None:
            content["audio_prompt_embeds"] = _stored(told.audio_ND)
        for name in one.names:
            _put(job, CONDITIONS, name, content)
        _finish(job, one, (CONDITIONS,), key)


def _latents(latents_CFHW: Tensor, fps: float) -> dict[str, Any]:
    _, frames, height, width = latents_CFHW.shape
    sizes = {"num_frames": frames, "height": height, "width": width, "fps": float(fps)}
    return {"latents": _stored(latents_CFHW), **sizes}


def _stored(tensor: Tensor) -> Tensor:
    """A tensor that holds its own numbers and no more: a view would be stored with all that it looks into."""
    return tensor.detach().to("cpu", torch.bfloat16).contiguous().clone()


def _put(job: Encoding, part: str, name: str, content: dict[str, Any]) -> None:
    held = io.BytesIO()
    torch.save(content, held)
    write_atomic(_path(job, part, name), lambda new: new.write_bytes(held.getbuffer()))


def _path(job: Encoding, part: str, name: str) -> Path:
    return job.out / ROOT / part / f"{name}.pt"


def _note(job: Encoding, one: Named, parts: Sequence[str]) -> Path:
    return job.out / "made" / parts[0] / f"{one.names[0]}.txt"


def _fresh(job: Encoding, one: Named, parts: Sequence[str], made_from: str) -> bool:
    """Whether all files of a row are there and were made from what is given now."""
    note = _note(job, one, parts)
    whole = all(is_file(_path(job, part, name)) for part in parts for name in one.names)
    return whole and is_file(note) and note.read_text() == _told(one, made_from)


def _told(one: Named, made_from: str) -> str:
    return hashlib.sha256(f"{len(one.names)} {made_from}".encode()).hexdigest() + "\n"


def _finish(job: Encoding, one: Named, parts: Sequence[str], made_from: str) -> None:
    """Remove the files of sheets that are no more, and note what the others were made from."""
    for part in parts:
        first = _path(job, part, one.names[0])
        for path in first.parent.glob(f"{_plain(first.stem)}{SHEET}*.pt"):
            if path.relative_to(job.out / ROOT / part).with_suffix("").as_posix() not in one.names:
                path.unlink()
    write_text(_note(job, one, parts), _told(one, made_from))


def _plain(text: str) -> str:
    """A text in which no sign means anything to glob."""
    return "".join(f"[{one}]" if one in "*?[" else one for one in text)
