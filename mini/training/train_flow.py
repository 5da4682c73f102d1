"""Mini's denoiser and text encoder, trained together; the adapters come after, by the product's trainer.

They learn from latents that were rendered and encoded once, through the product's own objective. Every part
of the cast counts alike (`emphasis`). Much of the training sees excerpts of a few latent frames: a clip's
frames look alike, so the same number of tokens from more clips teaches more looks.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import Gemma3TextConfig, Gemma3TextModel

from castsheet.ltx.model import rope
from castsheet.ltx.model.config import TransformerConfig
from castsheet.ltx.model.dit import Transformer
from castsheet.ltx.model.rope import Rope
from castsheet.ltx.parts.connectors import TextConnectors
from castsheet.ltx.parts.gemma import load_tokenizer
from castsheet.ltx.parts.text import GemmaEncoder
from castsheet.machine.processes import World
from castsheet.train.objective import flow_losses, sigmas_of
from mini.data.captions import NEGATIVE, caption
from mini.data.latents import Latents
from mini.training.architecture import (
    CONTEXT,
    FPS,
    FRAMES,
    HEIGHT,
    TEXT_LAYERS,
    TEXT_WIDTH,
    VOCABULARY,
    WIDTH,
    config,
)
from mini.training.optimise import Budget, Log, mixed, optimise
from mini.world.motion import ACTIONS

LATENT = ((FRAMES - 1) // 8 + 1, HEIGHT // 16, WIDTH // 16)
FRAME_TOKENS = LATENT[1] * LATENT[2]
TOKENS = LATENT[0] * FRAME_TOKENS
EXCERPT = 4  # latent frames


def gemma_config() -> Gemma3TextConfig:
    """Mini's text encoder: Gemma-3's architecture, 3 layers of width 128."""
    return Gemma3TextConfig(
        vocab_size=VOCABULARY,
        hidden_size=TEXT_WIDTH,
        num_hidden_layers=TEXT_LAYERS,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        intermediate_size=512,
        max_position_embeddings=CONTEXT,
        sliding_window=CONTEXT,
        query_pre_attn_scalar=32,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=2,
    )


@dataclass(frozen=True)
class Models:
    """What the base training makes."""

    transformer: Transformer
    gemma: GemmaEncoder
    connectors: TextConnectors

    @classmethod
    def build(cls, tokenizer_folder: Path, device: str) -> Models:
        raw = config()["transformer"]
        tokenizer, bos, longest = load_tokenizer(tokenizer_folder)
        gemma = GemmaEncoder(Gemma3TextModel(gemma_config()), tokenizer, bos=bos, max_tokens=longest)
        connectors = TextConnectors(raw, states=TEXT_LAYERS + 1)
        transformer = Transformer(TransformerConfig.from_dict(raw))
        for module in transformer.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        # As in AdaLN-zero: every block starts as the identity, the model as a zero velocity.
        nn.init.zeros_(transformer.adaln_single.linear.weight)
        nn.init.zeros_(transformer.proj_out.weight)
        for block in transformer.transformer_blocks:
            nn.init.zeros_(block.get_parameter("scale_shift_table"))
        return cls(transformer.to(device), gemma.to(device), connectors.to(device))

    def contexts(self, ids_BN: Tensor, mask_BN: Tensor) -> Tensor:
        """Contexts (B, 256, 384) of tokenised captions; differentiable."""
        return self.connectors(self.gemma.hidden_states(ids_BN, mask_BN), mask_BN, CONTEXT)[0]


class CaptionBank:
    """Tokenised captions, a fixed number an action, and the negative prompt as the last action."""

    def __init__(
        self, gemma: GemmaEncoder, device: str, *, each: int = 2000, longest: int = 144, seed: int = 11
    ) -> None:
        random = np.random.default_rng(seed)
        texts = [caption(action, random) for action in ACTIONS for _ in range(each)]
        texts += [NEGATIVE if i % 2 else "" for i in range(each)]
        ids, mask = gemma.batch(texts, longest)
        self.each, self.ids, self.mask = each, ids.to(device), mask.to(device)

    def draw(self, actions: Tensor, *, unconditional: float = 0.1) -> Tensor:
        """Caption indices for a batch of actions; some are the negative prompt."""
        blank = torch.rand(actions.shape, device=actions.device) < unconditional
        group = torch.where(blank, len(ACTIONS), actions)
        return group * self.each + torch.randint(self.each, actions.shape, device=actions.device)


def rope_tables(transformer: Transformer, device: str) -> Rope:
    """Tables for a clip's tokens followed by those of its static reference, which have the same positions."""
    bounds = rope.video_bounds(*LATENT, FPS, scale=(8, 16, 16))
    tables = rope.video_tables(transformer.config, torch.cat([bounds, bounds], dim=1))
    return Rope(tables.cos_HTD.to(device), tables.sin_HTD.to(device))


def tokens_of(frames: Tensor) -> Tensor:
    """Numbers of the tokens of some latent frames."""
    return (frames[:, None] * FRAME_TOKENS + torch.arange(FRAME_TOKENS)).flatten()


def excerpt(frames: int) -> Tensor:
    """Neighbouring latent frames of a clip, drawn at random."""
    first = int(torch.randint(LATENT[0] - frames + 1, ()))
    return torch.arange(first, first + frames)


def with_rows(tables: Rope, target: Tensor) -> Rope:
    """The rows of some latent frames of the target."""
    return tables.rows(tokens_of(target).to(tables.cos_HTD.device))


def compile_blocks(transformer: Transformer, device: str) -> None:
    """Compile block by block: a whole-model compile would cost minutes."""
    if device.startswith("cuda"):
        torch._dynamo.config.recompile_limit = 64
        for block in transformer.transformer_blocks:
            block.compile(dynamic=False)


def train_base(
    models: Models,
    latents: Latents,
    weights_AN: Tensor,
    budget: Budget,
    *,
    batch: int,
    where: World,
    log: Log,
    rate: float = 1e-3,
) -> None:
    """Text to video without a reference: what the actions look like, with looks left to chance.

    Whole clips and four times as many excerpts take turns.

    Args:
        weights_AN: of the tokens of each action in the loss.
    """
    device = str(where.device)
    bank = CaptionBank(models.gemma, device)
    compile_blocks(models.transformer, device)
    tables = rope_tables(models.transformer, device)

    def loss_of(step: int) -> Tensor:
        count, shown = (batch, LATENT[0]) if step % 2 == 0 else (4 * batch, EXCERPT)
        frames = excerpt(shown)
        tokens = tokens_of(frames).to(device)
        chosen = latents.draw(count)
        actions = latents.actions[chosen]
        target = latents.clips[chosen[:, None], tokens]
        captions = bank.draw(actions)
        with mixed(device):
            return flow_losses(
                models.transformer,
                target,
                models.contexts(bank.ids[captions], bank.mask[captions]),
                with_rows(tables, frames),
                sample_sigmas(count, TOKENS).to(device),
                torch.randn(target.shape, device=device),
                mask_BN=weights_AN[actions[:, None], tokens],
            ).mean()

    parts = [models.transformer, models.gemma.model, models.connectors]
    optimise(parts, loss_of, budget, rate=rate, log=log, name="base", muon=True, where=where)


def sample_sigmas(count: int, tokens: int, *, generator: torch.Generator | None = None) -> Tensor:
    """Noise levels (count,) in [0, 1] from the official shifted logit-normal, fp32 on the CPU."""
    normal = torch.randn(count, generator=generator)
    uniform, chance = torch.rand(2, count, generator=generator)
    return sigmas_of(normal, uniform, chance, tokens)
