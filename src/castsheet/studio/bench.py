"""What a worker does with a job: one take with the warm model, judged and published; or a list of shots."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from castsheet.clip import Clip, clip_bytes
from castsheet.errors import CastsheetError
from castsheet.jobs.inputs import load_source
from castsheet.jobs.request import Request, filled, make, open_model, prepare
from castsheet.jobs.shots import run_shots
from castsheet.jobs.watcher import Tone, Watcher
from castsheet.judge import report
from castsheet.judge.judge import Judge, Options
from castsheet.loading.options import Loading
from castsheet.machine.device import pick_device
from castsheet.machine.files import write_atomic, write_text
from castsheet.machine.outputs import require_space
from castsheet.machine.processes import World
from castsheet.machine.replace import aside
from castsheet.machine.text import TextReader
from castsheet.media.provenance import dump, now
from castsheet.pipeline import Castsheet
from castsheet.run import Run
from castsheet.sheet.manifest import Sheet
from castsheet.studio.folder import Folder
from castsheet.studio.job import Job
from castsheet.studio.queue import Queue

RECORD = "take.json"  # written last: a take's folder that has it is whole
PREVIEW_EVERY_S = 1.0
_PREVIEW_SIDE = 192
_RECORDS = TextReader(CastsheetError, "delete the take's folder")


class Stopped(Exception):
    """The job was cancelled, or its worker is asked to end."""


class Desk(Watcher):
    """Writes news of a job into the queue, and stops the work when the queue says so."""

    def __init__(self, queue: Queue, job: Job, ending: Callable[[], bool], preview: Path) -> None:
        self._queue, self._job, self._ending, self._preview = queue, job, ending, preview
        self._step, self._steps, self._what, self._shown = 0, 0, "", 0.0

    def look(self, *, preview: bool = False) -> None:
        """Report where the work stands.

        Raises:
            Stopped: the work is to end.
            Lost: the claim is over.
        """
        asked = self._queue.tell(self._job, self._step, self._steps, self._what, preview=preview)
        if asked or self._ending():
            raise Stopped

    @contextmanager
    def working(self, what: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
        """Work begins; its steps are told by the function."""
        self._what, self._step, self._steps = what, 0, total or 0
        self.look()

        def advance(done: int) -> None:
            self._step = done
            self.look()

        yield advance

    def drawn(self, step: int, steps: int, picture: Callable[[], Image.Image]) -> None:
        """Show the clip as the step predicts it; not the last step, and not more often than people look."""
        if step == steps or time.monotonic() - self._shown < PREVIEW_EVERY_S:
            return
        drawn = picture()
        drawn.thumbnail((_PREVIEW_SIDE, _PREVIEW_SIDE))
        write_atomic(self._preview, lambda path: drawn.save(path, format="WEBP", quality=80))
        self._shown = time.monotonic()
        self.look(preview=True)

    def said(self, line: str, _tone: Tone = "plain") -> None:
        """A line for people becomes the job's message."""
        self._what = line
        self.look()


class Bench:
    """One model kept warm, and the folder that it works for."""

    def __init__(self, folder: Folder, queue: Queue, model: str, loading: Loading) -> None:
        self._folder, self._queue, self._model, self._loading = folder, queue, model, loading
        self._castsheet: Castsheet | None = None

    def open(self) -> Castsheet:
        """The model, opened once; what the page needs to know of it is kept as a note.

        Raises:
            CastsheetError: the model's files cannot be used.
        """
        if self._castsheet is None:
            request = Request(source=Path(), out=Path(), model=self._model, loading=self._loading)
            self._castsheet = open_model(request, World(0, 1, pick_device(self._loading.device)))
            usual, source = self._castsheet.settings(), self._castsheet.models.source
            told = {"name": source.name, "width": usual.width, "height": usual.height, "cell": source.cell}
            clip = {"frames": usual.frames, "fps": usual.fps, "steps": usual.all_steps}
            self._queue.keep("model", {**told, **clip, "asked": self._model})
        return self._castsheet

    def work(self, job: Job, ending: Callable[[], bool]) -> None:
        """Make what a job asks for, and end the job.

        Raises:
            Stopped: it is to end; the caller gives the job back.
            Lost: the claim is over; nothing was published.
        """
        try:
            if job.kind == "shots":
                self._shots(job, ending)
            else:
                self._take(job, ending)
        except CastsheetError as error:
            self._queue.fail(job, self._folder.told(error.what), self._folder.told(error.remedy))
        finally:
            self._folder.preview(job.id).unlink(missing_ok=True)

    def _take(self, job: Job, ending: Callable[[], bool]) -> None:
        target = self._folder.takes / job.id
        if (target / RECORD).is_file():  # its worker was killed between the rename and the queue's commit
            self._queue.publish(job, lambda: {"take": job.id})
            return
        desk = Desk(self._queue, job, ending, self._folder.preview(job.id))
        with desk.working("opening the model"):
            castsheet = self.open()
        request = self._request(job.request, target / "take.mp4")
        source = load_source(request.source)
        asked = prepare(castsheet, filled(request, source), source)
        castsheet.refuse(asked, force=request.force)
        settings = asked.settings
        require_space(self._folder.takes, clip_bytes(settings.width, settings.height, settings.frames))
        castsheet.models.settle(settings)
        clip = make(castsheet, asked, desk)
        with desk.working("judging"):
            judgement = Judge(asked.sheet, Options.installed())(clip, f"seed {asked.seed}")
        desk.look()
        with aside(self._folder.takes) as place:
            ready = place / "take"
            _write(ready, clip, asked, judgement, job)

            def put() -> dict[str, Any]:
                os.replace(ready, target)
                return {"take": job.id}

            self._queue.publish(job, put)

    def _shots(self, job: Job, ending: Callable[[], bool]) -> None:
        name = job.request["shots"]
        desk = Desk(self._queue, job, ending, self._folder.preview(job.id))
        request = Request(
            source=self._folder.sheet(job.request["sheet"]),
            model=self._model,
            out=self._folder.shots / name,
            loading=self._loading,
            force=bool(job.request.get("force")),
            takes=job.request.get("takes") or 1,
        )
        run_shots(request, self._folder.shot_list(name), desk)
        self._queue.publish(job, lambda: {"shots": name})

    def _request(self, asked: dict[str, Any], out: Path) -> Request:
        """The command line's request, with the files that the ids name."""
        return Request(
            action=asked.get("action"),
            prompt=asked.get("prompt"),
            preset=asked.get("preset"),
            seed=asked.get("seed"),
            source=self._folder.sheet(asked["sheet"]),
            out=out,
            model=self._model,
            loading=self._loading,
            force=bool(asked.get("force")),
            settings=asked.get("settings") or {},
        )


def _write(ready: Path, clip: Clip, asked: Run, judgement: Any, job: Job) -> None:
    """A take's files. The record comes last."""
    ready.mkdir()
    files = clip.save(ready / "take.mp4")
    report.write(ready / "judgement.html", asked.sheet, [(clip, judgement)])
    sheet: Sheet = asked.sheet
    told = {"version": 1, "sheet": job.request["sheet"], "sha256": sheet.sha256, "clips": [judgement]}
    write_text(ready / "judgement.json", dump(told))
    sidecar = _RECORDS.json(files.sidecar)
    record = {
        "version": 1,
        "request": job.request,
        "label": job.label,
        "created": now(),
        "sheet": job.request["sheet"],
        "elements": [note.id for note in sheet.elements],
        "action": asked.words.action,
        "seed": asked.seed,
        "preset": asked.usual.name,
        "model": clip.provenance.get("model"),
        "state": judgement.state,
        "score": judgement.score,
        "verdict": judgement.verdict,
        "problems": judgement.problems,
        "seconds": sum(clip.provenance.get("timings_s", {}).values()),
        "video": sidecar["video"],
    }
    write_text(ready / RECORD, dump(record))
