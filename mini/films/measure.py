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
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Truth:
    """What is true of a film."""

    told: dict[str, Any]
    masks: Mapping[str, NDArray[np.uint8]]

    def shot_at(self, frame: int) -> dict[str, Any] | None:
        """The shot that a frame belongs to; None in a transition."""
        return next((one for one in self.told["shots"] if one["first"] <= frame < one["last"]), None)

    def near(self, frame: int) -> NDArray[np.uint8] | None:
        """The mask of a frame or of one of its neighbours: people move little in three frames."""
        offsets = (0, 1, -1, 2, -2, 3, -3)
        return next((self.masks[str(frame + k)] for k in offsets if str(frame + k) in self.masks), None)

    def transition_frames(self) -> set[int]:
        """All frames that belong to no shot."""
        return {k for one in self.told["transitions"] for k in range(one["first"], one["last"])}


def read_truth(folder: Path, film: Film) -> Truth | None:
    """A film's truth; None for a file that was made to be corrupt."""
    path = folder / f"{film.title}.json"
    if not path.is_file():
        return None
    with np.load(folder / f"{film.title}.masks.npz", allow_pickle=False) as masks:
        return Truth(json.loads(path.read_text()), {name: masks[name] for name in masks.files})


@dataclass
class Tally:
    """A share as it is counted, with what was wrong."""

    right: int = 0
    of: int = 0

    def add(self, right: bool) -> None:
        self.right += right
        self.of += 1

    def __str__(self) -> str:
        return f"{self.right}/{self.of} = {self.right / max(1, self.of):.3f}"


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
            people = range(1, len(shot["cast"]) + 1)
            sets = [frame == k for k in people] + [(frame == k) | (frame > len(shot["cast"])) for k in people]
            found.append(max(float((whole & one).sum() / max(1, (whole | one).sum())) for one in sets))
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

    A clip fits between the guards, nothing is wrong with the shot, somebody is there, everybody is seen from
    near with their face and whole in other shots, in the same clothes, and the place is seen empty or in
    three other shots.
    """
    shots = truth.told["shots"]
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
        unit = row["video"].split("/")[1].removesuffix(".mp4")
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


def report(films: Path, work: Path, data: Path | None) -> list[str]:
    """All measures as lines."""
    found, cast = load(work), read_cast(work / "cast.yaml")
    rows = []
    out: dict[str, str] = {}
    if data is not None:
        rows = [json.loads(line) for line in (data / "pairs.jsonl").read_text().splitlines()]
        with (data / "rejects.csv").open(newline="") as file:
            out = {one["unit"]: f"{one['rule']} {one['value']}" for one in csv.DictReader(file)}
    total: dict[str, Tally] = {}
    wrong: list[str] = []
    ious: list[float] = []
    for film in found.films:
        truth = read_truth(films, film)
        if truth is None:
            continue
        cut = Stored(work / "results" / "shots" / f"{found.stages[film.id]['shots']}.json")
        names = ("cuts: precision", "cuts: recall", "dissolves and fades: recall")
        for name, tally in zip(names, cuts(cut.values["changes"], truth), strict=True):
            _sum(total, name, tally)
        tracks = [one for one in found.tracks if one.shot.startswith(film.id)]
        masks = masks_of(found, work, tracks)
        ious += cover(tracks, truth, masks)
        owner, dressed = (owners(tracks, truth, masks, dressed=one) for one in (False, True))
        precision, recall = identities(cast, film.title, owner, dressed)
        _sum(total, "same person: precision", precision)
        _sum(total, "same person: recall", recall)
        accepted = [one for one in found.windows if one.shot.startswith(film.id)]
        bad, faults = windows(accepted, truth)
        _sum(total, "windows with a transition", Tally(bad, len(accepted)))
        wrong += [f"fault in an accepted window: {one}" for one in faults]
        if data is not None:
            tally, told = lost(found, work / "results", film, truth, rows, out)
            _sum(total, "shots that the script allows", tally)
            wrong += told
        for name, holds, where in pairs(rows, film, found, truth):
            total.setdefault(name, Tally()).add(holds)
            wrong += [] if holds else [f"{name}: not so at {where}"]
    lines = [f"{name}: {tally}" for name, tally in total.items()]
    if ious:
        lines.append(
            f"masks, IoU: median {np.median(ious):.3f}, tenth {np.percentile(ious, 10):.3f}, of {len(ious)}"
        )
    return [*lines, f"pairs: {len(rows)}", *wrong]


def _sum(total: dict[str, Tally], name: str, tally: Tally) -> None:
    one = total.setdefault(name, Tally())
    one.right, one.of = one.right + tally.right, one.of + tally.of


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("films", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("data", type=Path, nargs="?")
    options = parser.parse_args()
    print("\n".join(report(options.films, options.work, options.data)))


if __name__ == "__main__":
    finish(main)
