"""Checks of a video's settings before minutes are spent on them: sizes, frame counts, adapters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from castsheet.lint.findings import Fault, Finding, family, rule
from castsheet.ltx.family import UNKNOWN

TEMPORAL = 8  # frames a latent frame, in every LTX-2 checkpoint
MIN_FRAMES = 121
FPS = 24.0


@dataclass(frozen=True)
class VideoSettings:
    """What a run is about to make.

    Attributes:
        grid: pixels a latent token spans; 32 for the full-size model.
        bucket: the size that the adapter was trained at.
        decoded_latents: latent frames that go to the decoder; None where unknown.
        lora_strength, preset_lora_strength: the strength in use, and the preset's; None where unknown.
    """

    width: int = 768
    height: int = 448
    frames: int = MIN_FRAMES
    fps: float = FPS
    two_stage: bool = False
    grid: int = 32
    lora_strength: float | None = None
    guidance: float = 4.0
    negative_prompt: str = ""
    preset_lora_strength: float | None = None
    bucket: tuple[int, int] = (768, 448)
    decoded_latents: int | None = None


@dataclass(frozen=True)
class _Run:
    settings: VideoSettings
    checkpoint_family: str | None
    adapter_families: tuple[str, ...]


def lint_video(
    settings: VideoSettings, checkpoint_family: str | None = None, adapter_families: tuple[str, ...] = ()
) -> list[Finding]:
    """Run every video rule. Families are those that the files declare ("ltx-2.3", ...); None: not asked."""
    run = _Run(settings, checkpoint_family, tuple(adapter_families))
    return [finding for check in family("V") for finding in check(run)]


def _bad_side(name: str, value: int, step: int) -> Fault:
    down = max(value // step * step, step)
    return Fault(
        f"{name} {value} is not a positive multiple of {step}", f"use {name} {down} or {down + step}"
    )


def _bad_frames(frames: int) -> Fault:
    down = max((frames - 1) // TEMPORAL * TEMPORAL + 1, 1)
    return Fault(f"{frames} frames: the count must be 8 k + 1", f"use {down} or {down + TEMPORAL} frames")


@rule("V01", "size, frames and frame rate are ones that the model knows", "error")
def shape_is_known(run: _Run) -> Iterator[Fault]:
    """Frames 8 k + 1 and sides on the grid (twice the grid for two stages), or an error; at least 121 frames,
    24 fps and the adapter's own size, or a warning."""
    s = run.settings
    step = s.grid * (2 if s.two_stage else 1)
    for name, value in (("width", s.width), ("height", s.height)):
        if value <= 0 or value % step:
            yield _bad_side(name, value, step)
    if s.frames < 1 or s.frames % TEMPORAL != 1:
        yield _bad_frames(s.frames)
    elif s.frames < MIN_FRAMES:
        yield Fault(
            f"{s.frames} frames: the adapter was trained at {MIN_FRAMES}",
            f"use {MIN_FRAMES} frames or more, and cut the clip",
            severity="warning",
        )
    # A NaN rate fails this comparison, and so is refused with the rest.
    if not s.fps > 0:
        yield Fault(f"a frame rate of {s.fps:g}: it must be positive", f"use {FPS:g} fps")
    elif s.fps != FPS:
        yield Fault(
            f"{s.fps:g} fps: the adapter was trained at {FPS:g}, motion would change its speed",
            f"use {FPS:g} fps",
            severity="warning",
        )
    if (s.width, s.height) != s.bucket:
        yield Fault(
            f"{s.width} x {s.height} is not the size that the adapter was trained at "
            f"({s.bucket[0]} x {s.bucket[1]})",
            f"use {s.bucket[0]} x {s.bucket[1]} where the looks matter most",
            severity="warning",
        )


@rule("V02", "adapter, strength and guidance fit the checkpoint and the preset", "error")
def adapter_fits(run: _Run) -> Iterator[Fault]:
    """Families agree, or an error; the preset's strength, a negative prompt that is heard, or a warning."""
    s = run.settings
    base = run.checkpoint_family
    for adapter in () if base is None else run.adapter_families:
        if UNKNOWN in (base, adapter):
            yield Fault(
                f"the family of the {'adapter' if adapter == UNKNOWN else 'checkpoint'} is not known, "
                f"so it cannot be matched ({base} with {adapter})",
                "use files whose metadata say what they are",
                severity="warning",
            )
        elif adapter != base:
            yield Fault(
                f"the adapter is of {adapter}, the checkpoint of {base}",
                f"use an adapter made for {base}, or a checkpoint of {adapter}",
            )
    if s.lora_strength is not None and s.preset_lora_strength is not None:
        difference = abs(s.lora_strength - s.preset_lora_strength)
        # Written so that NaN is a finding.
        if not difference <= 0.05:
            yield Fault(
                f"adapter strength {s.lora_strength:g}; the preset's recipe uses {s.preset_lora_strength:g}",
                f"use {s.preset_lora_strength:g}: weaker loses the looks, stronger lets the sheet leak",
                severity="warning",
            )
    if s.guidance == 1 and s.negative_prompt.strip():
        yield Fault(
            f"guidance 1 leaves the negative prompt ({len(s.negative_prompt.split())} words) without effect",
            "raise the guidance, or drop the negative prompt",
            severity="warning",
        )


@rule("V03", "the sheet's latents are cut off before the decoder", "error")
def sheet_is_cut_off(run: _Run) -> Iterator[Fault]:
    """Latents of the reference that reach the decoder become frames: the clip ends in the sheet."""
    s = run.settings
    wanted = (s.frames - 1) // TEMPORAL + 1
    if s.decoded_latents is not None and s.decoded_latents > wanted:
        yield Fault(
            f"{s.decoded_latents} latent frames are decoded where {s.frames} frames have {wanted}: "
            f"{s.decoded_latents - wanted} of them are the sheet's",
            f"decode the first {wanted} latent frames only",
        )
