"""Prompt to context: a Gemma's hidden states, the connectors, and a cache on disk.

Shape legend: B batch, N text tokens, L context slots, D width, K hidden states a token (layers + 1).
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from safetensors import SafetensorError
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import Gemma3TextModel, Gemma4UnifiedTextModel

from castsheet.errors import CheckpointError, TextEncoderError
from castsheet.ltx.header import save_tensors
from castsheet.ltx.parts.connectors import TextConnectors
from castsheet.ltx.parts.gemma import LONGEST, EncoderFiles, Kind
from castsheet.ltx.parts.vae import fill
from castsheet.machine.files import write_atomic

_MODELS: dict[Kind, Any] = {"gemma3": Gemma3TextModel, "gemma4": Gemma4UnifiedTextModel}


@dataclass(frozen=True)
class Context:
    """What the denoiser attends to: `video_LD` and, with an audio half, `audio_LD`."""

    video_LD: Tensor
    audio_LD: Tensor | None = None


@dataclass(frozen=True)
class Features:
    """What the connectors read: `video_ND` and, with an audio half, `audio_ND`. `mask_N` is 1 at real tokens,
    0 at padding."""

    video_ND: Tensor
    audio_ND: Tensor | None
    mask_N: Tensor


class GemmaEncoder(nn.Module):
    """A Gemma language model, of the third or fourth generation, and its tokenizer.

    Attributes:
        width: hidden size.
        states: hidden states a token (layers + 1).
        max_tokens: longest prompt, BOS included.
    """

    def __init__(self, model: Any, tokenizer: Tokenizer, *, bos: int, max_tokens: int) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self.bos = bos
        self.max_tokens = min(max_tokens, LONGEST)
        self.width: int = model.config.hidden_size
        self.states: int = model.config.num_hidden_layers + 1

    @classmethod
    def load(
        cls,
        path: Path | str,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.bfloat16,
        on_built: Callable[[], None] | None = None,
    ) -> GemmaEncoder:
        """Load the language model of a Gemma-3 or Gemma-4 folder, in any key layout, or of a packed file.

        Only the language model's tensors are read; a vision tower costs nothing.

        Args:
            on_built: called before tensors are read. No other thread may build a model earlier: until then
                torch is changed for all threads.

        Raises:
            TextEncoderError: a file is missing or damaged, or the model is no such Gemma.
        """
        files = EncoderFiles.open(path)
        config = files.text_config()
        tokenizer, bos, max_tokens = files.tokenizer()
        if tokenizer.get_vocab_size() > config.vocab_size:
            sizes = f"{tokenizer.get_vocab_size()} tokens, the model {config.vocab_size}"
            raise TextEncoderError(
                f"{path}: the tokenizer knows {sizes}", remedy="use the tokenizer that came with the model"
            )
        # Parameters stay empty until their tensors are read; buffers (rotary tables) are computed at once.
        with init_empty_weights(include_buffers=False):
            model = _MODELS[files.kind](config)
        if on_built is not None:
            on_built()
        state = {name: tensor.to(dtype) for name, tensor in files.tensors(device)}
        try:
            fill(model, state)
        except CheckpointError as error:
            raise TextEncoderError(f"{path}: {error.what}", remedy=files.remedy) from error
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
        video, audio = self.connectors(self._hidden(prompt), length=self.length)
        return Context(video[0], None if audio is None else audio[0])

    @torch.no_grad()
    def features(self, prompt: str) -> Features:
        """What the connectors read of one prompt, as the official trainer stores it: padded on the left."""
        connectors = self.connectors
        video, audio = connectors.features(self._hidden(prompt))
        left = self.length - video.shape[1]
        padded = _padded(video[0], connectors.video_text_proj_in, left)
        sound = None
        if audio is not None and connectors.audio_text_proj_in is not None:
            sound = _padded(audio[0], connectors.audio_text_proj_in, left)
        return Features(padded, sound, torch.tensor([0] * left + [1] * (self.length - left)))

    def _hidden(self, prompt: str) -> Tensor:
        """Hidden states (1,N,D,K) of a prompt's real tokens, on the connectors' device."""
        ids = torch.tensor(
            [self.gemma.tokens(prompt, self.length)], device=self.gemma.model.embed_tokens.weight.device
        )
        return self.gemma.hidden_states(ids).to(self.connectors.video_text_proj_in.weight.device)


def _padded(features_ND: Tensor, project: nn.Linear, left: int) -> Tensor:
    """Features after those of `left` empty tokens: what the projection makes of zeros is its bias."""
    empty_D = features_ND.new_zeros(features_ND.shape[1]) if project.bias is None else project.bias
    return torch.cat([empty_D.expand(left, -1), features_ND])


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
