"""A small loop guided by coverage: bytes that reach a new line of ours are kept, and changed further.

It needs nothing but Python, and runs in continuous integration. Where `atheris` is installed,
`python -m tools.fuzz` uses its engine instead, which sees branches and comparisons too.
"""

from __future__ import annotations

import random
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from castsheet.errors import CastsheetError
from tools.fuzz.targets import Target

Line = tuple[str, int]
_OURS = str(Path("src") / "castsheet")


@dataclass
class Findings:
    """What a run found: inputs that ended in another error than a `CastsheetError`, one for each place."""

    inputs: int = 0
    lines: set[Line] = field(default_factory=set)
    crashes: dict[str, bytes] = field(default_factory=dict)


def try_input(target: Target, data: bytes, folder: Path, found: Findings) -> None:
    """Let the target read `data`; another error than ours is noted under the place where it was raised."""
    found.inputs += 1
    path = folder / target.file
    path.write_bytes(data)
    try:
        target.read(path)
    except CastsheetError:
        pass
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the finding
        last = traceback.extract_tb(error.__traceback__)[-1]
        found.crashes.setdefault(f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno}", data)


def fuzz(target: Target, seeds: Sequence[bytes], folder: Path, *, seconds: float, seed: int = 0) -> Findings:
    """Change and try inputs for so long.

    Args:
        seeds: files to start from. folder: an empty one to write into. seed: of the changes.
    """
    found, dice = Findings(), random.Random(seed)
    corpus = list(seeds)
    warnings.simplefilter("ignore")
    try_input(target, corpus[0], folder, found)  # imports what the target needs
    until = time.monotonic() + seconds
    waiting = list(seeds)
    while time.monotonic() < until:
        data = waiting.pop() if waiting else _changed(dice, dice.choice(corpus), corpus, target.words)
        before = len(found.lines)
        with _watching(found.lines):
            try_input(target, data, folder, found)
        if len(found.lines) > before and data not in corpus:
            corpus.append(data)
    return found


@contextmanager
def _watching(lines: set[Line]) -> Iterator[None]:
    """Note the lines of ours that run."""

    def within(frame: FrameType, event: str, _argument: object) -> Callable[..., Any] | None:
        if event == "line":
            lines.add((frame.f_code.co_filename, frame.f_lineno))
        return within

    def entered(frame: FrameType, _event: str, _argument: object) -> Callable[..., Any] | None:
        return within if _OURS in frame.f_code.co_filename else None

    before = sys.gettrace()
    sys.settrace(entered)
    try:
        yield
    finally:
        sys.settrace(before)


def _changed(dice: random.Random, data: bytes, corpus: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    """A few changes: bits, pieces left out, doubled or taken from another input, words, numbers."""
    content = bytearray(data)
    for _ in range(dice.choice((1, 1, 2, 4, 8))):
        at, end = sorted(dice.randrange(len(content) + 1) for _ in range(2))
        end = min(end, at + dice.choice((1, 2, 8, 64)))
        match dice.randrange(7):
            case 0 if content:
                content[at % len(content)] ^= 1 << dice.randrange(8)
            case 1:
                del content[at:end]
            case 2:
                content[at:at] = content[at:end] * dice.choice((1, 2, 30))
            case 3:
                other = dice.choice(corpus)
                start = dice.randrange(len(other) + 1)
                content[at:end] = other[start : start + dice.choice((1, 8, 64))]
            case 4 if words:
                content[at:end] = dice.choice(words)
            case 5:
                content[at:end] = dice.randbytes(dice.choice((1, 2, 4)))
            case _:
                content[at:end] = str(dice.choice((0, -1, 2**31, 2**63, 1e308, dice.random()))).encode()
    return bytes(content[: 1 << 16])
