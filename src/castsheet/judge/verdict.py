"""From measures to a verdict: thresholds, problems, a score, one line.

Thresholds of `leak`, `bars`, `shaking`, `drift`, `tint` and `strokes` come from rendered clips
(`mini.judged.cases`), the others from the tuning half of the outside set; docs/judge.md holds the figures
on the other halves.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from castsheet.judge.assign import Swap
from castsheet.judge.cast import Mask
from castsheet.judge.fields import Find, What
from castsheet.judge.judgement import ElementReport, LeakReport, Problem, State, TextReport
from castsheet.judge.leak import Leak
from castsheet.judge.motion import Motion
from castsheet.judge.states import PRESENT
from castsheet.sheet.box import Kind

LIKENESS = 0.15  # clean clips reach 0.08
LINES = 1
BARS = 0.03
PANEL = 0.75  # likeness of a panel's parts: copies have 0.91 or more; a smooth sky once had 0.64
SHEET = 0.6  # of the whole sheet's: honest clips reach 0.51
FIGURE = (
    0.735  # likeness of a figure's least like band: actors in its pose and clothes reach 0.7, copies 0.77
)
LIMITS: dict[What, float] = {"sheet": SHEET, "panel": PANEL, "figure": FIGURE}
STILL = 0.9
FROZEN = 0.62  # of the clip: films that animate on holds stand still for half of it
SCENE = 0.31  # of the change that stays when the camera's part is taken out: of stills at most 0.22
SHAKING = 0.434
JOLTS = 8.0  # thousandths of the width: a hand's sway reaches 5.2, one pixel of the small frame
FLICKER = 0.05  # of the brightness: films reach 0.02
STROKES = 0.31
DRIFT = -0.078
LOST = -0.25  # a drift from which looks are gone
TINT = 13.9  # of a figure: clean clips reach 13.7, films 13.4, clothes in other colours have 14.0 or more
# One frame of leak is a flash that any viewer notices.
LEAK_FRAMES = 1


def leaked(found: Leak) -> Mask:
    """Frames (F,) that show the sheet: its detail in place, or lines like those between panels."""
    return np.asarray((found.likeness >= LIKENESS) | (found.lines >= LINES))


def present(kind: Kind, similarity: float) -> bool:
    """Whether an element of this kind counts as seen by its colours."""
    return similarity >= PRESENT[kind]


def conclude(
    leak: LeakReport,
    elements: Sequence[ElementReport],
    exchanged: Sequence[Swap],
    moved: Motion,
    text: TextReport,
    disorder: tuple[str, ...],
    known: bool,
    worths: Sequence[float],
) -> tuple[list[Problem], float, State, str]:
    """Problems (gravest first), score, state and verdict.

    Args:
        worths: what each element adds to the score, in 0..1.
    """
    problems = [
        *_of_the_sheet(leak),
        *_of_panels(leak.finds, known),
        *_of_elements(elements, known),
        *_of_people(exchanged, disorder),
        *_of_the_picture(moved, text, len(leak.likeness), acted=_acted(elements)),
    ]
    problems.sort(key=lambda problem: not problem.grave)
    clean = 1 - float(np.mean(leak.leaked))
    # A leak that was timed is in `clean` already; one that was only found, zoomed or in a corner, is not.
    counted = {"coverage", "leak"} if any(leak.leaked) else {"coverage"}
    others = sum(problem.grave and problem.measure not in counted for problem in problems)
    score = round(float(np.mean(worths)) * clean * 0.5**others, 4)
    state: State = "carried"
    if any(problem.grave for problem in problems):
        state = "not carried"
    elif any(one.state != "carried" for one in elements):
        state = "cannot tell"
    return problems, score, state, _line(state, problems, elements)


def copied(finds: Sequence[Find], element: str) -> bool:
    """Whether the picture holds a panel or a figure of an element from the sheet, or the whole sheet. Then
    what was compared may be that."""
    return any(one.likeness >= LIMITS[one.of] for one in finds if one.element in (element, ""))


def _of_the_sheet(leak: LeakReport) -> list[Problem]:
    found = []
    frames = tuple(int(at) for at in np.flatnonzero(leak.leaked))
    if len(frames) >= LEAK_FRAMES:
        found.append(Problem("leak", None, f"the sheet shows for {leak.seconds:.2f} s", frames))
    if leak.bars >= BARS:
        found.append(Problem("letterbox", None, f"black bars cover {leak.bars:.0%} of the frame"))
    return found


def _of_panels(finds: Sequence[Find], known: bool) -> list[Problem]:
    """Panels and sheets that hang or lie in the picture."""
    found = []
    for one in finds:
        if one.of == "sheet" and one.likeness >= SHEET:
            found.append(Problem("leak", None, "the sheet itself is in the picture", (one.frame,)))
        elif one.of == "panel" and one.likeness >= PANEL:
            message = f"a panel of {one.element} is in the picture as it is"
            found.append(Problem("copy", one.element, message, (one.frame,), grave=known))
        elif one.of == "figure" and one.likeness >= FIGURE:
            message = f"the figure of {one.element} is pasted from the sheet"
            found.append(Problem("copy", one.element, message, (one.frame,), grave=known))
    return found


def _of_elements(elements: Sequence[ElementReport], known: bool) -> list[Problem]:
    """Missing and drifting elements, and figures in other colours.

    Colours are a remark, for other light changes them too; where the face was compared, the clothes are
    named with it. Panels found in a bare picture may be views of one element, or detail that no frame need
    show: what they lack is a remark.
    """
    found = []
    for one in elements:
        if one.state == "not carried":
            found.append(Problem("coverage", one.id, one.why, (one.worst,), grave=known))
        elif one.drift <= DRIFT:
            message = f"{one.id} loses its looks over time ({one.drift:+.2f})"
            found.append(Problem("drift", one.id, message, (one.worst,), grave=known and one.drift <= LOST))
        elif one.kind == "character" and one.tint >= TINT and "face" not in one.compared:
            message = f"the colours of {one.id} are not the sheet's"
            found.append(Problem("tint", one.id, message, (one.worst,), grave=False))
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


def _acted(elements: Sequence[ElementReport]) -> bool:
    """Whether somebody may be there who ought to move."""
    return any(one.kind == "character" and one.state != "not carried" for one in elements)


def _of_the_picture(moved: Motion, text: TextReport, frames: int, *, acted: bool) -> list[Problem]:
    found = []
    if moved.still >= STILL:
        found.append(Problem("motion", None, f"nothing moves in {moved.still:.0%} of the clip"))
    elif moved.frozen >= FROZEN * frames:
        found.append(
            Problem("motion", None, f"the picture stands still for {moved.frozen} of {frames} frames")
        )
    elif frames > 2 and moved.scene <= SCENE:
        # Under a camera that turns, a landscape with nobody in it is like a picture of itself.
        found.append(Problem("motion", None, "only the camera moves, over a still picture", grave=acted))
    elif moved.flicker >= FLICKER:
        found.append(
            Problem("flicker", None, f"the light flickers by {moved.flicker:.0%} from frame to frame")
        )
    elif moved.shaking >= SHAKING and moved.jolts >= JOLTS:
        found.append(Problem("motion", None, f"{moved.shaking:.0%} of the picture shakes"))
    if text.lines:
        found.append(Problem("text", None, f"text in the picture: {', '.join(text.lines[:3])}"))
    elif text.lines is None and text.strokes >= STROKES:
        found.append(Problem("text", None, "something like text stands in the picture", grave=False))
    return found


def _line(state: State, problems: Sequence[Problem], elements: Sequence[ElementReport]) -> str:
    grave = [problem.message for problem in problems if problem.grave]
    if grave:
        return "not carried: " + "; ".join(grave)
    remarks = [problem.message for problem in problems]
    tail = f" (but {'; '.join(remarks)})" if remarks else ""
    if state == "cannot tell":
        return "cannot tell: " + "; ".join(one.why for one in elements if one.state == "cannot tell") + tail
    compared = [f"{one.id} by {_means(one)}" for one in elements]
    return f"carried: {', '.join(compared)}{tail}"


def _means(one: ElementReport) -> str:
    """By what an element was compared, in words that do not promise more than that."""
    if one.kind == "location":
        return "what is seen without its people"
    return "colours alone" if one.compared == ("colours",) else " and ".join(one.compared)
