"""The `generate` command: a scene or a sheet becomes a clip, checked before the large weights are loaded."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from castsheet.cli import show
from castsheet.clip import Clip, clip_files
from castsheet.elements import Scene
from castsheet.errors import LintRefused, PromptError, SettingsError
from castsheet.jobs.inputs import load_source, sheet_of
from castsheet.jobs.takes import Keep, choose
from castsheet.lint.findings import worst
from castsheet.machine.device import pick_device
from castsheet.machine.processes import World, world
from castsheet.machine.progress import progress
from castsheet.pipeline import Castsheet, read_prompt
from castsheet.sampling.parallel import SharedPasses, Split
from castsheet.sheet.manifest import Sheet


@dataclass(frozen=True)
class Request:
    """What the user asked for, before presets, bundle and scene have filled it up."""

    source: Path
    out: Path
    action: str | None = None
    prompt: str | None = None
    model: str = "mini"
    text_encoder: Path | None = None
    adapters: tuple[tuple[Path, float | None], ...] = ()
    first_frame: Path | None = None
    preset: str | None = None
    seed: int | None = None
    device: str = "auto"
    dtype: str = "auto"
    memory: str = "auto"
    attention: str = "auto"
    split: Split = "auto"
    cache_dir: Path | None = None
    force: bool = False
    takes: int = 1
    keep: Keep = "best"
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """The request, filled up from the scene: a preset's name, what overrides it, a seed, an action."""

    preset: str | None
    overrides: dict[str, Any]
    seed: int
    action: str


def run(request: Request, console: Console) -> dict[str, Path]:
    """Do what was asked.

    Returns:
        What was written, by role.

    Raises:
        LintRefused: the checks found an error and force is off.
        CastsheetError: anything else that the user can mend.
    """
    with world(pick_device(request.device)) as where:
        if where.size > 1 and request.takes > 1:
            raise SettingsError(
                f"{request.takes} takes in {where.size} processes that share one clip",
                remedy="drop torchrun, or make the takes one by one with other seeds",
            )
        request = replace(request, device=str(where.device))
        return _run(request, console if where.main else Console(quiet=True), where)


def _run(request: Request, console: Console, where: World) -> dict[str, Path]:
    """`run` in one of the processes that torchrun may have started; the first one writes."""
    clip_files(request.out)  # a wrong file name is told now, not after the sampling
    source = load_source(request.source)
    plan = settle(request, source)
    with progress("opening the model", console=console):
        castsheet = open_model(request)
        grid = castsheet.models.source.cell
    if where.size > 1:
        castsheet.models.run = SharedPasses(where, request.split)
    settings = castsheet.settings(plan.preset, **plan.overrides)
    sheet = sheet_of(source, (settings.width, settings.height), grid)
    words = read_prompt(sheet, plan.action, request.prompt, settings)

    show.doubts(sheet, console)
    found = castsheet.findings(sheet, words, settings, baseline=plan.preset)
    show.findings(found, console, brief=True)
    if worst(found) == "error" and not request.force:
        raise LintRefused(
            "the checks above found errors", remedy="follow their advice, or add --force to go on regardless"
        )
    placed = castsheet.models.settle(settings)
    if placed is not None:
        console.print(f"memory: {placed.describe()}")
    written: dict[str, Path] = {}
    if isinstance(source, Scene) and where.main:
        written["sheet"], _ = sheet.save(request.out.with_suffix(".sheet.png"))
        sheet = replace(sheet, path=written["sheet"])

    def take(seed: int) -> Clip:
        with progress("sampling", settings.steps, console=console) as advance:
            return castsheet(
                sheet,
                preset=plan.preset,
                seed=seed,
                first_frame=request.first_frame,
                prompt=words,
                on_step=lambda step, _total, _latents: advance(step),
                check=True,  # once more, so that the findings stand in the sidecar
                force=request.force,
                **plan.overrides,
            )

    if request.takes == 1:
        clip = take(plan.seed)
        if not where.main:
            return {}
    else:
        clip, more = choose(take, sheet, request.out, plan.seed, request.takes, request.keep, console)
        written |= more
    files = clip.save(request.out)
    return {**written, "clip": files.video, "contact": files.contact, "sidecar": files.sidecar}


def open_model(request: Request) -> Castsheet:
    """Open the request's model.

    Raises:
        CheckpointError, AdapterError, TextEncoderError, FamilyError, SettingsError: see `Castsheet.load`.
    """
    return Castsheet.load(
        request.model,
        text_encoder=request.text_encoder,
        adapters=request.adapters,
        device=request.device,
        dtype=request.dtype,
        memory=request.memory,
        attention=request.attention,
        cache_dir=request.cache_dir,
    )


def settle(request: Request, source: Scene | Sheet) -> Plan:
    """Join the command line and the scene; the command line wins.

    Raises:
        PromptError: nothing says what happens in the clip.
        SettingsError: the scene's seed or preset is not one.
    """
    scene = source if isinstance(source, Scene) else None
    stated = dict(scene.settings) if scene else {}
    stated.pop("layout", None)  # the sheet's own settings; `compose` has read them
    name, seed = stated.pop("preset", None), stated.pop("seed", 0)
    if not (name is None or isinstance(name, str)) or type(seed) is not int:
        raise SettingsError(
            f"{request.source}: settings: preset = {name!r}, seed = {seed!r}",
            remedy="give the preset's name and a whole number",
        )
    action = request.action if request.action is not None else (scene.action if scene else "")
    if not action.strip() and request.prompt is None:
        raise PromptError(
            "nothing says what happens in the clip",
            remedy='add --action "...", or an action: line to the scene file',
        )
    return Plan(
        preset=request.preset or name,
        overrides={**stated, **request.settings},
        seed=seed if request.seed is None else request.seed,
        action=action,
    )
