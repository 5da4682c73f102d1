"""Making a study's clips: in batches, each measured and kept at once, so that a run that stops goes on."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace

import numpy as np

from castsheet.errors import SettingsError
from castsheet.machine.progress import progress
from castsheet.pipeline import Castsheet
from castsheet.prompt import build
from castsheet.settings import Settings
from castsheet.sheet.manifest import ElementNote, Sheet
from mini.evaluation.identities import FRAMES, SIZE
from mini.evaluation.takes import noise_seed
from mini.evaluation.validation import ValidationSet
from mini.script import one_thread_each
from mini.studies import batch, measure
from mini.studies.batch import Ask
from mini.studies.designs import Condition, Study, action_words
from mini.studies.journal import Entry, Journal, Place

SHOWN = 4  # identities of which pictures are kept
_WAITING = 4  # batches
_TAKE_STEP = 1_000_000  # between the seeds of an identity's takes
_NOTES = {
    "hero": ElementNote("hero", "character", "a person"),
    "prop": ElementNote("prop", "prop", "the prop"),
    "place": ElementNote("place", "location", "the place"),
}
Measured = tuple[measure.Row, bytes | None]


@dataclass(frozen=True)
class Job:
    """One clip of a study."""

    condition: Condition
    place: Place
    ask: Ask
    key: str


class Runner:
    """Makes and measures clips.

    Args:
        castsheet: the model. truths: masks and colours of the identities. journal: where figures go.
        known: clips that were made before.
        size: clips at once. processes: that measure beside the model; 0 measures in this one.
        until: `time.monotonic()` at which to be done; batches that would take longer are not begun.

    Raises:
        SettingsError: the model does not make clips of the size that the masks have.
    """

    def __init__(
        self,
        castsheet: Castsheet,
        truths: ValidationSet,
        journal: Journal,
        known: Sequence[Entry],
        *,
        size: int,
        processes: int,
        until: float = float("inf"),
    ) -> None:
        self.castsheet, self.truths = castsheet, truths
        self._journal = journal
        self._known = {entry.key: entry for entry in known}
        self._placed = {(entry.place, entry.key) for entry in known}
        self._size, self._processes, self._until = size, processes, until
        self._longest = 0.0
        self._files: dict[str, list[object]] = {}
        settings = castsheet.settings()
        if (settings.width, settings.height, settings.frames) != (*SIZE, FRAMES):
            raise SettingsError(
                f"the model makes clips of {settings.width}x{settings.height}, {settings.frames} frames",
                remedy=f"study a bundle of {SIZE[0]}x{SIZE[1]}, {FRAMES} frames",
            )

    def make(self, studies: Mapping[str, Study], indices: Sequence[int]) -> bool:
        """Make the clips that are not there yet; False if time ran out before."""
        with self._pool() as submit:
            return all(self._study(name, study, indices, submit) for name, study in studies.items())

    def settings(self, condition: Condition) -> Settings:
        """A condition's settings."""
        return self.castsheet.settings(**condition.overrides)

    def _study(
        self,
        name: str,
        study: Study,
        indices: Sequence[int],
        submit: Callable[[Job, np.ndarray], Future[Measured]],
    ) -> bool:
        if self._late():
            return False
        jobs = [
            job
            for condition in study.conditions
            for index in indices
            for job in self._jobs(name, condition, index)
        ]
        todo = [job for job in jobs if not self._is_there(job)]
        waiting: deque[tuple[Job, Future[Measured]]] = deque()
        done, whole = 0, True
        with progress(f"{name}: clips", len(todo)) as advance:
            for one in self._batches(study, todo):
                if self._late():
                    whole = False
                    break
                begun = time.monotonic()
                waiting += [(job, submit(job, frames)) for job, frames in self._frames(one)]
                self._longest = max(self._longest, time.monotonic() - begun)
                # Frames wait in memory for whoever measures them; the model waits for that at most.
                while waiting and (waiting[0][1].done() or len(waiting) > _WAITING * self._size):
                    self._keep(*waiting.popleft())
                done += len(one)
                advance(done)
            while waiting:
                self._keep(*waiting.popleft())
        return whole

    def _late(self) -> bool:
        return time.monotonic() + self._longest > self._until

    def _is_there(self, job: Job) -> bool:
        """Whether the clip is known; if another study made it, it is noted for this one too."""
        if (job.place, job.key) in self._placed:
            return True
        made = self._known.get(job.key)
        if made is None:
            return False
        self._add(replace(made, place=job.place))
        return True

    def _batches(self, study: Study, todo: Sequence[Job]) -> Iterator[Sequence[Job]]:
        for condition in study.conditions:
            mine = [job for job in todo if job.condition is condition]
            for start in range(0, len(mine), self._size):
                yield mine[start : start + self._size]

    def _frames(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, np.ndarray]]:
        condition = jobs[0].condition
        asks, settings = [job.ask for job in jobs], self.settings(condition)
        made = batch.frames(self.castsheet, asks, settings, condition.reference_frames)
        return zip(jobs, made, strict=True)

    def _keep(self, job: Job, measured: Future[Measured]) -> None:
        self._add(Entry(job.place, job.key, *measured.result()))

    def _add(self, entry: Entry) -> None:
        self._known[entry.key] = entry
        self._journal.add(entry)

    @contextmanager
    def _pool(self) -> Iterator[Callable[[Job, np.ndarray], Future[Measured]]]:
        """A function that measures a clip, here or beside."""

        def here(job: Job, frames: np.ndarray) -> Future[Measured]:
            done: Future[Measured] = Future()
            done.set_result(measure.measure_and_show(*self._order(job, frames)))
            return done

        if not self._processes:
            yield here
            return
        context = multiprocessing.get_context("spawn")
        with one_thread_each(), ProcessPoolExecutor(self._processes, mp_context=context) as pool:
            yield lambda job, frames: pool.submit(measure.measure_and_show, *self._order(job, frames))

    def _order(self, job: Job, frames: np.ndarray) -> measure.Order:
        _, _, index, take = job.place
        return (
            frames,
            self.truths.masks_NFHW[index],
            self.truths.centroids_AM,
            job.ask.sheet,
            self.castsheet.settings().fps,
            job.condition.judge,
            index < SHOWN and take == 0,
        )

    def _jobs(self, name: str, condition: Condition, index: int) -> list[Job]:
        """An identity's clips under a condition, one a take."""
        sheet, settings = condition.sheet(index), self.settings(condition)
        words = prompt_of(condition, sheet, index, settings)
        jobs = []
        for take in range(condition.takes):
            ask = Ask(sheet, words, noise_seed(index) + _TAKE_STEP * take)
            key = self._key(condition, settings, ask)
            jobs.append(Job(condition, (name, condition.name, index, take), ask, key))
        return jobs

    def _key(self, condition: Condition, settings: Settings, ask: Ask) -> str:
        content: list[object] = [measure.VERSION, self._model(settings), asdict(settings)]
        judged = condition.judge and measure.JUDGED
        content += [condition.reference_frames, judged, ask.prompt, ask.seed, ask.sheet.sha256]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]

    def _model(self, settings: Settings) -> list[object]:
        """The files of a run and how they are held; which adapters those are depends on the reference."""
        models = self.castsheet.models
        if settings.reference not in self._files:
            record = models.source.record(settings)
            adapters = [file | {"strength": None} for file in record["adapters"]]  # the settings say it
            self._files[settings.reference] = [record["checkpoint"], record["text_encoder"], adapters]
        return [self._files[settings.reference], models.device.type, models.numerics]


def prompt_of(condition: Condition, sheet: Sheet, index: int, settings: Settings) -> str:
    """A condition's whole prompt: what the sheet shows, what it names beyond, what happens."""
    notes = (*sheet.elements, *(_NOTES[name] for name in condition.named))
    told = Sheet(sheet.image, sheet.panels if not condition.named else (), notes, sheet.output)
    return build(told, action_words(condition.who, index), settings.prompt_format).text
