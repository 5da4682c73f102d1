"""From measures to a verdict: thresholds, problems, a score, one line.

Thresholds were set on the first identities of `mini.judged.cases`; docs/judge.md has the figures on others.
They are for frames at the working size. Whether they suit real film is not known yet.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from castsheet.judge.assign import Swap
from castsheet.judge.cast import Mask
from castsheet.judge.colour import REACH
from castsheet.judge.judgement import ElementReport, LeakReport, Problem, TextReport
from castsheet.judge.leak import Leak
from castsheet.judge.motion import Motion
from castsheet.sheet.box import Kind

LIKENESS = 0.4
LINES = 1
BARS = 0.03
PRESENT: dict[Kind, float] = {"character": 0.664, "prop": 0.64, "location": 0.75}
COVERAGE = 0.5  # an element that is present in less of the clip is missing
PASTED = 0.437
STILL = 0.9
SHAKING = 0.434
STROKES = 0.31
DRIFT = -0.078
# One frame of leak is a flash that any viewer notices.
LEAK_FRAMES = 1


def leaked(found: Leak) -> Mask:
    """Frames (F,) that show the sheet: its detail in place, or lines like those between panels."""
    return np.asarray((found.likeness >= LIKENESS) | (found.lines >= LINES))


def present(kind: Kind, similarity: float) -> bool:
    """Whether an element of this kind counts as seen."""
    return similarity >= PRESENT[kind]


def conclude(
    leak: LeakReport,
    elements: Sequence[ElementReport],
    exchanged: Sequence[Swap],
    moved: Motion,
    text: TextReport,
    disorder: tuple[str, ...],
    known: bool,
) -> tuple[list[Problem], float, str]:
    """Problems (gravest first), score and verdict."""
    problems = [
        *_of_the_sheet(leak),
        *_of_elements(elements, known),
        *_of_people(exchanged, disorder),
        *_of_the_picture(moved, text),
    ]
    problems.sort(key=lambda problem: not problem.grave)
    clean = 1 - float(np.mean(leak.leaked))
    # Not coverage: it counts an element near its threshold as all or nothing, and takes would rank by luck.
    kept = float(np.mean([one.likeness * max(0.0, 1 - one.tint / REACH) for one in elements]))
    others = sum(problem.grave and problem.measure not in ("leak", "coverage") for problem in problems)
    return problems, round(kept * clean * 0.5**others, 4), _line(problems, elements)


def _of_the_sheet(leak: LeakReport) -> list[Problem]:
    found = []
    frames = tuple(int(at) for at in np.flatnonzero(leak.leaked))
    if len(frames) >= LEAK_FRAMES:
        found.append(Problem("leak", None, f"the sheet shows for {leak.seconds:.2f} s", frames))
    if leak.bars >= BARS:
        found.append(Problem("letterbox", None, f"black bars cover {leak.bars:.0%} of the frame"))
    return found


def _of_elements(elements: Sequence[ElementReport], known: bool) -> list[Problem]:
    """Missing, pasted and drifting elements. In a bare picture a missing panel is a remark only: panels may
    be views of one element, or details that no frame need show."""
    found = []
    for one in elements:
        if one.coverage < COVERAGE:
            where = f"in {one.coverage:.0%} of the frames" if one.coverage else "nowhere"
            message = f"{one.id} is recognised {where} (likeness {one.identity:.2f})"
            found.append(Problem("coverage", one.id, message, (one.worst,), grave=known))
        elif one.drift <= DRIFT:
            message = f"{one.id} loses its looks over time ({one.drift:+.2f})"
            found.append(Problem("drift", one.id, message, (one.worst,), grave=False))
        if one.pasted is not None and one.pasted >= PASTED:
            message = f"a panel of {one.id} is pasted into the picture"
            found.append(Problem("copy", one.id, message, grave=known))
    return found


def _of_people(exchanged: Sequence[Swap], disorder: tuple[str, ...]) -> list[Problem]:
    found = []
    if exchanged:
        pairs = sorted({tuple(sorted((swap.before, swap.after))) for swap in exchanged})
        told = ", ".join(f"{a} and {b}" for a, b in pairs)
        found.append(
            Problem("swap", None, f"{told} change places with each other", tuple(s.frame for s in exchanged))
        )
    if disorder:
        found.append(Problem("order", None, f"from left to right stand {', '.join(disorder)}"))
    return found


def _of_the_picture(moved: Motion, text: TextReport) -> list[Problem]:
    found = []
    if moved.still >= STILL:
        found.append(Problem("motion", None, f"nothing moves in {moved.still:.0%} of the clip"))
    elif moved.shaking >= SHAKING:
        found.append(Problem("motion", None, f"{moved.shaking:.0%} of the picture shakes"))
    if text.lines:
        found.append(Problem("text", None, f"text in the picture: {', '.join(text.lines[:3])}"))
    elif text.lines is None and text.strokes >= STROKES:
        found.append(Problem("text", None, "something like text stands in the picture", grave=False))
    return found


def _line(problems: Sequence[Problem], elements: Sequence[ElementReport]) -> str:
    grave = [problem.message for problem in problems if problem.grave]
    if grave:
        return "fails: " + "; ".join(grave)
    kept = ", ".join(f"{one.id} {one.identity:.2f}" for one in elements)
    remarks = [problem.message for problem in problems]
    return f"passes: {kept}" + (f" (but {'; '.join(remarks)})" if remarks else "")
