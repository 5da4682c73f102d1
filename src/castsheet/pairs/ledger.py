"""Results as files that are named by all that they depend on, made by processes that may die.

    FOLDER/STAGE/KEY.json   the result of one unit; KEY hashes stage, version, unit and settings
    FOLDER/STAGE/KEY.npz    arrays that belong to it, where there are some
    FOLDER/deaths/KEY       how many processes died while they made it

A result is there whole or not at all. Run again, and what is there is not made again: after a changed
threshold only what depends on it. A unit whose process dies is tried again alone; after three deaths it is
quarantined.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from castsheet.machine.files import write_text
from castsheet.machine.regular import MIB, is_file
from castsheet.machine.replace import replacing
from castsheet.machine.text import TextReader
from castsheet.pairs.records import PairsError

DEATHS = 3
_RESULTS = TextReader(PairsError, "delete the file; the next run makes it again", limit=512 * MIB)

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Made:
    """What a stage makes of a unit: JSON values, and arrays."""

    values: dict[str, Any]
    arrays: Arrays


@dataclass(frozen=True)
class Task:
    """One unit of a stage. `work(*arguments)` must give the same result wherever it runs.

    Args:
        unit: names it for people.
        depends: all that the result depends on, as JSON values.
        work: a function of a module, so that another process can find it; its arguments can be pickled.
    """

    stage: str
    unit: str
    depends: Any
    work: Callable[..., Made]
    arguments: tuple[Any, ...]

    @property
    def key(self) -> str:
        """The hash that names the result."""
        text = json.dumps([self.stage, self.depends], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:24]


@dataclass(frozen=True)
class Stored:
    """A result on disk."""

    path: Path

    @property
    def values(self) -> dict[str, Any]:
        """Its JSON values; `PairsError` if the file is damaged."""
        return _RESULTS.json_object(self.path)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Its arrays, empty where it has none."""
        path = self.path.with_suffix(".npz")
        if not is_file(path):
            return {}
        with np.load(path, allow_pickle=False) as found:
            return {name: found[name] for name in found.files}


Outcome = Stored | None
"""A result, or None for a unit that was quarantined."""

Pool = Callable[[Sequence[Task]], Iterator[tuple[Task, Made | None]]]
"""Does the work of tasks in other processes (see `pools`); None for those that were in work when one died."""


@dataclass(frozen=True)
class Ledger:
    """A folder of results."""

    folder: Path

    def find(self, task: Task) -> Stored | None:
        """The result of a task, if it is there."""
        path = self._path(task)
        return Stored(path) if is_file(path) else None

    def put(self, task: Task, made: Made) -> Stored:
        """Store a result, whole or not at all. `OutputError` if the disk refuses."""
        path = self._path(task)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path.parent, path) as change:
            if made.arrays:
                change.new(path.with_suffix(".npz").name).write_bytes(_packed(made.arrays))
            text = json.dumps(made.values, sort_keys=True, allow_nan=False)
            change.new(path.name).write_text(text + "\n", encoding="utf-8")
        return Stored(path)

    def run(
        self, tasks: Sequence[Task], pool: Pool | None, *, advance: Callable[[int], None] = lambda _: None
    ) -> dict[str, Outcome]:
        """The results of some tasks by their unit, those made now and those that were there.

        Args:
            pool: where the work is done; None works in this process, where nothing protects from a death.
            advance: called with the number of results so far.

        Raises:
            CastsheetError: as the work raises it; what was made until then is kept.
        """
        found: dict[str, Outcome] = {}
        missing: list[Task] = []
        for task in tasks:
            there = self.find(task)
            if there is not None:
                found[task.unit] = there
            elif self.deaths(task) >= DEATHS:
                found[task.unit] = None
            else:
                missing.append(task)
        for task, outcome in self._made(missing, pool):
            found[task.unit] = outcome
            advance(len(found))
        return {task.unit: found[task.unit] for task in tasks}

    def _made(self, tasks: list[Task], pool: Pool | None) -> Iterator[tuple[Task, Outcome]]:
        if pool is None:
            for task in tasks:
                yield task, self.put(task, task.work(*task.arguments))
            return
        # A unit whose process died before is a suspect: alone, its death is nobody else's.
        suspects = [task for task in tasks if self.deaths(task)]
        for task, made in pool([task for task in tasks if not self.deaths(task)]):
            if made is None:
                suspects.append(task)
            else:
                yield task, self.put(task, made)
        for task in suspects:
            yield task, self._alone(task, pool)

    def _alone(self, task: Task, pool: Pool) -> Outcome:
        """A unit in a process of its own, until it is made or has killed three of them."""
        while self.deaths(task) < DEATHS:
            for _, made in pool([task]):
                if made is not None:
                    return self.put(task, made)
            write_text(self._deaths(task), f"{self.deaths(task) + 1} {task.unit}\n")
        return None

    def deaths(self, task: Task) -> int:
        """How many processes died while they made this unit alone."""
        try:
            return int(self._deaths(task).read_text(encoding="utf-8").split()[0])
        except (FileNotFoundError, IndexError, ValueError):
            return 0

    def _deaths(self, task: Task) -> Path:
        folder = self.folder / "deaths"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / task.key

    def _path(self, task: Task) -> Path:
        return self.folder / task.stage / f"{task.key}.json"


def _packed(arrays: Arrays) -> bytes:
    """Arrays as the bytes of a .npz; equal arrays give equal bytes, because the file holds no times."""
    held = io.BytesIO()
    np.savez_compressed(held, allow_pickle=False, **{name: arrays[name] for name in sorted(arrays)})
    return held.getvalue()
