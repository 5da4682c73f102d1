"""`generate --shots FILE`: makes every shot of a list from one sheet, resumable, with one page over all."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch

from castsheet import __version__
from castsheet.clip import clip_bytes
from castsheet.elements import Scene
from castsheet.errors import CastsheetError, SettingsError
from castsheet.jobs.film import Part, join
from castsheet.jobs.folder import PAGE, ShotFolder, refuse_shots
from castsheet.jobs.inputs import load_source, sheet_of
from castsheet.jobs.page import page
from castsheet.jobs.request import Request, filled, open_model, prepare, tell
from castsheet.jobs.shotlist import Shot, load_list
from castsheet.jobs.shotmaker import OpenShotMaker, Ready, ShotMaker, alone, begun, last_of
from castsheet.jobs.watcher import Watcher
from castsheet.jobs.workers import After, Made, OpenMaker, Pack, here
from castsheet.machine.files import sha256
from castsheet.machine.outputs import require_space
from castsheet.machine.processes import started
from castsheet.media.provenance import dump
from castsheet.pipeline import Castsheet
from castsheet.run import Run, run_texts
from castsheet.settings import override
from castsheet.sheet.manifest import Sheet, sheet_outputs

ENCODED_AT_ONCE = 32  # prompts; their contexts are in memory at the same time


class ShotsFailed(CastsheetError):
    """Some shots of a list could not be made; the others are finished."""


class Spread(Protocol):
    """Hands jobs to makers in other processes, as `on_ray` does with its cluster."""

    def __call__(
        self, open_maker: OpenMaker[Ready], jobs: Sequence[Ready], *, pack: Pack[Ready], after: After[Ready]
    ) -> Iterator[Made[Ready]]: ...


def run_shots(
    request: Request,
    file: Path,
    watcher: Watcher,
    spread: Spread | None = None,
    castsheet: Castsheet | None = None,
) -> dict[str, Path]:
    """Make those shots of a list that are not finished yet.

    Args:
        request: as for one clip; `out` names the folder, `takes` is for shots that do not set their own.
        spread: workers that make the shots instead of this process.
        castsheet: the request's model, where it is open already.

    Returns:
        The page, the film if the list asks for one, and the sheet of a scene, by role.

    Raises:
        ShotsFailed: some shots could not be made; the message names them.
        LintRefused: the checks found an error in a shot and `force` is off; no shot was made.
        CastsheetError: anything else that the user can mend.
    """
    _refuse(request)
    listed, source = load_list(file), load_source(request.source)
    shots = listed.shots
    beside = sheet_outputs(request.out / "sheet.png") if isinstance(source, Scene) else []
    refuse_shots(request.out, [shot.id for shot in shots], beside)
    if castsheet is None:
        with watcher.working("opening the model"):
            castsheet = open_model(request, alone(request))
    settings = override(castsheet.settings(request.preset), request.settings)
    sheet = sheet_of(source, (settings.width, settings.height), castsheet.models.source.cell)
    befores = [None, *(shot.id for shot in shots)]
    ready = [
        _ready(castsheet, request, source, sheet, shot, before)
        for shot, before in zip(shots, befores, strict=False)
    ]
    tell(castsheet, request, ready[0].run, watcher)
    with ShotFolder.open(request.out, watcher.said) as folder:
        written: dict[str, Path] = {}
        if isinstance(source, Scene):
            written["sheet"], _ = sheet.save(request.out / "sheet.png")
            sheet = replace(sheet, path=written["sheet"])
            ready = [replace(one, run=replace(one.run, sheet=sheet)) for one in ready]
        _make_missing(castsheet, request, _List(shots, ready, sheet, folder), watcher, spread)
        if listed.film:
            with watcher.working("joining the film"):
                parts = [Part(request.out / one.id / f"{one.id}.mp4", one.after is not None) for one in ready]
                written["film"] = folder.film(lambda path: join(parts, path))
    return {**written, "page": request.out / PAGE}


@dataclass(frozen=True)
class _List:
    """The shots of a list, everything settled, and the folder that they go into."""

    shots: Sequence[Shot]
    ready: Sequence[Ready]
    sheet: Sheet
    folder: ShotFolder

    def found(self) -> dict[str, dict[str, Any] | None]:
        """The records of finished shots; a shot whose opening picture changed is not finished."""
        found: dict[str, dict[str, Any] | None] = {}
        for one in self.ready:
            record = self.folder.record(one.id, one.key)
            if record is not None and one.after is not None:
                before = last_of(self.folder.path, one.after)
                fits = found[one.after] is not None and before.is_file()
                record = record if fits and record.get("opening") == sha256(before) else None
            found[one.id] = record
        return found


def _make_missing(
    castsheet: Castsheet, request: Request, asked: _List, watcher: Watcher, spread: Spread | None
) -> None:
    """Make the shots that are not finished, and write the page after each.

    Raises:
        ShotsFailed: see `run_shots`.
    """
    shots, folder, sheet = asked.shots, asked.folder, asked.sheet
    found = asked.found()
    todo = [one for one in asked.ready if found[one.id] is None]
    if len(todo) < len(shots):
        watcher.said(f"{len(shots) - len(todo)} of {len(shots)} shots are there already", "quiet")
    require_space(request.out, sum(_bytes(one) for one in todo))
    folder.write({PAGE: page(shots, found, sheet)})
    failed: list[CastsheetError] = []
    with watcher.working("shots", len(todo)) as advance:
        for number, (one, result) in enumerate(_made(castsheet, request, sheet, todo, spread, watcher), 1):
            if isinstance(result, CastsheetError):
                failed.append(result)
                watcher.said(f"{one.id}: {result}", "bad")
            else:
                folder.publish(one.id, result)
                found[one.id] = record = folder.record(one.id, one.key)
                folder.write({PAGE: page(shots, found, sheet)})
                if record is not None:
                    watcher.said(f"{one.id}: {record['reason']}", "quiet")
            advance(number)
    for name in folder.strangers(found):
        watcher.said(f"{request.out / name} is not of this list and was left alone", "quiet")
    if failed:
        raise ShotsFailed(
            f"{len(failed)} of {len(shots)} shots could not be made; the first: {failed[0].what}",
            remedy=f"{failed[0].remedy}; then run the same command: finished shots are kept",
        )


def _bytes(one: Ready) -> int:
    """An estimate of what a shot's files take."""
    settings, clips = one.run.settings, 1 if one.takes == 1 or one.keep == "best" else 1 + one.takes
    return clips * clip_bytes(*settings.size, settings.frames)


def _made(
    castsheet: Castsheet,
    request: Request,
    sheet: Sheet,
    todo: list[Ready],
    spread: Spread | None,
    watcher: Watcher,
) -> Iterator[Made[Ready]]:
    """The shots in the order in which they are finished.

    All prompts are encoded here first, into the cache: the text encoder is large and is loaded once. Workers
    get the contexts of a shot together with the shot, and the picture that it starts from: a shot that goes
    on from another is begun when that one's files are there.
    """
    _encode(castsheet, [one.run for one in todo])
    if spread is None:
        yield from here(lambda: ShotMaker(castsheet, sheet, request.out, watcher), todo)
        return

    def packed(one: Ready) -> Ready:
        one = begun(castsheet, request.out, one)
        contexts = tuple(context.to(torch.device("cpu")) for context in castsheet.contexts(one.run))
        return replace(one, run=replace(one.run, contexts=contexts))

    yield from spread(OpenShotMaker(request, sheet), todo, pack=packed, after=lambda one: one.after)


def _encode(castsheet: Castsheet, runs: Sequence[Run]) -> None:
    """Encode the prompts of all runs into the cache."""
    for audio in (False, True):
        texts = [text for run in runs if run.settings.audio is audio for text in run_texts(run)]
        texts = list(dict.fromkeys(texts))
        for start in range(0, len(texts), ENCODED_AT_ONCE):
            castsheet.models.contexts(texts[start : start + ENCODED_AT_ONCE], audio=audio)


def _refuse(request: Request) -> None:
    """Refuse what does not go together with a shot list."""
    if request.out.suffix:
        raise SettingsError(f"{request.out} looks like a file", remedy="a shot list fills a folder: -o shots")
    if started() > 1:
        raise SettingsError(
            f"a shot list in {started()} processes of torchrun, which share one clip",
            remedy="drop torchrun; --workers spreads shots over GPUs and machines",
        )


def _ready(
    castsheet: Castsheet,
    request: Request,
    source: Scene | Sheet,
    sheet: Sheet,
    shot: Shot,
    before: str | None,
) -> Ready:
    """Settle a shot, and check that it can be made, before the first shot is begun."""
    try:
        asked = filled(
            request.model_copy(
                update={
                    "action": request.action if shot.action is None else shot.action,
                    "prompt": shot.prompt,
                    "seed": request.seed if shot.seed is None else shot.seed,
                    "first_frame": shot.first_frame,
                    "settings": {**shot.settings, **request.settings},
                }
            ),
            source,
        )
        run = prepare(castsheet, asked, source, sheet)
        castsheet.refuse(run, force=request.force)
    except CastsheetError as error:
        raise type(error)(f"shot {shot.id}: {error.what}", remedy=error.remedy) from error
    after = before if shot.continues else None
    models, takes = castsheet.models, request.takes if shot.takes is None else shot.takes
    decides = {
        "castsheet": __version__,
        "model": models.source.record(run.settings),
        "device": models.device.type,
        "dtype": models.numerics,
        "settings": asdict(run.settings),
        "prompt": run.words.text,
        "sheet": sheet.sha256,
        "first_frame": run.opening_sha256,
        "seed": run.seed,
        "takes": takes,
        "keep": request.keep,
        "after": after,
    }
    key = hashlib.sha256(dump(decides).encode()).hexdigest()
    return Ready(shot.id, run, takes, key, request.keep, after)
