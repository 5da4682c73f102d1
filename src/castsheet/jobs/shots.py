"""`generate --shots FILE`: every shot of a list from one sheet, resumable, with one page over all."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.markup import escape

from castsheet import __version__
from castsheet.elements import Scene
from castsheet.errors import CastsheetError, SettingsError
from castsheet.jobs.folder import RECORD, Files, ShotFolder
from castsheet.jobs.inputs import load_source, sheet_of
from castsheet.jobs.page import page
from castsheet.jobs.request import Plan, Request, open_model, settle
from castsheet.jobs.shotlist import Shot, load_shots
from castsheet.jobs.takes import told
from castsheet.jobs.workers import Cluster, here, on_ray
from castsheet.judge import report
from castsheet.judge.judge import Judge
from castsheet.judge.reroll import reroll
from castsheet.loading.models import check_fits
from castsheet.machine.processes import started
from castsheet.machine.progress import progress
from castsheet.media.provenance import dump, pixels_sha256
from castsheet.pipeline import Castsheet, make_guide, read_prompt, refuse_errors
from castsheet.prompt import Prompt
from castsheet.sampling.first_frame import read_picture
from castsheet.settings import Settings
from castsheet.sheet.manifest import Sheet

ENCODED_AT_ONCE = 32  # prompts; what they become is in memory at the same time


class ShotsFailed(CastsheetError):
    """Some shots of a list could not be made; the others are finished."""


@dataclass(frozen=True)
class Ready:
    """A shot with everything settled: what is asked, and a hash of all that decides the result."""

    shot: Shot
    plan: Plan
    settings: Settings
    words: Prompt
    takes: int
    key: str


@dataclass(frozen=True)
class OpenShotMaker:
    """Opens a maker of shots; travels to workers, which need the model's files under the same paths."""

    request: Request
    sheet: Sheet
    ready: dict[str, Ready]

    def __call__(self) -> ShotMaker:
        return self.with_model(open_model(self.request))

    def with_model(self, castsheet: Castsheet) -> ShotMaker:
        """A maker with a model that is open already."""
        return ShotMaker(castsheet, self.request.force, self.sheet, self.ready)


class ShotMaker:
    """Makes shots with one model: takes, judged, the best one's files."""

    def __init__(self, castsheet: Castsheet, force: bool, sheet: Sheet, ready: dict[str, Ready]) -> None:
        self._castsheet, self._force, self._sheet, self._ready = castsheet, force, sheet, ready
        self._judge = Judge(sheet)
        self._encode()

    def _encode(self) -> None:
        """Encode the list's prompts into the cache: the text encoder is large and should be loaded once."""
        for audio in (False, True):
            ready = [one for one in self._ready.values() if one.settings.audio is audio]
            guided = [one.settings for one in ready if make_guide(one.settings).wants("uncond")]
            texts = [*(one.words.text for one in ready), *(one.negative_prompt for one in guided)]
            texts = list(dict.fromkeys(texts))
            for start in range(0, len(texts), ENCODED_AT_ONCE):
                self._castsheet.models.contexts(texts[start : start + ENCODED_AT_ONCE], audio=audio)

    def __call__(self, shot: Shot) -> Files:
        """The shot's files by name."""
        one = self._ready[shot.id]
        choice = reroll(
            lambda seed: self._castsheet(
                self._sheet,
                preset=one.plan.preset,
                seed=seed,
                first_frame=shot.first_frame,
                prompt=one.words,
                check=True,
                force=self._force,
                **one.plan.overrides,
            ),
            lambda clip: self._judge(clip, shot.id),
            seed=one.plan.seed,
            takes=one.takes,
        )
        clip, judgement = told(choice), choice.best.judgement
        with tempfile.TemporaryDirectory() as folder:
            clip.save(Path(folder) / f"{shot.id}.mp4")
            report.write(Path(folder) / "judgement.html", self._sheet, [(clip, judgement)])
            files = {path.name: path.read_bytes() for path in Path(folder).iterdir()}
        record = {
            "version": 1,
            "key": one.key,
            "shot": shot.id,
            "action": one.words.action,
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
    request: Request, file: Path, console: Console, cluster: Cluster | None = None
) -> dict[str, Path]:
    """Make what the list asks for and is not there yet.

    Args:
        request: as for one clip; `out` names the folder, `takes` what holds for shots that do not say.
        cluster: Ray workers instead of this process.

    Returns:
        The page, and the sheet of a scene, by role.

    Raises:
        ShotsFailed: some shots could not be made; the message names them.
        LintRefused: the checks found an error in one, before any was made, and force is off.
        CastsheetError: anything else that the user can mend.
    """
    _refuse(request)
    shots, source = load_shots(file), load_source(request.source)
    with progress("opening the model", console=console):
        castsheet = open_model(request)
    settings = castsheet.settings(request.preset, **request.settings)
    sheet = sheet_of(source, (settings.width, settings.height), castsheet.models.source.cell)
    ready = {shot.id: _ready(castsheet, request, source, sheet, shot) for shot in shots}
    folder = ShotFolder(request.out)
    written: dict[str, Path] = {}
    if isinstance(source, Scene):
        written["sheet"] = _write_sheet(folder, sheet)
        sheet = replace(sheet, path=written["sheet"])

    found = {shot.id: folder.record(shot.id, ready[shot.id].key) for shot in shots}
    todo = [shot for shot in shots if found[shot.id] is None]
    if len(todo) < len(shots):
        console.print(f"{len(shots) - len(todo)} of {len(shots)} shots are there already", style="dim")
    opened = OpenShotMaker(request, sheet, {shot.id: ready[shot.id] for shot in todo})
    made = on_ray(opened, todo, cluster) if cluster else here(lambda: opened.with_model(castsheet), todo)
    failed: list[CastsheetError] = []
    folder.write({"index.html": page(shots, found, sheet)})
    with progress("shots", len(todo), console=console) as advance:
        for number, (shot, result) in enumerate(made, 1):
            if isinstance(result, CastsheetError):
                failed.append(result)
                console.print(f"{shot.id}: {escape(str(result))}", style="red")
            else:
                folder.publish(shot.id, result)
                found[shot.id] = record = folder.record(shot.id, ready[shot.id].key)
                folder.write({"index.html": page(shots, found, sheet)})
                if record is not None:
                    console.print(f"{shot.id}: {escape(record['reason'])}", style="dim")
            advance(number)
    folder.sweep()
    for name in folder.strangers(found):
        console.print(f"{request.out / name} is not of this list and was left alone", style="dim")
    if failed:
        raise ShotsFailed(
            f"{len(failed)} of {len(shots)} shots could not be made; the first: {failed[0].what}",
            remedy=f"{failed[0].remedy}; then run the same command: finished shots are kept",
        )
    return {**written, "page": request.out / "index.html"}


def _refuse(request: Request) -> None:
    """Say what does not go together with a shot list."""
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
    """Settle a shot, and see that it can be made, before the first is begun."""
    models = castsheet.models
    try:
        asked = replace(
            request,
            action=request.action if shot.action is None else shot.action,
            prompt=shot.prompt,
            seed=request.seed if shot.seed is None else shot.seed,
            settings={**request.settings, **shot.settings},
        )
        plan = settle(asked, source)
        settings = castsheet.settings(plan.preset, **plan.overrides)
        check_fits(settings, models.source.checkpoint)
        grid = models.source.grid(settings)
        words = read_prompt(sheet, plan.action, asked.prompt, settings)
        found = castsheet.findings(sheet, words, settings, baseline=plan.preset)
        if not request.force:
            refuse_errors(found)
            models.source.check_reference(settings)
        takes = request.takes if shot.takes is None else shot.takes
        opening = None
        if shot.first_frame is not None:
            picture = read_picture(shot.first_frame, grid, crf=settings.first_frame_crf)
            opening = pixels_sha256(np.asarray(picture))
    except CastsheetError as error:
        raise type(error)(f"shot {shot.id}: {error.what}", remedy=error.remedy) from error
    decides = {
        "castsheet": __version__,
        "model": models.source.record(settings),
        "device": models.device.type,
        "dtype": models.numerics,
        "settings": asdict(settings),
        "prompt": words.text,
        "sheet": sheet.sha256,
        "first_frame": opening,
        "seed": plan.seed,
        "takes": takes,
    }
    return Ready(shot, plan, settings, words, takes, hashlib.sha256(dump(decides).encode()).hexdigest())


def _write_sheet(folder: ShotFolder, sheet: Sheet) -> Path:
    """The composed sheet and its manifest, beside the shots."""
    with tempfile.TemporaryDirectory() as held:
        saved = sheet.save(Path(held) / "sheet.png")
        folder.write({path.name: path.read_bytes() for path in saved})
    return folder.path / "sheet.png"
