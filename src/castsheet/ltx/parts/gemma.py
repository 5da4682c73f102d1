"""Finds a text encoder on disk and reads what its files state. Of the encoder only the tokenizer is loaded.

There are three layouts:

    a folder of Gemma-3     config.json, *.safetensors, tokenizer.json, tokenizer_config.json
    a folder of Gemma-4     the same
    a packed file           LTX-2.5's: one safetensors file. Its metadata hold the config (`gemma_config`),
                            its tensors also the tokenizer and its settings, as bytes, and the projections
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError, safe_open
from tokenizers import Tokenizer
from torch import Tensor
from transformers import Gemma3TextConfig, Gemma4UnifiedTextConfig

from castsheet.errors import TextEncoderError
from castsheet.ltx import keys
from castsheet.ltx.ahead import arriving, pays
from castsheet.ltx.header import Entry, Header, read_header
from castsheet.machine.json_text import parse_json
from castsheet.machine.ranges import whole
from castsheet.machine.regular import MIB, is_file, read_regular

Kind = Literal["gemma3", "gemma4"]

REMEDY = "point to a Gemma-3 folder (config.json, *.safetensors, tokenizer.json, tokenizer_config.json)"
PACKED_REMEDY = "use LTX-2.5's packed text encoder, gemma4-12b-with-proj-ltx-2.5-bf16.safetensors"
_AGAIN = "download the text encoder again"
_LIMIT = 256 * MIB  # of a tokenizer; Gemma-3's has 33 MB
LONGEST = 1024  # tokens of a prompt, BOS included
CONFIG, TOKENIZER, ASSET = "gemma_config", "tokenizer_json", "hf_asset__"

KINDS: dict[str, Kind] = {
    "gemma3": "gemma3",
    "gemma3_text": "gemma3",
    "gemma4_unified": "gemma4",
    "gemma4_unified_text": "gemma4",
}
_CONFIGS: dict[Kind, Any] = {"gemma3": Gemma3TextConfig, "gemma4": Gemma4UnifiedTextConfig}
# Prefixes of the language model's keys in the layouts of encoders; the longest that matches is removed.
_PREFIXES = ("model.language_model.", "language_model.model.", "language_model.", "model.", "")
_PARTS = ("embed_tokens.", "layers.", "norm.")


@dataclass(frozen=True)
class EncoderFiles:
    """A text encoder on disk.

    Attributes:
        path: the folder, or the packed file.
        kind: which language model it is.
        config: its config.json, or what a packed file has in place of it.
        weights: the files with tensors.
    """

    path: Path
    kind: Kind
    config: Mapping[str, Any]
    weights: tuple[Path, ...]

    @classmethod
    def open(cls, path: Path | str) -> EncoderFiles:
        """Open a folder or a packed file, without loading tensors.

        Raises:
            TextEncoderError: the files are missing, damaged, or another model's.
        """
        path = Path(path)
        raw = read_config(path) if path.is_dir() else _packed_config(path)
        kind = KINDS.get(str(raw.get("model_type")))
        if kind is None:
            raise TextEncoderError(
                f"{path} holds a model of type {raw.get('model_type')!r}, not a Gemma-3 or Gemma-4 (unified)",
                remedy=f"{REMEDY}; for LTX-2.5, {PACKED_REMEDY}",
            )
        return cls(path, kind, raw, tuple(_weight_files(path)) if path.is_dir() else (path,))

    @property
    def version(self) -> str | None:
        """The version that the files state, such as "gemma4-12b-ltx-v1"; Google's own state none."""
        stated = self.config.get("gemma_version")
        return None if stated is None else str(stated)

    @property
    def remedy(self) -> str:
        """What the user can do if these files cannot be used."""
        return REMEDY if self.kind == "gemma3" else PACKED_REMEDY

    def text_config(self) -> Any:
        """The language model's config, as transformers has it.

        Raises:
            TextEncoderError: the config lacks fields, or they contradict each other.
        """
        alone = str(self.config["model_type"]).endswith("_text")
        try:
            found = _CONFIGS[self.kind].from_dict(dict(self.config if alone else self.config["text_config"]))
            whole(found.num_hidden_layers, 1, 512)
            sizes = found.to_dict()  # an attribute that differs between Gemma-4's layers cannot be read
            for name in ("hidden_size", "intermediate_size", "vocab_size", "num_attention_heads", "head_dim"):
                whole(sizes[name], 1, 1 << 24)
            return found
        except (KeyError, TypeError, ValueError, StrictDataclassError) as error:
            raise TextEncoderError(
                f"{self.path}: its config is not usable: {error}", remedy=self.remedy
            ) from error

    def tokenizer(self) -> tuple[Tokenizer, int, int]:
        """The tokenizer, its BOS id and its longest sequence.

        Raises:
            TextEncoderError: the tokenizer is missing or damaged, or names no BOS token.
        """
        if self.path.is_dir():
            return load_tokenizer(self.path)
        return _tokenizer(self._bytes(TOKENIZER), self._asset("tokenizer_config.json"), self.path)

    @cached_property
    def entries(self) -> dict[str, Entry]:
        """The language model's tensors, by transformers' own names for them.

        Raises:
            TextEncoderError: a file is damaged.
        """
        found: dict[str, Entry] = {}
        for path in self.weights:
            stored = read_header(path, TextEncoderError, _AGAIN).entries
            found |= {own: entry for name, entry in stored.items() if (own := text_name(name)) is not None}
        return found

    @property
    def parameters(self) -> int:
        """How many numbers the language model has; the files' other tensors are never loaded."""
        return sum(entry.count for entry in self.entries.values())

    def tensors(self, device: torch.device | str = "cpu") -> Iterator[tuple[str, Tensor]]:
        """The language model's tensors on the device, read one by one.

        Raises:
            TextEncoderError: a file is damaged.
        """
        entries = self.entries
        if pays(entries.values(), device):
            found = arriving(list(entries.values()), device, TextEncoderError, _AGAIN)
            yield from zip(entries, found, strict=True)
            return
        for path in self.weights:
            try:
                with safe_open(path, framework="pt") as handle:
                    for name, entry in entries.items():
                        if entry.file == path:
                            yield name, handle.get_tensor(entry.stored).to(device)
            except (SafetensorError, OSError) as error:
                raise TextEncoderError(f"{path} is damaged or incomplete: {error}", remedy=_AGAIN) from error

    def _asset(self, name: str) -> dict[str, Any]:
        """A JSON file inside a packed file: as bytes in a tensor, or as text in the metadata."""
        metadata = read_header(self.path).metadata
        raw = metadata[name].encode() if name in metadata else self._bytes(f"{ASSET}{name}")
        return _parsed(raw, f"{name} in {self.path}")

    def _bytes(self, name: str) -> bytes:
        try:
            with safe_open(self.path, framework="np") as handle:
                return np.asarray(handle.get_tensor(name)).astype(np.uint8).tobytes()
        except (SafetensorError, OSError, KeyError) as error:
            raise TextEncoderError(f"{self.path} lacks {name}: {error}", remedy=PACKED_REMEDY) from error


def text_name(name: str) -> str | None:
    """A stored name as the language model calls it; None for a tower's, the head's or a projection's."""
    prefix = next(prefix for prefix in _PREFIXES if name.startswith(prefix))
    own = name.removeprefix(prefix)
    return own if own.startswith(_PARTS) else None


def is_packed(header: Header) -> bool:
    """Whether a file is a packed text encoder, whole or incomplete."""
    return CONFIG in header.metadata or "model.layers.0.layer_scalar" in header.entries


def read_config(folder: Path) -> dict[str, Any]:
    """The folder's config.json.

    Raises:
        TextEncoderError: it is missing or damaged.
    """
    return _json(folder / "config.json")


def load_tokenizer(folder: Path) -> tuple[Tokenizer, int, int]:
    """The folder's tokenizer, its BOS id and its longest sequence.

    Raises:
        TextEncoderError: tokenizer.json is missing or damaged, or names no BOS token.
    """
    # diffusers keeps the tokenizer in a folder beside the model's.
    beside = folder.parent / "tokenizer"
    if not is_file(folder / "tokenizer.json") and is_file(beside / "tokenizer.json"):
        folder = beside
    path = folder / "tokenizer.json"
    raw = read_regular(path, TextEncoderError, limit=_LIMIT)
    return _tokenizer(raw, _json(folder / "tokenizer_config.json"), path)


def gemma_fingerprint(path: Path | str) -> str:
    """A hash that changes with the encoder's config, tokenizer or weights.

    Of a weight file it reads only size, header and 64 evenly spaced blocks of 4 KiB, not 24 GB.

    Raises:
        TextEncoderError: there are no weights.
    """
    path = Path(path)
    digest = hashlib.sha256()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json") if path.is_dir() else ():
        file = path / name
        if is_file(file):
            digest.update(read_regular(file, TextEncoderError, limit=_LIMIT))
    for file in _weight_files(path) if path.is_dir() else [path]:
        size = file.stat().st_size
        digest.update(f"{file.name} {size}".encode())
        with file.open("rb") as handle:
            for block in range(64):
                handle.seek(size * block // 64)
                digest.update(handle.read(4096))
    return digest.hexdigest()


def _packed_config(path: Path) -> dict[str, Any]:
    header = read_header(path, TextEncoderError)
    if CONFIG not in header.metadata:
        held = (
            "a checkpoint" if any(name.startswith(keys.DIT) for name in header.entries) else "no text encoder"
        )
        raise TextEncoderError(
            f"{path} is {held}: its header has no {CONFIG}", remedy=f"{REMEDY}; for LTX-2.5, {PACKED_REMEDY}"
        )
    return _parsed(header.metadata[CONFIG].encode(), f"{CONFIG} in {path}")


def _tokenizer(raw: bytes, settings: Mapping[str, Any], where: Path) -> tuple[Tokenizer, int, int]:
    model = _parsed(raw, f"the tokenizer in {where}").get("model")
    # The library reports damage as a bare Exception, so the likely faults are checked first.
    if not isinstance(model, dict) or "vocab" not in model:
        raise TextEncoderError(f"{where} holds no vocabulary", remedy=REMEDY)
    tokenizer = Tokenizer.from_buffer(raw)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    bos = settings.get("bos_token", "<bos>")
    bos = bos.get("content", "") if isinstance(bos, dict) else str(bos)
    bos_id = tokenizer.token_to_id(bos)
    if bos_id is None:
        raise TextEncoderError(f"{where}: the tokenizer has no BOS token {bos!r}", remedy=REMEDY)
    return tokenizer, bos_id, int(min(settings.get("model_max_length") or LONGEST, 2**31))


def _weight_files(folder: Path) -> list[Path]:
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise TextEncoderError(f"{folder} holds no *.safetensors", remedy=REMEDY)
    return files


def _json(path: Path) -> dict[str, Any]:
    return _parsed(read_regular(path, TextEncoderError, limit=_LIMIT), str(path))


def _parsed(raw: bytes, where: str) -> dict[str, Any]:
    try:
        content = parse_json(raw.decode("utf-8"))
    except ValueError as error:
        raise TextEncoderError(f"{where}: {error}", remedy=REMEDY) from error
    if not isinstance(content, dict):
        raise TextEncoderError(f"{where} is not a JSON object", remedy=REMEDY)
    return content
