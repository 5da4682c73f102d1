"""What a worker does with a job: a take with the warm model, judged and published; shots, views, training."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from castsheet.authoring.library import Library
from castsheet.authoring.missing import fill
from castsheet.authoring.still import StillRenderer
from castsheet.clip import Clip, clip_bytes
from castsheet.errors import AdapterError, CastsheetError
from castsheet.jobs.inputs import load_source
from castsheet.jobs.request import Request, filled, make, open_model, prepare
from castsheet.jobs.shots import run_shots
from castsheet.judge import report
from castsheet.judge.judge import Judge, Options
from castsheet.loading.options import Loading
from castsheet.machine.device import pick_device
from castsheet.machine.files import sha256, write_text
from castsheet.machine.outputs import require_space
from castsheet.machine.processes import World
from castsheet.machine.replace import aside
from castsheet.machine.text import TextReader
from castsheet.media.provenance import dump, now
from castsheet.pipeline import Castsheet
from castsheet.run import Run
from castsheet.sheet.manifest import Sheet
from castsheet.studio import teaching
from castsheet.studio.desk import Desk
from castsheet.studio.folder import Folder
from castsheet.studio.job import Job
from castsheet.studio.queue import Queue

RECORD = "take.json"  # written last: a take's folder that has it is whole
_RECORDS = TextReader(CastsheetError, "delete the take's folder")


@dataclass(frozen=True)
class _Trained:
    """An adapter's file, and its hash when it was asked for."""

    path: Path
    sha256: str


class Bench:
    """One model kept warm, and the folder that it works for."""

    def __init__(self, folder: Folder, queue: Queue, model: str, loading: Loading) -> None:
        self._folder, self._queue, self._model, self._loading = folder, queue, model, loading
        self._castsheet: Castsheet | None = None
        self._trained: _Trained | None = None

    def open(self, trained: _Trained | None = None) -> Castsheet:
        """The model, with a run's adapter or without, kept warm. Of the bare model the page gets a note.

        Raises:
            CastsheetError: the model's files cannot be used.
        """
        if self._castsheet is None or self._trained != trained:
            self._let_go()  # two would not fit
            adapter = None if trained is None else (trained.path, None)
            request = Request(
                source=Path(), out=Path(), model=self._model, loading=self._loading, trained=adapter
            )
            self._castsheet = open_model(request, World(0, 1, pick_device(self._loading.device)))
            self._trained = trained
            if trained is not None:
                return self._castsheet
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
            kinds = {"shots": self._shots, "fill": self._fill, "encode": self._encode, "train": self._train}
            kinds.get(job.kind, self._take)(job, ending)
        except CastsheetError as error:
            self._queue.fail(job, self._folder.told(error.what), self._folder.told(error.remedy))
        finally:
            self._folder.preview(job.id).unlink(missing_ok=True)

    def _take(self, job: Job, ending: Callable[[], bool]) -> None:
        target = self._folder.takes / job.id
        if (target / RECORD).is_file():  # its worker was killed between the rename and the queue's commit
            self._queue.publish(job, lambda: {"take": job.id})
            return
        desk = self._desk(job, ending)
        with desk.working("opening the model"):
            castsheet = self.open(self._adapter(job.request))
        request = self._request(job.request, target / "take.mp4")
        source = load_source(request.source)
        asked = prepare(castsheet, filled(request, source), source)
        castsheet.refuse(asked, force=request.force)
        settings = asked.settings
        require_space(self._folder.takes, clip_bytes(*settings.size, settings.frames))
        castsheet.models.settle(settings)
        with castsheet.encoder() as encoder:
            clip = make(castsheet, asked, desk, encoder=encoder)
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
        desk = self._desk(job, ending)
        request = Request(
            source=self._folder.sheet(job.request["sheet"]),
            model=self._model,
            out=self._folder.shots / name,
            loading=self._loading,
            force=bool(job.request.get("force")),
            takes=job.request.get("takes") or 1,
        )
        with desk.working("opening the model"):
            castsheet = self.open(self._adapter(job.request))
        run_shots(request, self._folder.shot_list(name), desk, castsheet=castsheet)
        self._queue.publish(job, lambda: {"shots": name})

    def _fill(self, job: Job, ending: Callable[[], bool]) -> None:
        asked, library = job.request, Library(self._folder.library)
        name, look = asked["element"], asked["look"]
        desk = self._desk(job, ending)
        with desk.working("opening the model"):
            renderer = StillRenderer(self.open(), **asked["settings"])
        # A worker that was lost may have made some of them.
        there = library.load(name, look).element.images
        views = [view for view in asked["views"] if view not in there]
        with desk.working("making views", len(views)) as advance:
            if views:
                fill(library, name, renderer, look=look, views=views, seed=asked["seed"], on_view=advance)
        self._queue.publish(job, lambda: {"element": name, "look": look})

    def _encode(self, job: Job, ending: Callable[[], bool]) -> None:
        self._let_go()
        made = teaching.encode_pairs(self._folder, job, self._model, self._loading, self._desk(job, ending))
        self._queue.publish(job, lambda: {"set": made})

    def _train(self, job: Job, ending: Callable[[], bool]) -> None:
        self._let_go()
        made = teaching.train_run(self._folder, job, self._loading, self._desk(job, ending))
        self._queue.publish(job, lambda: {"run": made})

    def _adapter(self, asked: dict[str, Any]) -> _Trained | None:
        """The adapter that a request names.

        Raises:
            Missing: its run has gone.
            AdapterError: the run was trained anew since the request.
        """
        name = asked.get("adapter")
        if name is None:
            return None
        trained = _Trained(self._folder.adapter(name), asked["adapter_sha256"])
        if sha256(trained.path) != trained.sha256:
            raise AdapterError(
                f"the adapter of run {name} has changed since this was asked for",
                remedy='ask "with changes": what is asked for now takes the adapter that is there now',
            )
        return trained

    def _desk(self, job: Job, ending: Callable[[], bool]) -> Desk:
        return Desk(self._queue, job, ending, self._folder.preview(job.id))

    def _let_go(self) -> None:
        """Training needs the memory: the next take opens the model again."""
        self._castsheet = None

    def _request(self, asked: dict[str, Any], out: Path) -> Request:
        """The command line's request, with the files that the ids name."""
        return Request(
            action=asked.get("action"),
            prompt=asked.get("prompt"),
            preset=asked.get("preset"),
            seed=asked.get("seed"),
            first_frame=self._folder.frame(asked["first_frame"]) if asked.get("first_frame") else None,
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
