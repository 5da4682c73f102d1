"""Where mini's tokens are, as its base learns it: tables of a clip, of its sheet and of its sound."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from castsheet.ltx.model import rope
from castsheet.ltx.model.config import TransformerConfig
from castsheet.ltx.model.rope import Rope
from castsheet.ltx.model.sequence import Sequence
from mini.data.latents import SHEET_TOKENS, TOKENS
from mini.training.architecture import FPS, LATENT, SOUND_TOKENS


@dataclass(frozen=True)
class Moving:
    """Positions that move, in so many steps, from those that a base was trained with to its config's.

    A base whose RoPE is another from one step to the next forgets what attends to what; it can follow one
    that changes slowly.

    Attributes:
        theta: where it begins. reach: the share of the config's greatest positions with which it begins.
    """

    theta: float
    reach: float
    steps: int

    def at(self, step: int, config: TransformerConfig) -> TransformerConfig:
        """The config with a step's positions."""
        left = max(0.0, 1 - step / self.steps)
        reach = self.reach**left
        return replace(
            config,
            theta=config.theta * (self.theta / config.theta) ** left,
            max_pos=tuple(most * reach for most in config.max_pos),
            audio_max_pos=tuple(most * reach for most in config.audio_max_pos),
        )


def rope_tables(config: TransformerConfig, device: str) -> Rope:
    """Tables for a clip's tokens followed by those of its static reference, which have the same positions."""
    bounds = rope.video_bounds(*LATENT, FPS)
    tables = rope.video_tables(config, torch.cat([bounds, bounds], dim=1))
    return tables.to(device)


@dataclass(frozen=True)
class Both:
    """The positions of a whole clip's pictures and of its sound."""

    pictures: Sequence
    sound: Sequence

    @classmethod
    def of(cls, settings: TransformerConfig, device: str) -> Both:
        seen, heard = rope.video_bounds(*LATENT, FPS), rope.audio_bounds(SOUND_TOKENS)
        return cls(
            Sequence(
                (TOKENS,),
                rope.video_tables(settings, seen).to(device),
                rope.cross_tables(settings, seen).to(device),
                marked=SHEET_TOKENS,
            ),
            Sequence(
                (SOUND_TOKENS,),
                rope.audio_tables(settings, heard).to(device),
                rope.cross_tables(settings, heard).to(device),
            ),
        )
