"""`generate --shots FILE`: makes every shot of a list from one sheet, resumable, with one page over all."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from castsheet import __version__
from castsheet.clip import clip_bytes
from castsheet.elements import Scene
from castsheet.errors import CastsheetError, SettingsError
from castsheet.jobs.folder import PAGE, RECORD, Files, ShotFolder, refuse_shots
from castsheet.jobs.inputs import load_source, sheet_of
from castsheet.jobs.page import page
from castsheet.jobs.request import Request, filled, open_model, prepare
from castsheet.jobs.shotlist import Shot, load_shots
from castsheet.jobs.takes import told
from castsheet.jobs.watcher import Watcher
from castsheet.jobs.workers import Made, OpenMaker, Pack, here
from castsheet.judge import report
from castsheet.judge.judge import Judge, Options
from castsheet.judge.reroll import reroll
from castsheet.machine.device import pick_device
from castsheet.machine.outputs import require_space
from castsheet.machine.processes import World, started
from castsheet.machine.replace import scratch
from castsheet.media.provenance import dump, pixels_sha256
from castsheet.pipeline import Castsheet
from castsheet.run import Run, run_texts
from castsheet.settings import override
from castsheet.sheet.manifest import Sheet, sheet_outputs

ENCODED_AT_ONCE = 32  # prompts; their contexts are in memory at the same time


class ShotsFailed(CastsheetError):
    """Some shots of a list could not be made; the others are finished."""


@dataclass(frozen=True)
class Ready:
    """A shot with everything settled; `key` is a hash of everything that the result depends on."""

    id: str
    run: Run
    takes: int
    key: str


class Spread(Protocol):
    """Hands jobs to makers in other processes, as `on_ray` does with its cluster."""

    def __call__(
        self, open_maker: OpenMaker[Ready], jobs: Sequence[Ready], *, pack: Pack[Ready]
    ) -> Iterator[Made[Ready]]: ...


@dataclass(frozen=True)
class OpenShotMaker:
    """Opens a maker of shots. It is sent to workers, which need the model's files under the same paths."""

    request: Request
    sheet: Sheet

    def __call__(self) -> ShotMaker:
        return ShotMaker(open_model(self.request, _alone(self.request)), self.sheet)


class ShotMaker:
    """Makes shots with one model: makes and judges takes, and returns the files of the best."""

    def __init__(self, castsheet: Castsheet, sheet: Sheet) -> None:
        self._castsheet, self._sheet, self._judge = castsheet, sheet, Judge(sheet, Options.installed())

    def __call__(self, ready: Ready) -> Files:
        """The shot's files by name."""
        run = ready.run
        choice = reroll(
            lambda seed: self._castsheet.make(replace(run, seed=seed)),
            lambda clip: self._judge(clip, ready.id),
            seed=run.seed,
            takes=ready.takes,
        )
        clip, judgement = told(choice), choice.best.judgement
        with scratch() as folder:
            saved = clip.save(folder / f"{ready.id}.mp4")
            page = report.write(folder / "judgement.html", self._sheet, [(clip, judgement)])
            parts = (saved.video, saved.contact, saved.sidecar, page)
            files = {path.name: path.read_bytes() for path in parts}
        record = {
            "version": 1,
            "key": ready.key,
            "shot": ready.id,
            "action": run.words.action,
            "seed": choice.best.seed,
            "takes": len(choice.takes),
            "passed": judgement.passed,
            "score": judgement.score,
            "verdict": judgement.verdict,
            "reason": choice.reason,
            "files": sorted(files),
        }
        return {**files, RECORD: dump(record).encode()}


def run_shots(
    request: Request, file: Path, watcher: Watcher, spread: Spread | None = None
) -> dict[str, Path]:
    """Make those shots of a list that are not finished yet.

    Args:
        request: as for one clip; `out` names the folder, `takes` is for shots that do not set their own.
        spread: workers that make the shots instead of this process.

    Returns:
        The page, and the sheet of a scene, by role.

    Raises:
        ShotsFailed: some shots could not be made; the message names them.
        LintRefused: the checks found an error in a shot and `force` is off; no shot was made.
        CastsheetError: anything else that the user can mend.
    """
    _refuse(request)
    shots, source = load_shots(file), load_source(request.source)
    beside = sheet_outputs(request.out / "sheet.png") if isinstance(source, Scene) else []
    refuse_shots(request.out, [shot.id for shot in shots], beside)
    with watcher.working("opening the model"):
        castsheet = open_model(request, _alone(request))
    settings = override(castsheet.settings(request.preset), request.settings)
    sheet = sheet_of(source, (settings.width, settings.height), castsheet.models.source.cell)
    ready = [_ready(castsheet, request, source, sheet, shot) for shot in shots]
    with ShotFolder.open(request.out, watcher.said) as folder:
        written: dict[str, Path] = {}
        if isinstance(source, Scene):
            written["sheet"], _ = sheet.save(request.out / "sheet.png")
            sheet = replace(sheet, path=written["sheet"])
            ready = [replace(one, run=replace(one.run, sheet=sheet)) for one in ready]
        found = {one.id: folder.record(one.id, one.key) for one in ready}
        todo = [one for one in ready if found[one.id] is None]
        if len(todo) < len(shots):
            watcher.said(f"{len(shots) - len(todo)} of {len(shots)} shots are there already", "quiet")
        sizes = [one.run.settings for one in todo]
        require_space(request.out, sum(clip_bytes(one.width, one.height, one.frames) for one in sizes))
        folder.write({PAGE: page(shots, found, sheet)})
        failed: list[CastsheetError] = []
        with watcher.working("shots", len(todo)) as advance:
            for number, (one, result) in enumerate(_made(castsheet, request, sheet, todo, spread), 1):
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
    return {**written, "page": request.out / PAGE}


def _made(
    castsheet: Castsheet, request: Request, sheet: Sheet, todo: list[Ready], spread: Spread | None
) -> Iterator[Made[Ready]]:
    """The shots in the order in which they are finished.

    All prompts are encoded here first, into the cache: the text encoder is large and is loaded once. Workers
    get the contexts of a shot together with the shot.
    """
    _encode(castsheet, [one.run for one in todo])
    if spread is None:
        yield from here(lambda: ShotMaker(castsheet, sheet), todo)
        return

    def packed(one: Ready) -> Ready:
        contexts = tuple(context.to(torch.device("cpu")) for context in castsheet.contexts(one.run))
        return replace(one, run=replace(one.run, contexts=contexts))

    yield from spread(OpenShotMaker(request, sheet), todo, pack=packed)


def _encode(castsheet: Castsheet, runs: Sequence[Run]) -> None:
    """Encode the prompts of all runs into the cache."""
    for audio in (False, True):
        texts = [text for run in runs if run.settings.audio is audio for text in run_texts(run)]
        texts = list(dict.fromkeys(texts))
        for start in range(0, len(texts), ENCODED_AT_ONCE):
            castsheet.models.contexts(texts[start : start + ENCODED_AT_ONCE], audio=audio)


def _alone(request: Request) -> World:
    """This process alone, without sharing passes with others."""
    return World(0, 1, pick_device(request.loading.device))


def _refuse(request: Request) -> None:
    """Refuse what does not go together with a shot list."""
    if request.keep == "all":
        raise SettingsError("keep all, with a shot list", remedy="list each take as a shot: seeds: [1, 2, 3]")
    if request.out.suffix:
        raise SettingsError(f"{request.out} looks like a file", remedy="a shot list fills a folder: -o shots")
    if started() > 1:
        raise SettingsError(
            f"a shot list in {started()} processes of torchrun, which share one clip",
            remedy="drop torchrun; --workers spreads shots over GPUs and machines",
        )


def _ready(castsheet: Castsheet, request: Request, source: Scene | Sheet, sheet: Sheet, shot: Shot) -> Ready:
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
    models, takes = castsheet.models, request.takes if shot.takes is None else shot.takes
    decides = {
        "castsheet": __version__,
        "model": models.source.record(run.settings),
        "device": models.device.type,
        "dtype": models.numerics,
        "settings": asdict(run.settings),
        "prompt": run.words.text,
        "sheet": sheet.sha256,
        "first_frame": None if run.opening is None else pixels_sha256(np.asarray(run.opening)),
        "seed": run.seed,
        "takes": takes,
    }
    return Ready(shot.id, run, takes, hashlib.sha256(dump(decides).encode()).hexdigest())
