"""Makes one shot of a list: its takes, the judge's choice among them, and their files by name."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from castsheet.clip import Clip
from castsheet.errors import SettingsError
from castsheet.jobs.folder import LAST, RECORD, Files
from castsheet.jobs.request import Request, open_model
from castsheet.jobs.takes import Keep, page_file, take_file, take_name, told
from castsheet.jobs.watcher import Watcher
from castsheet.judge import report
from castsheet.judge.judge import Judge, Options
from castsheet.judge.judgement import Judgement
from castsheet.judge.reroll import Choice, reroll
from castsheet.machine.device import pick_device
from castsheet.machine.files import sha256
from castsheet.machine.processes import World
from castsheet.machine.replace import scratch
from castsheet.media.png import save_png
from castsheet.media.provenance import dump
from castsheet.pipeline import Castsheet
from castsheet.run import Run
from castsheet.sheet.manifest import Sheet


@dataclass(frozen=True)
class Ready:
    """A shot with everything settled; `key` is a hash of everything that the result depends on.

    Attributes:
        after: the shot from whose last frame this one starts; its picture is read when the shot is begun.
        opened: the hash of that picture, once it is the run's opening.
    """

    id: str
    run: Run
    takes: int
    key: str
    keep: Keep = "made"
    after: str | None = None
    opened: str | None = None


@dataclass(frozen=True)
class OpenShotMaker:
    """Opens a maker of shots. It is sent to workers, which need the model's files under the same paths."""

    request: Request
    sheet: Sheet

    def __call__(self) -> ShotMaker:
        return ShotMaker(open_model(self.request, alone(self.request)), self.sheet, self.request.out)


class ShotMaker:
    """Makes shots with one model: makes and judges takes, and returns their files.

    Args:
        out: the folder of the list, where shots find the last frame of the shot before.
    """

    def __init__(self, castsheet: Castsheet, sheet: Sheet, out: Path, watcher: Watcher | None = None) -> None:
        self._castsheet, self._sheet, self._judge = castsheet, sheet, Judge(sheet, Options.installed())
        self._out, self._watcher = out, watcher or Watcher()

    def __call__(self, ready: Ready) -> Files:
        """The shot's files by name."""
        ready = begun(self._castsheet, self._out, ready)
        run = ready.run
        with scratch() as folder, self._castsheet.encoder() as encoder:
            saving = encoder if ready.takes == 1 or ready.keep != "best" else None
            clip = folder / f"{ready.id}.mp4"

            def make(seed: int) -> Clip:
                if ready.takes > 1:
                    self._watcher.said(
                        f"{ready.id}: {take_name(seed - run.seed, ready.takes, seed)}", "quiet"
                    )
                return self._castsheet.make(replace(run, seed=seed), on_step=self._stepped, encoder=saving)

            def judged(made: Clip) -> Judgement:
                seed = made.provenance["seed"]
                verdict = self._judge(made, f"{ready.id}, seed {seed}" if ready.takes > 1 else ready.id)
                if ready.takes > 1 and ready.keep != "best":
                    made.save(take_file(clip, seed))
                    report.write(page_file(take_file(clip, seed)), self._sheet, [(made, verdict)])
                return verdict

            choice = reroll(make, judged, seed=run.seed, takes=ready.takes, stop_early=ready.keep != "all")
            best, judgement = told(choice), choice.best.judgement
            best.save(clip)
            report.write(folder / "judgement.html", self._sheet, [(best, judgement)])
            save_png(Image.fromarray(best.frames[-1]), folder / f"{ready.id}{LAST}")
            files = {path.name: path.read_bytes() for path in sorted(folder.glob("[!.]*"))}
        return {**files, RECORD: dump(_record(ready, choice, sorted(files))).encode()}

    def _stepped(self, step: int, steps: int, latents: torch.Tensor) -> None:
        self._watcher.stepped(step, steps, latents)
        self._watcher.drawn(step, steps, lambda: self._castsheet.picture(latents))


def _record(ready: Ready, choice: Choice, files: list[str]) -> dict[str, Any]:
    judgement = choice.best.judgement
    kept = ready.takes > 1 and ready.keep != "best"
    return {
        "version": 1,
        "key": ready.key,
        "shot": ready.id,
        "action": ready.run.words.action,
        "opening": ready.opened,
        "seed": choice.best.seed,
        "takes": len(choice.takes),
        "made": [
            {
                "seed": seed,
                "state": one.state,
                "score": one.score,
                "passed": one.passed,
                "verdict": one.verdict,
            }
            for seed, one in choice.takes
            if kept
        ],
        "passed": judgement.passed,
        "state": judgement.state,
        "score": judgement.score,
        "verdict": judgement.verdict,
        "reason": choice.reason,
        "files": files,
    }


def begun(castsheet: Castsheet, out: Path, ready: Ready) -> Ready:
    """The shot with the picture that it starts from, if another shot of the list in `out` gives it.

    Raises:
        SettingsError: that shot is not made.
    """
    if ready.after is None or ready.opened is not None:
        return ready
    picture, settings = last_of(out, ready.after), ready.run.settings
    if not picture.is_file():
        raise SettingsError(
            f"shot {ready.id} starts from the last frame of {ready.after}, which is not made",
            remedy=f"mend shot {ready.after}",
        )
    openings = castsheet.openings(picture, settings)
    return replace(ready, run=replace(ready.run, openings=openings), opened=sha256(picture))


def last_of(out: Path, shot: str) -> Path:
    """Where a shot's last frame lies."""
    return out / shot / f"{shot}{LAST}"


def alone(request: Request) -> World:
    """This process alone, without sharing passes with others."""
    return World(0, 1, pick_device(request.loading.device))
