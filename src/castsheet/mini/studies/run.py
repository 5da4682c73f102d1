"""Making a study's clips: in batches, each measured and kept at once, so that a run that stops goes on."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from castsheet.errors import SettingsError
from castsheet.mini.architecture import FRAMES, HEIGHT, WIDTH
from castsheet.mini.studies import batch
from castsheet.mini.studies.batch import Ask
from castsheet.mini.studies.designs import Condition, Study, action_words
from castsheet.mini.studies.measure import VERSION, Row, Store, measure
from castsheet.mini.takes import noise_seed
from castsheet.mini.validation import ValidationSet
from castsheet.pipeline import Castsheet
from castsheet.progress import progress
from castsheet.prompt import build
from castsheet.sampling.presets import Preset
from castsheet.sheet.manifest import ElementNote, Sheet

SHOWN = 4  # identities of which pictures are kept
_WAITING = 4  # batches
_TAKE_STEP = 1_000_000  # between the seeds of an identity's takes
_NOTES = {
    "hero": ElementNote("hero", "character", "a person"),
    "prop": ElementNote("prop", "prop", "the prop"),
    "place": ElementNote("place", "location", "the place"),
}


@dataclass(frozen=True)
class Job:
    """One clip of a study."""

    condition: Condition
    index: int
    ask: Ask
    key: str


class Runner:
    """Makes and measures clips.

    Args:
        castsheet: the model. truths: masks and colours of the identities. work: where results are kept.
        size: clips at once. processes: that measure beside the model; 0 measures in this one.

    Raises:
        SettingsError: the model does not make clips of the size that the masks have.
    """

    def __init__(
        self, castsheet: Castsheet, truths: ValidationSet, work: Path, *, size: int, processes: int
    ) -> None:
        self.castsheet, self.truths = castsheet, truths
        self.store = Store(work / "takes")
        self._size, self._processes = size, processes
        settings = castsheet.settings()
        if (settings.width, settings.height, settings.frames) != (WIDTH, HEIGHT, FRAMES):
            raise SettingsError(
                f"the model makes clips of {settings.width}x{settings.height}, {settings.frames} frames",
                remedy=f"study a bundle of {WIDTH}x{HEIGHT}, {FRAMES} frames",
            )

    def rows(self, study: Study, count: int) -> dict[str, list[list[Row]]]:
        """Figures by condition, identity (the first `count`) and take; those not there yet are made."""
        jobs = {
            condition.name: [self._jobs(condition, index) for index in range(count)]
            for condition in study.conditions
        }
        every = [job for rows in jobs.values() for takes in rows for job in takes]
        todo = [job for job in every if self.store.row(job.key) is None]
        with progress("clips", len(todo)) as advance, self._pool() as submit:
            waiting: list[Future[None]] = []
            done = 0
            for condition in study.conditions:
                mine = [job for job in todo if job.condition is condition]
                for start in range(0, len(mine), self._size):
                    waiting += self._make(condition, mine[start : start + self._size], submit)
                    done += min(self._size, len(mine) - start)
                    advance(done)
                    # Frames wait in memory for whoever measures them; the model waits for that at most.
                    while len(waiting) > _WAITING * self._size:
                        waiting.pop(0).result()
            for one in waiting:
                one.result()
        return {
            name: [[self._known(job.key) for job in takes] for takes in rows] for name, rows in jobs.items()
        }

    def strips(self, condition: Condition, count: int) -> list[str]:
        """Keys of the first identities' first takes."""
        return [self._jobs(condition, index)[0].key for index in range(min(count, SHOWN))]

    def settings(self, condition: Condition) -> Preset:
        """A condition's settings."""
        return self.castsheet.settings(**condition.overrides)

    def _known(self, key: str) -> Row:
        row = self.store.row(key)
        assert row is not None
        return row

    def _make(
        self, condition: Condition, jobs: Sequence[Job], submit: Callable[[Job, np.ndarray], Future[None]]
    ) -> list[Future[None]]:
        asks = [job.ask for job in jobs]
        made = batch.frames(self.castsheet, asks, self.settings(condition), condition.reference_frames)
        return [submit(job, frames) for job, frames in zip(jobs, made, strict=True)]

    @contextmanager
    def _pool(self) -> Iterator[Callable[[Job, np.ndarray], Future[None]]]:
        """A function that measures and keeps a clip, here or beside."""

        def here(job: Job, frames: np.ndarray) -> Future[None]:
            done: Future[None] = Future()
            _keep(*self._order(job, frames))
            done.set_result(None)
            return done

        if not self._processes:
            yield here
            return
        context = multiprocessing.get_context("spawn")
        pool: Executor
        with ProcessPoolExecutor(self._processes, mp_context=context) as pool:
            yield lambda job, frames: pool.submit(_keep, *self._order(job, frames))

    def _order(
        self, job: Job, frames: np.ndarray
    ) -> tuple[Store, str, np.ndarray, _Known, Sheet, bool, bool]:
        known = _Known(
            self.truths.masks_NFHW[job.index], self.truths.centroids_AM, self.castsheet.settings().fps
        )
        shown = job.index < SHOWN and job.ask.seed < _TAKE_STEP
        return self.store, job.key, frames, known, job.ask.sheet, job.condition.judge, shown

    def _jobs(self, condition: Condition, index: int) -> list[Job]:
        """An identity's clips under a condition, one a take."""
        sheet, settings = condition.sheet(index), self.settings(condition)
        words = prompt_of(condition, sheet, index, settings)
        seeds = [noise_seed(index) + _TAKE_STEP * take for take in range(condition.takes)]
        asks = [Ask(sheet, words, seed) for seed in seeds]
        return [Job(condition, index, ask, self._key(condition, settings, ask)) for ask in asks]

    def _key(self, condition: Condition, settings: Preset, ask: Ask) -> str:
        content = [VERSION, self._model, asdict(settings), condition.reference_frames, condition.judge]
        content += [ask.prompt, ask.seed, ask.sheet.sha256]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]

    @cached_property
    def _model(self) -> list[object]:
        models = self.castsheet.models
        record = models.source.record(self.castsheet.settings())
        return [record, models.device.type, models.numerics]


@dataclass(frozen=True)
class _Known:
    masks_FHW: np.ndarray
    centroids_AM: np.ndarray
    fps: float


def _keep(
    store: Store, key: str, frames: np.ndarray, known: _Known, sheet: Sheet, judge: bool, shown: bool
) -> None:
    """Measure a clip and store its figures; runs in any process."""
    row = measure(frames, known.masks_FHW, known.centroids_AM, sheet, fps=known.fps, judge=judge)
    store.keep(key, row, frames if shown else None)


def prompt_of(condition: Condition, sheet: Sheet, index: int, settings: Preset) -> str:
    """A condition's whole prompt: what the sheet shows, what it names beyond, what happens."""
    notes = (*sheet.elements, *(_NOTES[name] for name in condition.named))
    told = Sheet(sheet.image, sheet.panels if not condition.named else (), notes, sheet.output)
    return build(told, action_words(condition.who, index), settings.prompt_format).text
