"""Prompt to context: Gemma-3 hidden states, the connectors, and a cache on disk.

Shape legend: B batch, N text tokens, L context slots, D width, K hidden states a token (layers + 1).
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import Gemma3TextConfig, Gemma3TextModel

from castsheet.errors import CheckpointError, TextEncoderError
from castsheet.ltx.header import read_json, save_tensors
from castsheet.ltx.parts.connectors import TextConnectors
from castsheet.ltx.parts.vae import fill
from castsheet.machine.files import write_atomic

MAX_TOKENS = 1024
_GEMMA_REMEDY = (
    "point to a Gemma-3 folder (config.json, *.safetensors, tokenizer.json, tokenizer_config.json)"
)
# Prefixes of the text model's keys in the layouts of Gemma-3 folders; the longest that matches is removed.
_TEXT_PREFIXES = ("model.language_model.", "language_model.model.", "language_model.", "model.")
_NOT_TEXT = ("vision_tower.", "multi_modal_projector.", "lm_head.weight")


@dataclass(frozen=True)
class Context:
    """What the denoiser attends to: `video_LD` and, with an audio half, `audio_LD`."""

    video_LD: Tensor
    audio_LD: Tensor | None = None


class GemmaEncoder(nn.Module):
    """A Gemma-3 language model and its tokenizer.

    Attributes:
        width: hidden size.
        states: hidden states a token (layers + 1).
        max_tokens: longest prompt, BOS included.
    """

    def __init__(self, model: Gemma3TextModel, tokenizer: Tokenizer, *, bos: int, max_tokens: int) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self.bos = bos
        self.max_tokens = min(max_tokens, MAX_TOKENS)
        self.width: int = model.config.hidden_size
        self.states: int = model.config.num_hidden_layers + 1

    @classmethod
    def load(
        cls, folder: Path | str, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.bfloat16
    ) -> GemmaEncoder:
        """Load the text model of a Gemma-3 folder: text-only or image-text, any of their key layouts.

        Only the language model's tensors are read; a vision tower costs nothing.

        Raises:
            TextEncoderError: a file is missing or damaged, or the model is not a Gemma-3.
        """
        folder = Path(folder)
        config = _text_config(folder)
        tokenizer, bos, max_tokens = load_tokenizer(folder)
        if tokenizer.get_vocab_size() > config.vocab_size:
            sizes = f"{tokenizer.get_vocab_size()} tokens, the model {config.vocab_size}"
            raise TextEncoderError(
                f"{folder}: the tokenizer knows {sizes}",
                remedy="use the tokenizer that came with the model",
            )
        # Parameters stay empty until their tensors are read; buffers (rotary tables) are computed at once.
        with init_empty_weights(include_buffers=False):
            model = Gemma3TextModel(config)
        state = {name: tensor.to(device, dtype) for name, tensor in _text_tensors(folder)}
        try:
            fill(model, state)
        except CheckpointError as error:
            raise TextEncoderError(f"{folder}: {error.what}", remedy=_GEMMA_REMEDY) from error
        return cls(model.to(device), tokenizer, bos=bos, max_tokens=max_tokens).eval().requires_grad_(False)

    def tokens(self, prompt: str, longest: int | None = None) -> list[int]:
        """Token ids of a stripped prompt: BOS first, cut at `longest` (by default `max_tokens`)."""
        ids = self.tokenizer.encode(prompt.strip(), add_special_tokens=False).ids
        return [self.bos, *ids][: longest or self.max_tokens]

    def batch(self, prompts: Iterable[str], longest: int | None = None) -> tuple[Tensor, Tensor]:
        """Token ids and mask, (B,N) each, padded on the left as in the official pipeline."""
        rows = [self.tokens(prompt, longest) for prompt in prompts]
        count = max(map(len, rows))
        pad = self.model.config.pad_token_id or 0
        ids_BN = torch.tensor([[pad] * (count - len(row)) + row for row in rows])
        mask_BN = torch.tensor([[0] * (count - len(row)) + [1] * len(row) for row in rows]).bool()
        device = self.model.embed_tokens.weight.device
        return ids_BN.to(device), mask_BN.to(device)

    def hidden_states(self, ids_BN: Tensor, mask_BN: Tensor | None = None) -> Tensor:
        """All hidden states (B,N,D,K), scaled embedding first, final norm in the last; differentiable."""
        output = self.model(
            input_ids=ids_BN,
            attention_mask=None if mask_BN is None else mask_BN.long(),
            output_hidden_states=True,
            use_cache=False,
        )
        return torch.stack(output.hidden_states, dim=-1)


class TextEncoder:
    """Prompt to `Context`: encoder and connectors together, on the real tokens only.

    Raises:
        TextEncoderError: the connectors were made for a text encoder of another size.
    """

    def __init__(self, gemma: GemmaEncoder, connectors: TextConnectors) -> None:
        wanted = (connectors.settings.caption_channels, connectors.states)
        if (gemma.width, gemma.states) != wanted:
            raise TextEncoderError(
                f"the text encoder gives {gemma.states} states of width {gemma.width}; "
                f"the checkpoint wants {wanted[1]} of width {wanted[0]}",
                remedy="use the text encoder that the checkpoint was trained with (LTX-2.3: Gemma-3-12B)",
            )
        self.gemma = gemma
        self.connectors = connectors
        self.length = connectors.context_length(gemma.max_tokens)

    @torch.no_grad()
    def encode(self, prompt: str) -> Context:
        """The context of one prompt, in the connectors' dtype and on their device."""
        ids = self.gemma.tokens(prompt, self.length)
        hidden = self.gemma.hidden_states(
            torch.tensor([ids], device=self.gemma.model.embed_tokens.weight.device)
        )
        weight = self.connectors.video_text_proj_in.weight
        video, audio = self.connectors(hidden.to(weight.device), length=self.length)
        return Context(video[0], None if audio is None else audio[0])


class ContextCache:
    """Contexts on disk: one safetensors file a prompt, so that the text encoder need not be loaded twice.

    Args:
        folder: where the files live; made when the first one is written.
        fingerprint: identifies the text encoder and connectors (`gemma_fingerprint`, a checkpoint's hash).
    """

    def __init__(self, folder: Path | str, fingerprint: str) -> None:
        self.folder = Path(folder)
        self.fingerprint = fingerprint

    def path(self, prompt: str) -> Path:
        digest = hashlib.sha256(f"{self.fingerprint}\0{prompt.strip()}".encode()).hexdigest()
        return self.folder / f"{digest}.safetensors"

    def get(self, prompt: str) -> Context | None:
        """The stored context; None if there is none, or if its file is damaged, after a warning."""
        path = self.path(prompt)
        if not path.is_file():
            return None
        try:
            tensors = load_file(path)
            context = Context(tensors["video"], tensors.get("audio"))
        except (SafetensorError, KeyError, OSError) as error:
            warnings.warn(f"cached context {path} is damaged ({error}); computing it again", stacklevel=2)
            return None
        if not torch.isfinite(context.video_LD).all():
            warnings.warn(f"cached context {path} holds NaN or infinity; computing it again", stacklevel=2)
            return None
        return context

    def put(self, prompt: str, context: Context) -> None:
        """Store a context.

        Raises:
            OutputError: the folder cannot be written.
        """
        tensors = {"video": context.video_LD.detach().cpu().contiguous()}
        if context.audio_LD is not None:
            tensors["audio"] = context.audio_LD.detach().cpu().contiguous()
        write_atomic(self.path(prompt), lambda path: save_tensors(tensors, path))


def gemma_fingerprint(folder: Path | str) -> str:
    """A hash that changes with the folder's config, tokenizer or weights.

    Of a weight file it reads only size, header and 64 evenly spaced blocks of 4 KiB, not 24 GB.

    Raises:
        TextEncoderError: the folder holds no weights.
    """
    digest = hashlib.sha256()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        path = Path(folder) / name
        digest.update(path.read_bytes() if path.is_file() else b"")
    for path in _weight_files(Path(folder)):
        size = path.stat().st_size
        digest.update(f"{path.name} {size}".encode())
        with path.open("rb") as handle:
            for block in range(64):
                handle.seek(size * block // 64)
                digest.update(handle.read(4096))
    return digest.hexdigest()


def load_tokenizer(folder: Path) -> tuple[Tokenizer, int, int]:
    """The folder's tokenizer, its BOS id and its longest sequence.

    Raises:
        TextEncoderError: tokenizer.json is missing or damaged, or names no BOS token.
    """
    # diffusers keeps the tokenizer in a folder beside the model's.
    folder = folder if (folder / "tokenizer.json").is_file() else _beside(folder)
    path = folder / "tokenizer.json"
    model = _json(path).get("model")
    # The library reports damage as a bare Exception, so the likely faults are checked first.
    if not isinstance(model, dict) or "vocab" not in model:
        raise TextEncoderError(f"{path} holds no vocabulary", remedy=_GEMMA_REMEDY)
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    settings = _json(folder / "tokenizer_config.json")
    bos = settings.get("bos_token", "<bos>")
    bos = bos.get("content", "") if isinstance(bos, dict) else str(bos)
    bos_id = tokenizer.token_to_id(bos)
    if bos_id is None:
        raise TextEncoderError(f"{folder}: the tokenizer has no BOS token {bos!r}", remedy=_GEMMA_REMEDY)
    return tokenizer, bos_id, int(min(settings.get("model_max_length") or MAX_TOKENS, 2**31))


def _beside(folder: Path) -> Path:
    other = folder.parent / "tokenizer"
    return other if (other / "tokenizer.json").is_file() else folder


def read_config(folder: Path) -> dict[str, Any]:
    """The folder's config.json, which must be a Gemma-3's: "gemma3" (image and text) or "gemma3_text".

    Raises:
        TextEncoderError: config.json is missing, damaged, or belongs to another model.
    """
    raw = _json(folder / "config.json")
    kind = raw.get("model_type")
    if kind not in ("gemma3", "gemma3_text"):
        raise TextEncoderError(
            f"{folder} holds a model of type {kind!r}, not a Gemma-3", remedy=_GEMMA_REMEDY
        )
    return raw


def _text_config(folder: Path) -> Gemma3TextConfig:
    raw = read_config(folder)
    try:
        return Gemma3TextConfig.from_dict(raw["text_config"] if raw["model_type"] == "gemma3" else raw)
    except (KeyError, TypeError, ValueError, StrictDataclassError) as error:
        raise TextEncoderError(
            f"{folder}/config.json is not usable: {error}", remedy=_GEMMA_REMEDY
        ) from error


def _text_tensors(folder: Path) -> Iterable[tuple[str, Tensor]]:
    """The language model's tensors under `Gemma3TextModel`'s own names, read one by one."""
    for path in _weight_files(folder):
        try:
            with safe_open(path, framework="pt") as handle:
                for name in handle.keys():  # noqa: SIM118 - a safetensors handle is no mapping
                    if any(part in name for part in _NOT_TEXT):
                        continue
                    prefix = next((p for p in _TEXT_PREFIXES if name.startswith(p)), "")
                    yield name.removeprefix(prefix), handle.get_tensor(name)
        except (SafetensorError, OSError) as error:
            raise TextEncoderError(
                f"{path} is damaged or incomplete: {error}", remedy="download the text encoder again"
            ) from error


def _weight_files(folder: Path) -> list[Path]:
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise TextEncoderError(f"{folder} holds no *.safetensors", remedy=_GEMMA_REMEDY)
    return files


def _json(path: Path) -> dict[str, Any]:
    try:
        return read_json(path)
    except CheckpointError as error:
        raise TextEncoderError(error.what, remedy=_GEMMA_REMEDY) from error
