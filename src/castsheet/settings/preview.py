"""`--preview`: the same run at cheap settings, to see the staging before the clip is paid for. No torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import takewhile
from math import gcd

from castsheet.settings import Settings

_LINEAR, _ATTENTION = 254.0, 91.0  # TFLOP of a pass of the 22B model at the bucket, benchmarks/ceilings.py
_BUCKET = 768 * 448 * 16  # its pixels times latent frames


@dataclass(frozen=True)
class Preview:
    """Cheap settings, and about how much of the whole clip's denoising they take."""

    settings: Settings
    share: float

    def describe(self) -> str:
        """What a preview is, and what it costs, for people."""
        one = self.settings
        return (
            f"preview: {one.width}x{one.height}, {one.frames} frames, {one.all_steps} steps, about"
            f" 1/{max(1, round(1 / self.share))} of the clip's denoising; it shows the staging, its faces are"
            " worse, and the same seed gives another clip at full size"
        )


def preview_of(full: Settings, cell: int) -> Preview:
    """Half the size, half the length, a third of the steps, no spatio-temporal guidance, nothing enlarged.

    The size is divided only if both sides stay whole latent cells: another shape would not fit the sheet.
    Listed noise levels stay, because a recipe's few levels belong together.

    Args:
        cell: pixels that a latent cell's side spans.
    """
    columns, rows = full.width // cell, full.height // cell
    half = 2 if gcd(columns, rows) % 2 == 0 else 1
    steps = full.steps if full.sigmas is not None else max(1, -(-full.steps // 3))
    cheap = replace(
        full,
        width=full.width // half,
        height=full.height // half,
        frames=8 * ((full.frames - 1) // 16) + 1,
        steps=steps,
        stg_scale=0.0,
        stages=tuple(takewhile(lambda stage: stage.scale == 1, full.stages)),
        upsampler="",
        refining_adapters={},
    )
    return Preview(cheap, _work(cheap) / _work(full))


def _work(settings: Settings) -> float:
    """Relative work of a run's denoising: its passes, each with products and attention.

    From an enlarging stage on there is one pass a step, and no sheet: half of the tokens.
    """
    latent_frames = (settings.frames - 1) // 8 + 1
    tokens = settings.width * settings.height * latent_frames / _BUCKET
    passes = 1 + (settings.guidance != 1) + (0.41 if settings.stg_scale else 0)
    work = settings.steps * passes * _pass(tokens)
    seen = 1.0
    for stage in settings.stages:
        if stage.scale != 1:
            tokens, passes, seen = tokens * stage.scale**2, 1, 0.5
        work += (len(stage.sigmas) - 1) * passes * _pass(tokens * seen)
    return work


def _pass(tokens: float) -> float:
    """Relative work of one pass over so many times the bucket's tokens."""
    return _LINEAR * tokens + _ATTENTION * tokens**2
