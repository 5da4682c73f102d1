"""Checks of a video's settings before minutes are spent on them: sizes, frame counts, adapters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from castsheet.lint.findings import Fault, Finding, rule
from castsheet.ltx.adapters.distilled import Distilled
from castsheet.ltx.family import UNKNOWN, adapter_note, family_of
from castsheet.sampling.levels import REFINING
from castsheet.settings import CARD, PRESETS, Settings
from castsheet.settings.kinds import Stage

TEMPORAL = 8  # frames a latent frame, in every LTX-2 checkpoint
MIN_FRAMES = 121
LONG_FRAMES = 2 * MIN_FRAMES - 1
FPS = 24.0


@dataclass(frozen=True)
class _Run:
    settings: Settings
    usual: Settings
    grid: int
    family: str
    adapters: tuple[str, ...]


def lint_video(
    settings: Settings, usual: Settings, *, grid: int, family: str, adapters: tuple[str, ...] = ()
) -> list[Finding]:
    """Run every rule of a run's settings.

    Args:
        usual: the preset that the settings came from, at the size that the adapter was trained at.
        grid: pixels a latent token spans; 32 for the full-size model.
        family, adapters: the families that the checkpoint and each adapter declare ("ltx-2.3", ...).
    """
    run = _Run(settings, usual, grid, family, adapters)
    return [
        finding
        for check in (shape_is_known, adapter_fits, refined_by_a_distilled_model)
        for finding in check(run)
    ]


def recipe_of(family: str) -> Settings:
    """The recipe of a family's reference-sheet adapter, on the family's guided model."""
    release = family_of(family).release
    variant = None if release is None else release.variants.get("dev")
    return CARD if variant is None else PRESETS[variant.preset]


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
    """Frames 8 k + 1 and sides on the grid, or an error; 121 frames, 24 fps and the adapter's own
    size, or a warning."""
    s, usual = run.settings, run.usual
    for name, value in (("width", s.width), ("height", s.height)):
        if value % run.grid:
            yield _bad_side(name, value, run.grid)
    if s.frames % TEMPORAL != 1:
        yield _bad_frames(s.frames)
    elif s.frames < MIN_FRAMES:
        yield Fault(
            f"{s.frames} frames: the adapter was trained at {MIN_FRAMES}",
            f"use {MIN_FRAMES} frames or more, and cut the clip",
            severity="warning",
        )
    elif s.frames >= LONG_FRAMES:
        yield Fault(
            f"{s.frames} frames: the adapter was trained at {MIN_FRAMES}, and long clips may lose the looks",
            f"make shots of {MIN_FRAMES} frames that go on from each other: --shots, continues: true",
            severity="warning",
        )
    if s.fps != FPS:
        yield Fault(
            f"{s.fps:g} fps: the adapter was trained at {FPS:g}, motion would change its speed",
            f"use {FPS:g} fps",
            severity="warning",
        )
    if (s.width, s.height) != (usual.width, usual.height):
        yield Fault(
            f"{s.width} x {s.height} is not the size that the adapter was trained at "
            f"({usual.width} x {usual.height})",
            f"use {usual.width} x {usual.height} where the looks matter most",
            severity="warning",
        )


@rule("V02", "adapter, strength and guidance fit the checkpoint and the preset", "error")
def adapter_fits(run: _Run) -> Iterator[Fault]:
    """Families agree, or an error; the preset's strength, a negative prompt that is heard, or a warning."""
    s, usual, base = run.settings, run.usual, run.family
    for adapter in run.adapters:
        if UNKNOWN in (base, adapter):
            yield Fault(
                f"the family of the {'adapter' if adapter == UNKNOWN else 'checkpoint'} is not known, "
                f"so it cannot be matched ({base} with {adapter})",
                "find out which model it was made for; its metadata (base_model) or its file name may say so",
                severity="warning",
            )
        elif adapter != base:
            note = adapter_note(adapter, base)
            yield Fault(
                f"the adapter is of {adapter}, the checkpoint of {base}" + (f": {note}" if note else ""),
                f"use an adapter made for {base}, or a checkpoint of {adapter}",
                severity="error" if note is None else "warning",
            )
    if run.adapters and abs(s.lora_strength - usual.lora_strength) > 0.05:
        yield Fault(
            f"adapter strength {s.lora_strength:g}; the preset's recipe uses {usual.lora_strength:g}",
            f"use {usual.lora_strength:g}: weaker loses the looks, stronger lets the sheet leak",
            severity="warning",
        )
    if s.guidance == 1 and s.negative_prompt.strip():
        yield Fault(
            f"guidance 1 leaves the negative prompt ({len(s.negative_prompt.split())} words) without effect",
            "raise the guidance, or drop the negative prompt",
            severity="warning",
        )


@rule("V05", "a stage that enlarges is refined by a distilled model", "warning")
def refined_by_a_distilled_model(run: _Run) -> Iterator[Fault]:
    """Stages from an enlargement on are not guided: a model that needs guidance must be distilled there.

    What belongs to such a stage is not given without one.
    """
    s = run.settings
    for name in ("upsampler", "refining_adapters"):
        if getattr(s, name) and not s.enlarges:
            yield Fault(
                f"{name} is given, and no stage enlarges: it is not used",
                f"give a stage that does, such as --stages '{Stage(REFINING, 2.0)}', or leave it out",
            )
    if s.enlarges and s.guidance != 1 and not s.refining_adapters:
        yield Fault(
            f"guidance {s.guidance:g} ends where a stage enlarges: few steps of a model that is not distilled"
            " leave the clip blurred",
            "add the model's distilled adapter with refining_adapters, or use a distilled checkpoint and"
            " guidance 1",
        )


def lint_distilled(settings: Settings, adapters: Mapping[str, Distilled | None]) -> list[Finding]:
    """Check a run that has distilled adapters.

    Args:
        adapters: all of the run, by file name, with what they say of their distillation.
    """
    return distilled_as_trained((settings, adapters))


@rule("V04", "a distilled adapter runs as it was trained", "warning")
def distilled_as_trained(run: tuple[Settings, Mapping[str, Distilled | None]]) -> Iterator[Fault]:
    """No guidance beside the one that it has learned, its own noise levels, its teacher's adapters."""
    settings, adapters = run
    as_trained = "use --preset fast, or leave the adapter out"
    for name, one in adapters.items():
        if one is None:
            continue
        levels = one.settings.get("sigmas")
        if settings.guidance != 1 or settings.stg_scale != 0:
            yield Fault(
                f"{name} has learned its teacher's guidance, and the run guides once more", as_trained
            )
        elif levels is not None and list(settings.sigmas or ()) != list(levels):
            told = f"{name} was trained for {len(levels) - 1} steps at noise levels of its own"
            yield Fault(f"{told}; the run makes {settings.steps} at others", as_trained)
        if missing := sorted(set(one.beside) - set(adapters)):
            yield Fault(
                f"{name} was trained beside {', '.join(missing)}, which the run does not have",
                "add it with --adapter",
            )


def lint_reader(adapters: Mapping[str, Distilled | None]) -> list[Finding]:
    """Check that a run has an adapter to read the sheet. `adapters`: as for `lint_distilled`."""
    return sheet_is_read(adapters)


@rule("V06", "an adapter reads the sheet", "warning")
def sheet_is_read(adapters: Mapping[str, Distilled | None]) -> Iterator[Fault]:
    """A model without one takes the sheet for the clip's own pictures, and shows it from end to end."""
    if not any(one is None and "distilled" not in name for name, one in adapters.items()):
        yield Fault(
            "no adapter of this run reads a sheet: the clip may become the sheet itself",
            "add the Ingredients adapter, or one of your own, with --adapter; a checkpoint that has one"
            " merged in needs none",
        )
