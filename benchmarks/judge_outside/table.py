"""Figures of the outside set: `python -m benchmarks.judge_outside.table FOLDER [--half tuning]`.

Reads what `measure.py` saw, and asks the package's own states. Worst rows come first.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.judge_outside.film import CAST, PLACES, facts, looked
from benchmarks.judge_outside.measure import Line, kept_lines
from benchmarks.judge_outside.props import ROWS
from castsheet.judge.evidence import Glimpse, better_half
from castsheet.judge.faces import FaceReport, FaceView
from castsheet.judge.judgement import State
from castsheet.judge.states import Held, find, worth
from castsheet.sheet.box import Kind
from mini.judged.thresholds import auc

TAKES = ("right", "stranger, same clothes", "nobody", "wrong place")
PEOPLE_PLACES = {"wrong place": ("wrong place",), "right place": ("right", "pair")}
KEPT = 0.9  # of the right ones, where rates of false ones are compared


def held(line: Line, element: str, *, faces: bool = True) -> Held:
    """What is known of an element of a case; with `faces` off, as if they were not installed."""
    kinds: dict[str, Kind] = {"place": "location", "thing": "prop"}
    kind: Kind = kinds.get(element, "character")
    glimpses = [Glimpse(**one) for one in line["figures"][element]]
    seen = line["faces"].get(element) if faces else None
    views = [] if seen is None else [FaceView(**one) for one in seen["views"]]
    face = None if seen is None else FaceReport(**(seen | {"views": views}))
    # Colours count as present but of props: what they would say of the whole clip is not measured here.
    coverage = line.get("coverage", {}).get(element, 1.0)
    return Held(kind, 1.0, coverage, glimpses, face, element not in line["known"] and faces)


def state(line: Line, element: str, *, faces: bool = True) -> State:
    """What the package says of an element of a case; `faces` as above."""
    return find(element, held(line, element, faces=faces)).state


def takes(lines: Sequence[Line]) -> str:
    """How often the right clip has the best score of four of one sheet: right, a stranger in the same
    clothes, nobody, wrong place."""
    scores: dict[tuple[str, str], dict[str, float]] = {}
    for line in lines:
        _, sheet, case = line["name"].split("/")
        group, number = case.rsplit("-", 1)
        worths = [worth(held(line, element), 0.0) for element in ("hero", "place")]
        scores.setdefault((sheet, number), {})[group] = float(np.mean(worths))
    whole = [one for one in scores.values() if len(one) == len(TAKES)]
    first = sum(max(one, key=lambda name: one[name]) == TAKES[0] for one in whole)
    return f"chosen {first} of {len(whole)}"


def value(line: Line, element: str) -> float:
    """What states go by: an element's figure, or the place, in the better half of the frames."""
    return better_half([Glimpse(**one) for one in line["figures"][element]])


def separation(lines: Sequence[Line], element: str) -> str:
    """AUC, and how many false ones there are where nine of ten right ones are kept."""
    right = [value(one, element) for one in lines if one["truth"].get(element) is True]
    wrong = [value(one, element) for one in lines if one["truth"].get(element) is False]
    if not right or not wrong:
        return "not measured"
    cut = float(np.quantile(right, 1 - KEPT))
    false = float(np.mean(np.array(wrong) >= cut))
    counts = f"{len(right)} right, {len(wrong)} wrong"
    return f"AUC {auc(right, wrong):.3f}, {false:.1%} false at 90 % kept ({counts})"


def states(lines: Sequence[Line], element: str, *, faces: bool = True) -> str:
    """How many cases are carried, cannot be told, and are not carried."""
    told = [state(one, element, faces=faces) for one in lines]
    names: tuple[State, ...] = ("carried", "cannot tell", "not carried")
    return ", ".join(f"{name} {told.count(name)}" for name in names) + f" of {len(told)}"


def same_place(lines: Sequence[Line]) -> list[Line]:
    """Film cases in whose place the character is seen in some shots and not in others."""
    shots = facts()

    def place(one: Line) -> str:
        return str(shots[int(one["name"][-3:])]["place"])

    known = [one for one in lines if "hero" in one["truth"] and place(one) not in ("unclear", "another")]
    kept = []
    for one in known:
        sheet = one["name"].split("/")[1]
        beside = [x for x in known if x["name"].split("/")[1] == sheet and place(x) == place(one)]
        if {x["truth"]["hero"] for x in beside} == {True, False}:
            kept.append(one)
    return kept


def by_looking(lines: Sequence[Line], *, listed: bool, maybe: bool) -> list[Line]:
    """Film cases of the places that are asked for, with the truth about the place as it was seen in the
    pictures.

    Args:
        listed: only cases about whose place the list of shots says something. maybe: whether a place that may
            be there counts as absent; such cases are left out else.
    """
    told = []
    for one in lines:
        half, _, _, place = CAST[one["name"].split("/")[1]]
        seen = looked()[int(one["name"][-3:])]
        unsure = place in seen["maybe"] and not maybe
        if place in PLACES[half] and not unsure and (not listed or "place" in one["truth"]):
            told.append(one | {"truth": one["truth"] | {"place": place in seen["seen"]}})
    return told


def of_places(lines: Sequence[Line]) -> list[tuple[str, str]]:
    """The rows about places."""
    film = [one for one in lines if one["group"] == "film"]
    rows = [
        ("film: place, by the list of shots", separation(film, "place")),
        (
            "film: place, by looking, shots of that list",
            separation(by_looking(film, listed=True, maybe=False), "place"),
        ),
        (
            "film: place, by looking, all shots",
            separation(by_looking(film, listed=False, maybe=False), "place"),
        ),
        (
            "film: place, by looking, all shots; what may be there counts as absent",
            separation(by_looking(film, listed=False, maybe=True), "place"),
        ),
    ]
    seen = by_looking(film, listed=False, maybe=False)
    for name, told in (("list", film), ("looking", seen)):
        for word, truth in (("right", True), ("wrong", False)):
            mine = [one for one in told if one["truth"].get("place") is truth]
            rows.append((f"film: states, {word} place, by {name}", states(mine, "place")))
    people = {name: [x for x in lines if x["group"] in names] for name, names in PEOPLE_PLACES.items()}
    return [*rows, *((f"people: {name}", states(mine, "place")) for name, mine in people.items())]


def table(lines: Sequence[Line]) -> str:
    """All rows, as Markdown."""
    film = [one for one in lines if one["group"] == "film"]

    def group(name: str) -> list[Line]:
        return [one for one in lines if one["group"] == name]

    rows = [
        ("film: is the character there", separation(film, "hero")),
        (
            "film: states, character there",
            states([x for x in film if x["truth"].get("hero") is True], "hero"),
        ),
        (
            "film: states, character not there",
            states([x for x in film if x["truth"].get("hero") is False], "hero"),
        ),
        ("same place, other character", separation(same_place(film), "hero")),
        *of_places(lines),
    ]
    things = [one for one in lines if one["group"].startswith("props: ")]
    rows.append(("props: is the thing there", separation(things, "thing")))
    rows += [(f"props: {name}", states(group(f"props: {name}"), "thing")) for name in ROWS]
    for name in ("right", "right, dreamt", "right, turned", "other clothes", "pair", "second missing"):
        who = "rival" if name == "second missing" else "hero"
        rows.append((f"people: {name}, {who}", states(group(name), who)))
    for name in ("stranger, same clothes", "stranger, other clothes", "nobody"):
        rows.append((f"people: {name}", states(group(name), "hero")))
    rows += [
        (
            "people: stranger, same clothes, faces not installed",
            states(group("stranger, same clothes"), "hero", faces=False),
        ),
        ("people: twin instead of the second", states(group("twin"), "rival")),
        ("people: the right one of four takes", takes([one for name in TAKES for one in group(name)])),
    ]
    return rows_of(rows)


def rows_of(rows: Sequence[tuple[str, str]]) -> str:
    """Rows as a Markdown table."""
    told = ["| question | held-out figure |", "|---|---|", *(f"| {a} | {b} |" for a, b in rows)]
    return "\n".join(told) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--half", default="held out", choices=("tuning", "held out"))
    parser.add_argument("--places", action="store_true", help="what measure --places saw")
    asked = parser.parse_args()
    lines = kept_lines(asked.folder, "places" if asked.places else "seen")
    mine = [one for one in lines if one["half"] == asked.half]
    print(rows_of(of_places(mine)) if asked.places else table(mine))


if __name__ == "__main__":
    main()
