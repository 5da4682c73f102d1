"""A double of the generator at the process boundary: counts attempts on disk, fails and dies by name."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path

from castsheet.errors import NumericsError
from castsheet.jobs.shotlist import Shot


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
