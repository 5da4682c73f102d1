"""Mini's denoiser and text encoder, trained together; the adapters come after, by the product's trainer.

They learn from latents that were rendered and encoded once, with the product's own objective on pictures and
sound. Every part of the cast counts alike (`emphasis`). Half of the steps see whole clips with their sound,
half see excerpts of a few latent frames: a clip's frames look alike, so the same number of tokens from more
clips teaches more looks.

Legend: B batch, N tokens of pictures, T of sound, C channels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Gemma3TextConfig, Gemma3TextModel

from castsheet.ltx.model.config import TransformerConfig
from castsheet.ltx.model.dit import Stream, Transformer
from castsheet.ltx.model.sequence import Sequence
from castsheet.ltx.parts.connectors import TextConnectors
from castsheet.ltx.parts.gemma import load_tokenizer
from castsheet.ltx.parts.text import GemmaEncoder
from castsheet.machine.processes import World
from castsheet.train.objective import Given, flow_losses, sigmas_of
from mini.data.latents import SHEET_TOKENS, TOKENS, Latents
from mini.data.showing import COLOURS
from mini.data.windows import WINDOW
from mini.training.architecture import (
    CONTEXT,
    LATENT,
    TEXT_LAYERS,
    TEXT_WIDTH,
    VOCABULARY,
    config,
)
from mini.training.optimise import Budget, Log, mixed, optimise
from mini.training.positions import Both, Moving, rope_tables
from mini.training.watched import LISTENED, Readers, Watched

SOUND = 0.5  # weight of the sound's loss beside the pictures'
MOVED_EVERY = 10  # steps, while positions move
NAMES = 0.1  # weight of the loss of whom words name


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

    transformer: Watched
    gemma: GemmaEncoder
    connectors: TextConnectors

    @classmethod
    def build(cls, tokenizer_folder: Path, device: str, header: Mapping[str, Any] | None = None) -> Models:
        """New models around a tokenizer. `header`: the config to build; mini's by default."""
        raw = (config() if header is None else header)["transformer"]
        tokenizer, bos, longest = load_tokenizer(tokenizer_folder)
        gemma = GemmaEncoder(Gemma3TextModel(gemma_config()), tokenizer, bos=bos, max_tokens=longest)
        connectors = TextConnectors(raw, states=TEXT_LAYERS + 1, audio="audio_num_attention_heads" in raw)
        transformer = Watched(TransformerConfig.from_dict(raw))
        start_as_identity(transformer)
        deafen(transformer)
        return cls(transformer.to(device), gemma.to(device), connectors.to(device))

    def contexts(self, ids_BN: Tensor, mask_BN: Tensor) -> tuple[Tensor, Tensor | None]:
        """Contexts (B, 256, width) of tokenised prompts for pictures and for sound; differentiable."""
        told = self.gemma.model(
            input_ids=ids_BN, attention_mask=attended(mask_BN), output_hidden_states=True, use_cache=False
        )
        return self.connectors(torch.stack(told.hidden_states, dim=-1), mask_BN, CONTEXT)


def attended(mask_BN: Tensor) -> dict[str, Tensor]:
    """What each token of a prompt attends to, for every kind of Gemma's layers.

    transformers makes the same of `mask_BN` (prompts are shorter than the sliding window), but asks first
    whether anything is masked: at every step the host would wait for the GPU.
    """
    causal_NN = torch.ones(mask_BN.shape[1], mask_BN.shape[1], dtype=torch.bool, device=mask_BN.device).tril()
    mask_B1NN = causal_NN & mask_BN.bool()[:, None, None]
    return {"full_attention": mask_B1NN, "sliding_attention": mask_B1NN}


def sent(values: Tensor, device: str) -> Tensor:
    """Values on a device. The host does not wait; with a plain copy it does, for all the GPU's work."""
    if not device.startswith("cuda"):
        return values.to(device)
    return values.pin_memory().to(device, non_blocking=True)


def start_as_identity(transformer: Transformer) -> None:
    """As in AdaLN-zero: every block starts as the identity, the model as a zero velocity."""
    for name, module in transformer.named_modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
            if name.endswith(("proj_out", "adaln_single.linear")) and "prompt" not in name:
                nn.init.zeros_(module.weight)
    for name, parameter in transformer.named_parameters():
        if "blocks." in name and "scale_shift_table" in name and "prompt" not in name:
            nn.init.zeros_(parameter)


def deafen(transformer: Transformer) -> None:
    """Pictures do not hear the sound, which follows them: a clip with sound has the pictures of one without.

    The adapters learn without sound. Before, what the sound sent into pictures that an adapter guided made
    places blotchy and figures worse.
    """
    for name, parameter in transformer.named_parameters():
        if ".audio_to_video_attn." in name:
            parameter.requires_grad_(False)
            if ".to_out." in name:
                nn.init.zeros_(parameter)


def joint_losses(
    transformer: Transformer,
    pictures_BNC: Tensor,
    sound_BTC: Tensor,
    contexts: tuple[Tensor, Tensor],
    places: Both,
    sigma_B: Tensor,
    weights_BN: Tensor,
) -> Tensor:
    """Mean squared velocity error of pictures and sound at one noise level, (B,) fp32."""
    streams, wanted = [], []
    for clean, words, sequence in zip(
        (pictures_BNC, sound_BTC), contexts, (places.pictures, places.sound), strict=True
    ):
        noise, level = torch.randn(clean.shape, device=clean.device), sigma_B[:, None, None]
        noisy = (1 - level) * clean.float() + level * noise
        streams.append(Stream(noisy.to(clean.dtype), words, sequence, sigma_B[:, None], sigma_B))
        wanted.append(noise - clean.float())
    told = transformer(*streams)
    seen_BN = (told.video_BTC.float() - wanted[0]).square().mean(2)
    heard_B = (told.audio_BTC.float() - wanted[1]).square().mean((1, 2))
    return (seen_BN * weights_BN).sum(1) / weights_BN.sum(1) + SOUND * heard_B


def tokens_of(frames: Tensor) -> Tensor:
    """Numbers of the tokens of some latent frames."""
    return (frames[:, None] * SHEET_TOKENS + torch.arange(SHEET_TOKENS)).flatten()


def excerpt(frames: int) -> Tensor:
    """Neighbouring latent frames of a clip, drawn at random."""
    first = int(torch.randint(LATENT[0] - frames + 1, ()))
    return torch.arange(first, first + frames)


def compile_blocks(transformer: Transformer, device: str) -> None:
    """Compile block by block: a whole-model compile would cost minutes."""
    if device.startswith("cuda"):
        torch._dynamo.config.recompile_limit = 64
        for block in transformer.transformer_blocks:
            block.compile(dynamic=False)


class BaseSteps:
    """The losses of the base's steps. Each call draws new samples.

    Nothing in it reads what the GPU computes, so the host keeps ahead of it.
    """

    def __init__(self, models: Models, latents: Latents, batch: int, device: str, readers: Readers) -> None:
        self.models, self.latents, self.batch = models, latents, batch
        self.device, self.readers = device, readers
        self.place(models.transformer.config)

    def place(self, config: TransformerConfig) -> None:
        """Give all tokens the positions of a config."""
        self.tables, self.places = rope_tables(config, self.device), Both.of(config, self.device)

    def whole(self) -> Tensor:
        """Of whole clips with their sound."""
        models, latents, readers = self.models, self.latents, self.readers
        chosen = latents.draw(self.batch)
        sigmas = sent(sample_sigmas(self.batch, TOKENS), self.device)
        weights = latents.weights[chosen]
        with mixed(self.device):
            ids, mask, named = latents.words(chosen)
            seen, heard = models.contexts(ids, mask)
            assert heard is not None  # mini has sound
            models.transformer.hear()
            losses = joint_losses(
                models.transformer,
                latents.clips[chosen],
                latents.sounds[chosen],
                (seen, heard),
                self.places,
                sigmas,
                weights,
            )
            looks = latents.looks[chosen]
            told = readers.shown(models.transformer.hear(), latents.shown[chosen], looks, weights)
            return losses.mean() + NAMES * readers.naming.loss(seen, named) + told

    def part(self) -> Tensor:
        """Of four times as many excerpts, and of half of their sheets: these are only told apart."""
        models, latents, readers = self.models, self.latents, self.readers
        frames = excerpt(WINDOW)
        tokens = sent(tokens_of(frames), self.device)
        chosen = latents.draw_from(int(frames[0]), 4 * self.batch)
        target = latents.clips[chosen[:, None], tokens]
        weights = latents.weights[chosen[:, None], tokens]
        with mixed(self.device):
            ids, mask, named = latents.words(chosen)
            context = models.contexts(ids, mask)[0]
            marked = SHEET_TOKENS if frames[0] == 0 else 0
            sigmas = sent(sample_sigmas(len(chosen), TOKENS), self.device)
            models.transformer.hear()
            losses = flow_losses(
                models.transformer,
                Given(target, context, self.tables.rows(tokens), marked=marked),
                sigmas,
                torch.randn(target.shape, device=self.device),
                mask_BN=weights,
            )
            shown, looks = latents.shown[chosen[:, None], tokens], latents.looks[chosen]
            told = readers.shown(models.transformer.hear(), shown, looks, weights)
            half = 2 * self.batch
            self.look_at_sheets(chosen[:half], context[:half], sigmas[:half])
            apart = readers.shown(models.transformer.hear(), latents.panels[chosen[:half]], looks[:half])
            return losses.mean() + NAMES * readers.naming.loss(context, named) + told + apart

    def look_at_sheets(self, chosen: Tensor, context_BLD: Tensor, sigma_B: Tensor) -> None:
        """Pass sheets through the denoiser as a reference is passed: clean, at a latent frame's positions.

        No clip is beside them: what a sheet looks like cannot reach one.
        """
        transformer = self.models.transformer
        tokens = sent(tokens_of(excerpt(1)), self.device)
        sequence = Sequence((SHEET_TOKENS,), self.tables.rows(tokens), marked=0)
        clean_B1 = torch.zeros_like(sigma_B)[:, None]
        transformer(Stream(self.latents.sheets[chosen], context_BLD, sequence, clean_B1, sigma_B))


def train_base(
    models: Models,
    latents: Latents,
    budget: Budget,
    *,
    batch: int,
    where: World,
    log: Log,
    rate: float = 1e-3,
    keep: Callable[[], None] | None = None,
    compiled: Callable[[], None] | None = None,
    moving: Moving | None = None,
) -> None:
    """Text to video with sound, without a reference: what the actions look like, with looks left to chance.

    Whole clips and four times as many excerpts take turns. See `optimise` for `keep` and `compiled`.
    """
    device = str(where.device)
    compile_blocks(models.transformer, device)
    readers = Readers(models.transformer.config.dim).to(device)
    steps = BaseSteps(models, latents, batch, device, readers)

    def loss(step: int) -> Tensor:
        if moving is not None and step % MOVED_EVERY == 0 and step <= moving.steps + MOVED_EVERY:
            steps.place(moving.at(step, models.transformer.config))
        return steps.whole() if step % 2 == 0 else steps.part()

    optimise(
        [models.transformer, models.gemma.model, models.connectors, readers],
        loss,
        budget,
        rate=rate,
        log=log,
        name="base",
        muon=True,
        where=where,
        keep=keep,
        compiled=compiled,
    )
    for what, number in known(steps).items():
        log(f"base, what is known, {what}: {number:.3g}")


@torch.no_grad()
def known(steps: BaseSteps, count: int = 128, level: float = 0.6) -> dict[str, float]:
    """What is read of words, and of clips' and sheets' tokens: shares of right elements, and the root mean
    square errors of colours, which are in [-1, 1], and of styles, which are -0.5 or 0.5.

    Tokens are counted that show one of the first two elements, in stories that tell of both or of the second.

    Args:
        level: of the clips' noise.
    """
    models, latents, device = steps.models, steps.latents, steps.device
    chosen = latents.draw(min(count, latents.ready))
    with torch.compiler.set_stance("force_eager"), mixed(device):
        ids, mask, named = latents.words(chosen)
        seen, heard = models.contexts(ids, mask)
        assert heard is not None
        found = {"words, %": 100 * float(steps.readers.naming.share(seen, named))}
        sigmas = torch.full((len(chosen),), level, device=device)
        models.transformer.hear()
        given = latents.clips[chosen], latents.sounds[chosen], (seen, heard), steps.places
        joint_losses(models.transformer, *given, sigmas, latents.weights[chosen])
        clips = models.transformer.hear()
        steps.look_at_sheets(chosen, seen, sigmas)
        sheets = models.transformer.hear()
        two = (named == 1).any(1)  # stories that tell of a second person or a prop
        looks = latents.looks[chosen][two]
        for number, block in enumerate(LISTENED):
            reader = steps.readers.showing[number]
            for name, said, truth in (
                ("clips", clips, latents.shown[chosen]),
                ("sheets", sheets, latents.panels[chosen]),
            ):
                heard_by = said[number][two], truth[two]
                what = f"{name}' tokens after block {block}"
                found[f"{what}, %"] = 100 * float(reader.share(*heard_by, (0, 1)))
                for kind, numbers in (("colours", slice(COLOURS)), ("styles", slice(COLOURS, None))):
                    error = float(reader.losses(*heard_by, looks, numbers=numbers)[1]) ** 0.5
                    found[f"{what}, error of {kind}"] = error
    models.transformer.said = None
    return found


@torch.no_grad()
def mean_loss(models: Models, latents: Latents, device: str, count: int = 12) -> float:
    """The joint loss of the first `count` samples, with the same noise and the same levels at every call."""
    places, chosen = Both.of(models.transformer.config, device), torch.arange(count, device=device)
    losses = []
    eager = torch.compiler.set_stance("force_eager")  # one batch is not worth compiling for
    devices = [device] if device.startswith("cuda") else []
    with eager, torch.random.fork_rng(devices=devices), mixed(device):
        torch.manual_seed(48)
        for level in (0.95, 0.8, 0.6, 0.4, 0.2):
            ids, mask, _ = latents.words(chosen)
            seen, heard = models.contexts(ids, mask)
            assert heard is not None
            given = latents.clips[chosen], latents.sounds[chosen], (seen, heard), places
            sigmas = torch.full((count,), level, device=device)
            losses.append(joint_losses(models.transformer, *given, sigmas, latents.weights[chosen]).mean())
    return torch.stack(losses).mean().item()


def sample_sigmas(count: int, tokens: int, *, generator: torch.Generator | None = None) -> Tensor:
    """Noise levels (count,) in [0, 1] from the official shifted logit-normal, fp32 on the CPU."""
    normal = torch.randn(count, generator=generator)
    uniform, chance = torch.rand(2, count, generator=generator)
    return sigmas_of(normal, uniform, chance, tokens)
