"""A request: a scene or a sheet, and what to make of it. It is settled once, checked once, then made.

A request is plain data, the same from a command line, a page's queue or a node: `model_dump_json` writes it,
`Request.read` reads it. `prepare` adds what the scene, the model's bundle and the preset say; `run` makes the
clip.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from castsheet.clip import Clip, clip_bytes, clip_files
from castsheet.elements import Scene
from castsheet.errors import PromptError, SettingsError
from castsheet.jobs.inputs import files_of, load_source, sheet_of, stated
from castsheet.jobs.saving import save_somewhere
from castsheet.jobs.takes import Keep, choose, take_outputs
from castsheet.jobs.toy import toy_note
from castsheet.jobs.watcher import Watcher
from castsheet.loading.options import Loading
from castsheet.loading.source import Source
from castsheet.machine.device import pick_device
from castsheet.machine.outputs import Output, require_space, try_outputs
from castsheet.machine.processes import World, world
from castsheet.machine.wording import first_mistake
from castsheet.media.encoding import Encoder
from castsheet.pipeline import Castsheet
from castsheet.run import Run
from castsheet.sampling.denoiser import run_alone
from castsheet.sampling.parallel import SharedPasses
from castsheet.settings import Settings, override
from castsheet.settings.preview import preview_of
from castsheet.sheet.manifest import Sheet, sheet_outputs


class Request(BaseModel):
    """What the user asked for, before scene, bundle and preset complete it.

    Attributes:
        source: a scene file, a sheet, or any picture used as a sheet.
        out: the clip, .mp4; for a list of shots, the folder.
        action: what happens; or `prompt`, a whole two-part prompt. With None the scene says it.
        model, text_encoder, vae, adapters: see `Castsheet.load`; adapters are files with or without a
            strength.
        first_frame: a picture that the clip starts with.
        preset, seed: with None the scene says them, else the model.
        loading: how the model is opened.
        force: go on although a check found an error.
        overwrite: replace inputs, and files that Castsheet did not write.
        trained: an adapter of the user's own, used as it was trained; see `Source.open`.
        preview: make the run at cheap settings; see `castsheet.settings.preview`.
        takes: how many takes to make at most.
        keep: "made" stops at the first take that passes, and keeps every take that was made; "all" makes and
            keeps every take; "best" keeps the best only.
        settings: fields of `castsheet.settings.Settings` by name; they win over scene, bundle and preset.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: Path
    out: Path
    action: str | None = None
    prompt: str | None = None
    model: str = "mini"
    text_encoder: Path | None = None
    vae: Path | None = None
    adapters: tuple[tuple[Path, float | None], ...] = ()
    trained: tuple[Path, float | None] | None = None
    first_frame: Path | None = None
    preset: str | None = None
    preview: bool = False
    seed: int | None = Field(default=None, strict=True)
    loading: Loading = Loading()
    force: bool = False
    overwrite: bool = False
    takes: int = Field(default=1, ge=1)
    keep: Keep = "made"
    settings: dict[str, Any] = {}

    @classmethod
    def read(cls, text: str | bytes) -> Request:
        """A request from its JSON.

        Raises:
            SettingsError: a field is wrong; the message names it.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            where, what, remedy = first_mistake(error)
            raise SettingsError(f"{where or 'the request'}: {what}", remedy=remedy) from error


def run(request: Request, watcher: Watcher) -> dict[str, Path]:
    """Make the clip of a request, or the best of its takes.

    Returns:
        The files that were written, by role.

    Raises:
        LintRefused: the checks found an error and `force` is off.
        CastsheetError: anything else that the user can mend.
    """
    with world(pick_device(request.loading.device)) as where:
        if where.size > 1 and request.takes > 1:
            raise SettingsError(
                f"{request.takes} takes in {where.size} processes that share one clip",
                remedy="drop torchrun, or make the takes one by one with other seeds",
            )
        return _run(request, watcher if where.main else Watcher(), where)


def _run(request: Request, watcher: Watcher, where: World) -> dict[str, Path]:
    """`run` in one of the processes that torchrun may have started; the first one writes."""
    clip_files(request.out)  # refuses a wrong file name now, not after the sampling
    source = load_source(request.source)
    request = filled(request, source)
    if where.main:
        inputs = inputs_of(request, source)
        try_outputs(_outputs(request, source), inputs=inputs, overwrite=request.overwrite)
    with watcher.working("opening the model"):
        castsheet = open_model(request, where)
    asked = prepare(castsheet, request, source)
    tell(castsheet, request, asked, watcher)
    castsheet.refuse(asked, force=request.force)
    kept = 1 if request.keep == "best" or request.takes == 1 else 1 + request.takes
    size = clip_bytes(*asked.settings.size, asked.settings.frames)
    require_space(request.out.parent, kept * size)
    placed = castsheet.models.settle(asked.settings)
    if placed is not None:
        watcher.said(f"memory: {placed.describe()}")
    written: dict[str, Path] = {}
    if isinstance(source, Scene) and where.main:
        written["sheet"], _ = asked.sheet.save(_sheet_file(request), overwrite=request.overwrite)
        asked = replace(asked, sheet=replace(asked.sheet, path=written["sheet"]))
    with castsheet.encoder() as encoder:
        if request.takes == 1:
            clip = make(castsheet, asked, watcher, encoder=encoder if where.main else None)
            if not where.main:
                return {}
        else:
            saving = None if request.keep == "best" else encoder
            clip, more = choose(
                lambda one, name: make(castsheet, one, watcher, f"sampling {name}", saving),
                asked,
                request,
                watcher,
            )
            written |= more
        files, elsewhere = save_somewhere(clip, request.out, overwrite=request.overwrite)
    if elsewhere is not None:
        raise elsewhere
    return {**written, "clip": files.video, "contact": files.contact, "sidecar": files.sidecar}


def inputs_of(request: Request, source: Scene | Sheet) -> list[Path | None]:
    """The files that a request reads, which no output may replace."""
    own = [] if request.trained is None else [request.trained]
    adapters = [path for path, _ in (*request.adapters, *own)]
    return [*files_of(request.source, source), request.first_frame, *adapters]


def tell(castsheet: Castsheet, request: Request, asked: Run, watcher: Watcher) -> None:
    """Tell a watcher what is going to be made, and what may disappoint whoever asked for it."""
    watcher.prepared(asked)
    source = castsheet.models.source
    note = toy_note(source.name, asked.sheet)
    if note is not None:
        watcher.said(note, "look")
    if source.trained is not None:
        watcher.said(f"adapter: {source.trained_note}")
    if request.preview:
        watcher.said(preview_of(_full(castsheet, request), source.cell).describe())


def _outputs(request: Request, source: Scene | Sheet) -> list[Output]:
    """The files that a request for one clip writes."""
    outputs = clip_files(request.out).outputs
    if isinstance(source, Scene):
        outputs += sheet_outputs(_sheet_file(request))
    return outputs + (take_outputs(request) if request.takes > 1 else [])


def _sheet_file(request: Request) -> Path:
    return request.out.with_suffix(".sheet.png")


def open_model(request: Request, where: World) -> Castsheet:
    """Open the request's model for this process.

    Raises:
        CheckpointError, AdapterError, TextEncoderError, FamilyError, SettingsError: see `Castsheet.load`.
    """
    files = (request.model, request.text_encoder, request.adapters, request.vae)
    source = Source.open(*files, trained=request.trained)
    passes = SharedPasses(where, request.loading.split) if where.size > 1 else run_alone
    return Castsheet.open(source, request.loading, where.device, passes)


def filled(request: Request, source: Scene | Sheet) -> Request:
    """The request with the scene's words and settings added; the request's own win.

    Raises:
        PromptError: neither says what happens in the clip.
        SettingsError: the scene's seed is no number, or its preset no name.
    """
    scene = source if isinstance(source, Scene) else None
    name, seed, settings = stated(request.source, scene) if scene else (None, 0, {})
    action = request.action if request.action is not None else (scene.action if scene else "")
    if not action.strip() and request.prompt is None:
        raise PromptError(
            "nothing says what happens in the clip",
            remedy='add --action "...", or an action: line to the scene file',
        )
    return request.model_copy(
        update={
            "preset": name if request.preset is None else request.preset,
            "seed": seed if request.seed is None else request.seed,
            "action": action,
            "settings": {**settings, **request.settings},
        }
    )


def prepare(castsheet: Castsheet, request: Request, source: Scene | Sheet, sheet: Sheet | None = None) -> Run:
    """Settle a request that `filled` completed: its settings, sheet and prompt, and what the checks say.

    Args:
        sheet: the source's sheet, if it is composed already.

    Raises:
        CastsheetError: an input is not usable.
    """
    usual, settings, cell = (
        castsheet.settings(request.preset),
        _full(castsheet, request),
        castsheet.models.source.cell,
    )
    if sheet is None:
        sheet = sheet_of(source, (settings.width, settings.height), cell)
    if request.preview:
        usual = settings = preview_of(settings, cell).settings
    return castsheet.prepare(
        sheet,
        request.action or "",
        settings=settings,
        usual=usual,
        seed=request.seed or 0,
        first_frame=request.first_frame,
        prompt=request.prompt,
    )


def _full(castsheet: Castsheet, request: Request) -> Settings:
    """The settings of the clip itself, of which a preview is made."""
    return override(castsheet.settings(request.preset), request.settings)


def make(
    castsheet: Castsheet,
    asked: Run,
    watcher: Watcher,
    what: str = "sampling",
    encoder: Encoder | None = None,
) -> Clip:
    """Make a settled run, and tell the watcher of each step.

    Args:
        what: what the work is called.
        encoder: see `Castsheet.make`.
    """
    with watcher.working(what, asked.settings.all_steps) as advance:

        def stepped(step: int, steps: int, latents: Any) -> None:
            advance(step)
            watcher.stepped(step, steps, latents)
            watcher.drawn(step, steps, lambda: castsheet.picture(latents))

        return castsheet.make(asked, on_step=stepped, encoder=encoder)
