"""A model in several files, seen as one official file: LTX-2.5 as published, and ComfyUI's folders.

    diffusion_models/   the denoiser with the connectors, under the names of a whole file
    text_encoders/      the packed text encoder, with the projections of the connectors
    vae/                the video VAE without its prefix (`encoder.*`); another file for sound

The user names the denoiser's file, or the folder that holds it. The other files are looked for in the folders
above and beside it, and told by their headers alone. Where several would do, the user is asked.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from castsheet.errors import CheckpointError
from castsheet.ltx import keys
from castsheet.ltx.header import Entry, Header, read_header
from castsheet.ltx.parts.gemma import is_packed
from castsheet.ltx.parts.vae import is_diffusion
from castsheet.machine.json_text import parse_json

Piece = Literal["denoiser", "vae", "audio", "text encoder"]

# Where the publisher and ComfyUI put the pieces, below the model's folder.
FOLDERS = ("", "diffusion_models", "unet", "checkpoints", "vae", "text_encoders", "clip")
_BARE_VAE = ("encoder.", "decoder.", "per_channel_statistics.")
_CONFIGS: dict[Piece, tuple[str, ...]] = {"vae": ("vae",), "audio": ("audio_vae", "vocoder")}
_OPTION = {"vae": "--vae FILE", "text encoder": "--text-encoder FILE"}


@dataclass(frozen=True)
class Pieces:
    """The files of one model.

    Attributes:
        metadata: the denoiser's, with the configs of the other files in it.
        entries: every tensor under its official name.
        files: by what they hold.
    """

    metadata: dict[str, str]
    entries: dict[str, Entry]
    files: dict[Piece, Path]

    @property
    def text_encoder(self) -> Path | None:
        """The packed text encoder, where one was found."""
        return self.files.get("text encoder")


def official_entries(header: Header) -> dict[str, Entry]:
    """A file's tensors under official names: those of a video VAE of its own get their prefix back."""
    bare = "per_channel_statistics.mean-of-means" in header.entries
    return {
        f"{keys.VAE}{name}" if bare and name.startswith(_BARE_VAE) else name: entry
        for name, entry in header.entries.items()
    }


def piece_of(header: Header) -> Piece | None:
    """What a file holds of a split model; None for adapters and other files."""
    parts = {keys.part_of(name) for name in official_entries(header)}
    if any(name.startswith(f"{keys.DIT}transformer_blocks.") for name in header.entries):
        return None if any(".lora_" in name for name in header.entries) else "denoiser"
    if is_packed(header):
        return "text encoder"
    if "vae" in parts:
        return "vae"
    return "audio" if {"audio_vae", "vocoder"} & parts else None


def find_denoiser(folder: Path) -> Path | None:
    """The one file below a folder that holds a denoiser; None where there is none.

    Raises:
        CheckpointError: there are several. The dev and the distilled model hold the same tensors, so that
            nothing but the user can tell which one is meant.
    """
    found = [header.path for header in _headers(folder) if piece_of(header) == "denoiser"]
    if len(found) > 1:
        raise CheckpointError(
            f"{folder} holds {len(found)} denoisers: {_listed(found)}; dev and distilled ones cannot be told"
            " apart by what is in them",
            remedy=f"name the one that you mean: --model {found[0]}",
        )
    return found[0] if found else None


def complete(header: Header, *, vae: Path | None = None, text_encoder: Path | None = None) -> Pieces:
    """A file, and where it is a denoiser without the other parts, what is found of the same model.

    Args:
        header: of the file that the user named.
        vae, text_encoder: files that the user named instead of those that would be found.

    Raises:
        CheckpointError: several files would do for a piece, or a file that is named is another thing.
    """
    files: dict[Piece, Header] = {}
    if vae is not None:
        files["vae"] = _named(vae, "vae")
    if text_encoder is not None and text_encoder.is_file():
        files["text encoder"] = _named(text_encoder, "text encoder")
    own = {keys.part_of(name) for name in header.entries}
    projected = any(name.startswith(keys.PROJECTION) for name in header.entries)
    if piece_of(header) == "denoiser" and not ("vae" in own and projected):
        root = header.path.parent.parent if header.path.parent.name in FOLDERS else header.path.parent
        missing: dict[Piece, bool] = {
            "vae": "vae" not in own,
            "audio": "audio_vae" not in own,
            "text encoder": text_encoder is None,
        }
        others = _headers(root)
        for piece in (piece for piece, wanted in missing.items() if wanted and piece not in files):
            files |= _chosen(piece, [one for one in others if piece_of(one) == piece])
    return _joined(header, files)


def _joined(header: Header, files: dict[Piece, Header]) -> Pieces:
    """All files as one: the denoiser's metadata with the others' configs, tensors by official names."""
    entries = official_entries(header)
    config = _config(header)
    for piece, other in files.items():
        theirs = official_entries(other)
        if piece == "text encoder":
            theirs = {name: entry for name, entry in theirs.items() if name.startswith(keys.PROJECTION)}
        entries = {name: entry for name, entry in entries.items() if keys.part_of(name) != piece} | theirs
        parts = _config(other)
        config |= {part: parts[part] for part in _CONFIGS.get(piece, ()) if part in parts}
    metadata = dict(header.metadata)
    if config:
        metadata["config"] = json.dumps(config)
    paths = {piece: other.path for piece, other in files.items()}
    return Pieces(metadata, entries, {"denoiser": header.path, **paths})


def _chosen(piece: Piece, found: Sequence[Header]) -> dict[Piece, Header]:
    """The one file that will do; of two video VAEs the one with a convolutional decoder, which is faster."""
    fast = [one for one in found if piece == "vae" and not is_diffusion(_config(one).get("vae"))]
    found = fast if len(fast) == 1 else found
    if len(found) > 1:
        names = _listed(one.path for one in found)
        raise CheckpointError(
            f"several files would do for the {piece}: {names}",
            remedy=f"name one with {_OPTION[piece]}"
            if piece in _OPTION
            else "leave one of them in the folder",
        )
    return {piece: found[0]} if found else {}


def _named(path: Path, piece: Piece) -> Header:
    header = read_header(path)
    if piece_of(header) != piece:
        raise CheckpointError(f"{path} holds no {piece}", remedy=f"name a file that does: {_OPTION[piece]}")
    return header


def _headers(root: Path) -> list[Header]:
    """Headers of the safetensors files where pieces are looked for; files that are none are passed over."""
    found = []
    for path in sorted(path for folder in FOLDERS for path in (root / folder).glob("*.safetensors")):
        try:
            found.append(read_header(path))
        except CheckpointError:
            continue
    return found


def _config(header: Header) -> dict[str, Any]:
    try:
        config = parse_json(header.metadata.get("config", "{}"))
    except ValueError:
        return {}
    return config if isinstance(config, dict) else {}


def _listed(paths: Iterable[Path]) -> str:
    return ", ".join(path.name for path in paths)
