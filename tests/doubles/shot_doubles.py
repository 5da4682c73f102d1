"""Doubles at the process boundary: a generator that fails and dies by name, workers elsewhere, a counter."""

from __future__ import annotations

import os
import pickle
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from castsheet.errors import NumericsError
from castsheet.jobs.shotlist import Shot
from castsheet.jobs.shotmaker import OpenShotMaker, Ready
from castsheet.jobs.workers import After, Made, Pack
from castsheet.ltx.parts.text import GemmaEncoder


@dataclass(frozen=True)
class OpenCounting:
    """Opens a maker whose shot `broken` fails; `dies-once` kills its process, `always-dies` every time."""

    folder: Path

    def __call__(self) -> Counting:
        return Counting(self.folder)


@dataclass(frozen=True)
class Counting:
    folder: Path

    def __call__(self, shot: Shot) -> dict[str, bytes]:
        path = self.folder / f"{shot.id}.attempts"
        before = path.read_text() if path.exists() else ""
        path.write_text(before + "x")
        if shot.id == "always-dies" or (shot.id == "dies-once" and not before):
            os.kill(os.getpid(), signal.SIGKILL)
        if shot.id == "broken":
            raise NumericsError("NaN", remedy="another seed")
        return {"name": shot.id.encode()}


class CountingEncoder(GemmaEncoder):
    """The real text encoder; counts how often it is loaded."""

    loads = 0

    @classmethod
    def load(cls, *arguments: Any, **options: Any) -> GemmaEncoder:
        CountingEncoder.loads += 1
        return GemmaEncoder.load(*arguments, **options)


@dataclass
class Elsewhere:
    """Workers as on other machines: each has its own empty cache, and all that it gets was pickled."""

    workers: int
    folder: Path
    opened: int = 0

    def __call__(
        self, open_maker: OpenShotMaker, jobs: Sequence[Ready], *, pack: Pack[Ready], after: After[Ready]
    ) -> Iterator[Made[Ready]]:
        makers = [self._open(open_maker) for _ in range(self.workers)]
        for number, job in enumerate(jobs):
            assert after(job) is None
            travelled = pickle.loads(pickle.dumps(pack(job)))
            yield job, makers[number % self.workers](travelled)

    def _open(self, open_maker: OpenShotMaker) -> Any:
        self.opened += 1
        request = pickle.loads(pickle.dumps(open_maker.request))
        loading = replace(request.loading, cache_dir=self.folder / f"cache of worker {self.opened}")
        return replace(open_maker, request=request.model_copy(update={"loading": loading}))()
