"""The last gate: the judge on the real clip with its own sheet. A wrong pair is one that the judge would call
a failed clip, or a clip that is a copy of its sheet.
"""

from __future__ import annotations

from functools import cache

from castsheet.clip import Clip
from castsheet.judge.judge import Judge, Options
from castsheet.sheet.manifest import Sheet


@cache
def _options() -> Options:
    """With all networks that are installed: they are loaded once a process."""
    return Options.installed()


def judge_here() -> str:
    """What the judge looks with on this machine, for keys of results."""
    found = _options()
    names = [one.name for one in (found.faces or ())] + [one.name for one in found.lookers]
    return " ".join(["colours", *names, *([found.matter.name] if found.matter else [])])


def judged(sheet: Sheet, clip: Clip) -> tuple[str, str] | None:
    """The rule that a pair breaks and why, or None: copies are refused, and people who are not there."""
    judgement = Judge(sheet, _options())(clip)
    for problem in judgement.problems:
        if problem.measure in ("leak", "copy") and problem.grave and problem.element != "place":
            return "R96", problem.message
    for one in judgement.elements:
        if one.kind == "character" and one.state == "not carried":
            return "R97", f"{one.id}: {one.why}"
    return None
