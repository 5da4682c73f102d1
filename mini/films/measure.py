"""How well `castsheet pairs` reads films whose truth is known: `python -m mini.films.measure FILMS WORK
[DATA]`.

FILMS is what `python -m mini.films` wrote, WORK what `castsheet pairs find` made of it, DATA what `castsheet
pairs make` made of that. Prints one line a measure, and what was wrong.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from castsheet.pairs.cast import Cast, read_cast
from castsheet.pairs.find import Found, load
from castsheet.pairs.gates import MARGIN, mask_of
from castsheet.pairs.ledger import Stored
from castsheet.pairs.records import Clips, Film, Track, Window
from castsheet.pairs.scan import AT_LEAST, GUARD
from mini.films.further import accounted, captions, cutouts, faults, parted, plates, unit_of
from mini.films.truth import Tally, Truth, best_overlap, read_truth
from mini.script import finish

TOLERANCE = 1  # frames by which a hard cut may be off
SEEN = 0.5  # share of a subject's pixels that must be a person's for the two to be one
TRUE_VIEWS = {
    "front": (0, 30),
    "three-quarter": (20, 65),
    "side": (55, 115),
    "back": (110, 180),
    "face": (0, 35),
}
"""Degrees of true yaw at which a view is named right."""


def cuts(found: Sequence[Sequence[int]], truth: Truth) -> tuple[Tally, Tally, Tally]:
    """Precision and recall of hard cuts, and recall of dissolves and fades, by overlap."""
    hard = [one["first"] for one in truth.told["transitions"] if one["kind"] == "cut"]
    slow = [one for one in truth.told["transitions"] if one["kind"] != "cut"]
    precision, recall, dissolves = Tally(), Tally(), Tally()
    for first, last in found:
        near = any(first - TOLERANCE <= at <= last + TOLERANCE for at in hard)
        precision.add(
            near or any(first < one["last"] and one["first"] < max(last, first + 1) for one in slow)
        )
    for at in hard:
        recall.add(any(first - TOLERANCE <= at <= last + TOLERANCE for first, last in found))
    for one in slow:
        dissolves.add(any(first < one["last"] and one["first"] < last for first, last in found))
    return precision, recall, dissolves


def owners(
    tracks: Sequence[Track], truth: Truth, masks: Mapping[str, NDArray[np.bool_]], *, dressed: bool = False
) -> dict[str, str]:
    """Who each track is: the identity whose pixels its masks hold most; "" for none, or for several.

    Args:
        masks: by track and sight. dressed: whether somebody in other clothes has another name.
    """
    found: dict[str, str] = {}
    for track in tracks:
        votes: dict[str, float] = {}
        for index, sight in enumerate(track.sights):
            frame, mask = truth.near(sight.frame), masks.get(f"{track.id}.{index}")
            shot = truth.shot_at(sight.frame)
            if frame is None or mask is None or shot is None:
                continue
            box = sight.box
            figures = frame[box.y : box.bottom, box.x : box.right][mask]
            for number, one in enumerate(shot["cast"], 1):
                name = f"{one['id']} in {one['costume']}" if dressed else str(one["id"])
                votes[name] = votes.get(name, 0.0) + float((figures == number).mean())
            votes[""] = votes.get("", 0.0) + float((figures == 0).mean())
        total = sum(votes.values())
        best = max(votes, key=lambda name: votes[name], default="")
        found[track.id] = best if total and votes[best] / total > SEEN else ""
    return found


def cover(tracks: Sequence[Track], truth: Truth, masks: Mapping[str, NDArray[np.bool_]]) -> list[float]:
    """Intersection over union of every mask with its person, with or without a prop in hand."""
    found = []
    for track in tracks:
        for index, sight in enumerate(track.sights):
            frame, mask = truth.masks.get(str(sight.frame)), masks.get(f"{track.id}.{index}")
            shot = truth.shot_at(sight.frame)
            if frame is None or mask is None or shot is None or not shot["cast"]:
                continue
            whole = np.zeros(frame.shape, np.bool_)
            box = sight.box
            whole[box.y : box.bottom, box.x : box.right] = mask
            found.append(best_overlap(whole, frame, len(shot["cast"])))
    return found


def identities(
    cast: Cast, title: str, owner: Mapping[str, str], dressed: Mapping[str, str]
) -> tuple[Tally, Tally]:
    """Pairwise precision and recall of "the same person" over the tracks of a title that are somebody's.

    Args:
        owner, dressed: see `owners`. Somebody in other clothes may stay apart, but is never somebody else.
    """
    group = {track: one.key for one in cast[title].values() for track in one.tracks}
    precision, recall = Tally(), Tally()
    known = [track for track, name in owner.items() if name]
    for a, b in combinations(known, 2):
        together = a in group and group[a] == group.get(b)
        if together:
            precision.add(owner[a] == owner[b])
        if dressed[a] == dressed[b]:
            recall.add(together)
    return precision, recall


def windows(found: Sequence[Window], truth: Truth) -> tuple[int, list[str]]:
    """Windows with a frame of a transition, and windows with a planted fault that no rule left out."""
    slow = truth.transition_frames()
    bad = sum(bool(slow & set(range(one.frames[0], one.frames[-1] + 1))) for one in found)
    faults = []
    for one in found:
        shot = truth.shot_at(one.frames[len(one.frames) // 2])
        if shot is not None and shot["fault"]:
            faults.append(f"{one.id} {shot['fault']}")
    return bad, faults


def possible(truth: Truth, clips: Clips) -> list[int]:
    """Numbers of the shots of which the script allows a pair.

    A clip fits between the guards, nothing is wrong with the shot or the film, somebody is there, everybody
    is seen from near with their face and whole in other shots, in the same clothes, and the place is seen
    empty or in three other shots.
    """
    shots = [] if truth.told["logo"] else truth.told["shots"]
    sound = [one for one in shots if not one["fault"]]

    def others(shot: Mapping[str, Any], near: bool, who: Mapping[str, Any], widest: float) -> bool:
        return any(
            other is not shot and bool(other["near"]) == near and _turned(other, who) <= widest
            for other in sound
        )

    found = []
    for number, shot in enumerate(shots):
        seconds = (shot["last"] - shot["first"] - 2 * GUARD - 1) / truth.told["fps"]
        if shot["fault"] or not shot["cast"] or seconds < clips.seconds:
            continue
        same = [one for one in sound if one is not shot and one["place"] == shot["place"] and not one["near"]]
        place = len(same) >= AT_LEAST or any(not one["cast"] for one in same)
        people = all(
            others(shot, True, who, TRUE_VIEWS["face"][1]) and others(shot, False, who, 180)
            for who in shot["cast"]
        )
        if place and people:
            found.append(number)
    return found


def _turned(shot: Mapping[str, Any], who: Mapping[str, Any]) -> float:
    """How far somebody is turned from us in a shot, at least; endless if they are not there in these
    clothes."""
    mine = [one for one in shot["cast"] if (one["id"], one["costume"]) == (who["id"], who["costume"])]
    return min((abs(_wrapped(yaw)) for one in mine for yaw in one["yaw"]), default=float("inf"))


def lost(
    found: Found,
    results: Path,
    film: Film,
    truth: Truth,
    rows: Sequence[dict[str, Any]],
    out: Mapping[str, str],
) -> tuple[Tally, list[str]]:
    """How many of the shots that the script allows became pairs, and why the others did not.

    Args:
        results: the ledger's folder. out: of everything that was left out, by unit: the rule and its value.
    """
    spans = Stored(results / "shots" / f"{found.stages[film.id]['shots']}.json").values["shots"]
    made = {row["video"].split("/")[1].rpartition("w")[0] for row in rows}
    tally, told = Tally(), []
    for number in possible(truth, found.clips):
        shot = truth.told["shots"][number]
        middle = (shot["first"] + shot["last"]) // 2
        mine = next((f"{film.id}-{k:04d}" for k, (a, b) in enumerate(spans) if a <= middle < b), "")
        tally.add(mine in made)
        if mine not in made:
            why = [f"{unit} {rule}" for unit, rule in out.items() if mine and unit.startswith(mine)]
            told.append(f"lost: shot {number} of {film.title}: {'; '.join(why) or 'no shot was found'}")
    return tally, told


def pairs(
    rows: Sequence[dict[str, Any]], film: Film, found: Found, truth: Truth
) -> Iterator[tuple[str, bool, str]]:
    """Checks of pairs: their name, whether they hold, and where."""
    mine = {one.id: one for one in found.windows if one.shot.startswith(film.id)}
    for row in rows:
        unit = unit_of(row)
        if unit not in mine:
            continue
        window = mine[unit]
        shot = truth.shot_at(window.frames[len(window.frames) // 2])
        assert shot is not None
        wanted = {one["id"] for one in shot["cast"]}
        shown: dict[str, set[str]] = {}
        for panel in row["panels"]:
            for _, frame in panel["frames"]:
                inside = window.frames[0] - MARGIN <= frame <= window.frames[-1] + MARGIN
                yield "panel from elsewhere", not inside, f"{unit} frame {frame}"
            if panel["element"] == "place":
                continue
            frame = panel["frames"][0][1]
            of = truth.shot_at(frame)
            if of is None:
                yield "panel shows somebody of the clip", False, f"{unit} {panel['view']} in a transition"
                continue
            who = _who(truth, frame, panel["box"], of)
            if who is None:
                continue
            shown.setdefault(panel["element"], set()).add(who)
            yield "panel shows somebody of the clip", who in wanted, f"{unit} {panel['view']} {who}"
            yaw = next(
                (abs(_wrapped(c["yaw"][frame - of["first"]])) for c in of["cast"] if c["id"] == who), None
            )
            if yaw is not None:
                low, high = TRUE_VIEWS[panel["view"]]
                yield "view named right", low <= yaw <= high, f"{unit} {panel['view']} {yaw}"
            repeated = of["of"] is not None or shot["of"] is not None
            same = repeated and _source(truth, of) == _source(truth, shot)
            yield "no panel of a repeat", not same, f"{unit} {panel['view']}"
        yield "one person an element", all(len(one) == 1 for one in shown.values()), f"{unit} {shown}"
        yield "everybody has panels", {n for one in shown.values() for n in one} >= wanted, f"{unit} {wanted}"


def _source(truth: Truth, shot: Mapping[str, Any]) -> int:
    """Number of the shot that a shot shows or repeats."""
    number = next(k for k, one in enumerate(truth.told["shots"]) if one["first"] == shot["first"])
    return number if shot["of"] is None else int(shot["of"])


def _who(truth: Truth, frame: int, box: Mapping[str, int], shot: Mapping[str, Any]) -> str | None:
    """Who covers most of a box, by the shot's nearest frame with a mask; None for a shot without masks, which
    is one that stands still: it is not counted."""
    known = [at for at in map(int, truth.masks) if shot["first"] <= at < shot["last"]]
    if not known:
        return None
    near = min(known, key=lambda at: abs(at - frame))
    part = truth.masks[str(near)][box["y"] : box["y"] + box["h"], box["x"] : box["x"] + box["w"]]
    counts = np.bincount(part.ravel(), minlength=len(shot["cast"]) + 1)[1 : len(shot["cast"]) + 1]
    return str(shot["cast"][int(counts.argmax())]["id"]) if len(counts) and counts.any() else ""


def _wrapped(yaw: float) -> float:
    return (yaw + 180) % 360 - 180


def masks_of(found: Found, work: Path, tracks: Sequence[Track]) -> dict[str, NDArray[np.bool_]]:
    """The stored masks of tracks, by track and sight."""
    masks: dict[str, NDArray[np.bool_]] = {}
    for track in tracks:
        arrays = Stored(work / "results" / "watched" / f"{found.results[track.shot]}.json").arrays()
        for index, sight in enumerate(track.sights):
            masks[f"{track.id}.{index}"] = mask_of(arrays[f"mask{track.number}.{index}"], sight)
    return masks


def who_of(rows: Sequence[Mapping[str, Any]], truth: Truth) -> dict[str, str]:
    """Whom each name on a sheet stands for, by unit and name: the identity that its panels show."""
    found: dict[str, str] = {}
    for row in rows:
        for panel in row["panels"]:
            frame = panel["frames"][0][1]
            shot = truth.shot_at(frame)
            if panel["element"] == "place" or shot is None:
                continue
            who = _who(truth, frame, panel["box"], shot)
            if who:
                found.setdefault(f"{unit_of(row)} {panel['element']}", who)
    return found


class Report:
    """All measures, as they are gathered film by film.

    Args:
        films, work, data: see the module.
    """

    def __init__(self, films: Path, work: Path, data: Path | None) -> None:
        self._films, self._work, self._data = films, work, data
        self._found, self._cast = load(work), read_cast(work / "cast.yaml")
        self._rows: list[dict[str, Any]] = []
        self._out: dict[str, str] = {}
        if data is not None:
            self._rows = [json.loads(line) for line in (data / "pairs.jsonl").read_text().splitlines()]
            with (data / "rejects.csv").open(newline="") as file:
                self._out = {one["unit"]: f"{one['rule']} {one['value']}" for one in csv.DictReader(file)}
        self._total: dict[str, Tally] = {}
        self._wrong: list[str] = []
        self._ious: dict[str, list[float]] = {"masks of tracks": [], "cut-outs of sheets": []}

    def lines(self) -> list[str]:
        """One line a measure, and one for each thing that is wrong."""
        truths: dict[str, Truth] = {}
        for film in self._found.films:
            truth = read_truth(self._films, film)
            if truth is not None:
                truths[film.title] = truth
                self._find(film, truth)
                self._make(film, truth)
        lines = [f"{name}: {tally}" for name, tally in self._total.items()]
        for name, ious in self._ious.items():
            median, tenth = np.percentile(ious, (50, 10)) if ious else (0.0, 0.0)
            lines.append(f"{name}, IoU: median {median:.3f}, tenth {tenth:.3f}, of {len(ious)}")
        if self._data is not None:
            lines += [f"shared between splits: {parted(self._rows, truths)}"]
            lines += accounted(self._data)
        return [*lines, f"pairs: {len(self._rows)}", *self._wrong]

    def _find(self, film: Film, truth: Truth) -> None:
        """What `find` made of a film."""
        results = self._work / "results"
        cut = Stored(results / "shots" / f"{self._found.stages[film.id]['shots']}.json")
        names = ("cuts: precision", "cuts: recall", "dissolves and fades: recall")
        for name, tally in zip(names, cuts(cut.values["changes"], truth), strict=True):
            self._sum(name, tally)
        tracks = [one for one in self._found.tracks if one.shot.startswith(film.id)]
        masks = masks_of(self._found, self._work, tracks)
        self._ious["masks of tracks"] += cover(tracks, truth, masks)
        owner, dressed = (owners(tracks, truth, masks, dressed=one) for one in (False, True))
        precision, recall = identities(self._cast, film.title, owner, dressed)
        self._sum("same person: precision", precision)
        self._sum("same person: recall", recall)
        accepted = [one for one in self._found.windows if one.shot.startswith(film.id)]
        bad, spoilt = windows(accepted, truth)
        self._sum("windows with a transition", Tally(bad, len(accepted)))
        self._wrong += [f"fault in an accepted window: {one}" for one in spoilt]
        planted, clean, told = faults(self._found, results, film, truth)
        self._sum("faults left out by the right rule", planted)
        self._sum("clean windows left out", clean)
        self._wrong += told

    def _make(self, film: Film, truth: Truth) -> None:
        """What `make` made of it."""
        if self._data is None:
            return
        mine = {one.id: one for one in self._found.windows if one.shot.startswith(film.id)}
        rows = [row for row in self._rows if unit_of(row) in mine]
        middles = {unit: window.frames[len(window.frames) // 2] for unit, window in mine.items()}
        shots = {unit: shot for unit, at in middles.items() if (shot := truth.shot_at(at)) is not None}
        tally, told = lost(self._found, self._work / "results", film, truth, rows, self._out)
        self._sum("shots that the script allows", tally)
        for name, holds, where in pairs(rows, film, self._found, truth):
            self._total.setdefault(name, Tally()).add(holds)
            told += [] if holds else [f"{name}: not so at {where}"]
        self._ious["cut-outs of sheets"] += cutouts(rows, self._found, self._work / "results", film, truth)
        words, wrong = captions(rows, shots, who_of(rows, truth))
        self._sum("captions right of everybody", words)
        free, near, other = plates(self._data, rows, shots)
        self._sum("places with next to nothing else", free)
        self._sum("places like the painted one", near)
        self._wrong += [*told, *wrong, *other]

    def _sum(self, name: str, tally: Tally) -> None:
        one = self._total.setdefault(name, Tally())
        one.right, one.of = one.right + tally.right, one.of + tally.of


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("films", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("data", type=Path, nargs="?")
    options = parser.parse_args()
    print("\n".join(Report(options.films, options.work, options.data).lines()))


if __name__ == "__main__":
    finish(main)
