"""What `mini.films.measure` counts besides: rules that leave windows out, words, pictures of places, splits.

Legend: H height, W width.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from castsheet.errors import CastsheetError
from castsheet.pairs.find import Found
from castsheet.pairs.frames import read_frames
from castsheet.pairs.gates import mask_of
from castsheet.pairs.ledger import Stored
from castsheet.pairs.records import Film
from castsheet.pairs.references import ROOM, cut
from castsheet.prompt import parse
from castsheet.sheet.manifest import Sheet
from mini.films.truth import Tally, Truth, best_overlap
from mini.story import HEIGHT, WIDTH
from mini.story.motion import HEADING
from mini.story.place import WIDER, paint

RIGHT = {"caption": "R34", "still": "R30", "blur": "R31", "repeat": "R36", "mirror": "R36"}
"""The rule that a planted fault breaks."""
QUALITY = ("R30", "R31", "R32", "R33", "R34", "R35", "R36")
LEAVES = ("R10", "quarantined")  # say nothing of a fault
FAR = 30  # levels: a pixel of a place's picture that shows something else
SHARE = 0.005  # of a place's picture
DECIBELS = 30.0
FINER = 4  # steps of a px in which a place is laid on its truth
THINNED = 3  # px of which one is compared at first
EDGE = 3  # px: an edge may lie one off, because a sheet scales its pictures

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]


def faults(found: Found, results: Path, film: Film, truth: Truth) -> tuple[Tally, Tally, list[str]]:
    """Windows with a planted fault that the right rule left out, windows without one that a rule of quality
    left out, and which were not as they should be.

    Args:
        results: the ledger's folder.
    """
    spans = Stored(results / "shots" / f"{found.stages[film.id]['shots']}.json").values["shots"]
    units = {one.id: "" for one in found.windows if one.shot.startswith(film.id)}
    units |= {one.unit: one.rule for one in found.rejects if one.unit.startswith(film.id)}
    planted, clean, told = Tally(), Tally(), []
    for unit, rule in units.items():
        number = int(unit.partition("w")[0].rpartition("-")[2])
        shot = truth.shot_at(sum(spans[number]) // 2)
        if shot is None or rule in LEAVES or not shot["cast"]:
            continue
        right = "R35" if truth.told["logo"] else RIGHT.get(shot["fault"])
        wrong = rule in QUALITY if right is None else rule != right
        (clean if right is None else planted).add(wrong == (right is None))
        if wrong:
            told.append(f"rule: {unit}: {rule or 'accepted'}, and is {right or 'clean'}")
    return planted, clean, told


def captions(
    rows: Sequence[Mapping[str, Any]], shots: Mapping[str, Mapping[str, Any]], who: Mapping[str, str]
) -> tuple[Tally, list[str]]:
    """Whether captions can be read, and say of everybody what the script lets them do.

    Args:
        shots: by unit, what is true of its shot. who: by unit and name on the sheet, the identity.
    """
    tally, told = Tally(), []
    for row in rows:
        unit = unit_of(row)
        try:
            action = parse(row["caption"]).action
        except CastsheetError as error:
            tally.add(False)
            told.append(f"caption: {unit}: {error.what}")
            continue
        for one in shots[unit]["cast"]:
            name = next((k.split()[1] for k, v in who.items() if k.split()[0] == unit and v == one["id"]), "")
            right = bool(name) and _says(action, name, one)
            tally.add(right)
            if not right:
                told.append(f"caption: {unit}: {one['id']} {one['action']}: {action.strip()}")
    return tally, told


def _says(action: str, name: str, one: Mapping[str, Any]) -> bool:
    """Whether the words tell of somebody's deed: where they walk to, that they turn, or that they stay."""
    deed = next((part for part in action.rstrip(". ").split(" and ") if name in part.split()), "")
    heading = HEADING.get(one["action"])
    if heading is not None:
        return f"walks to the {'right' if heading > 0 else 'left'}" in deed
    if one["action"] == "turn round":
        return "turns round" in deed
    return "stays there" in deed


def unit_of(row: Mapping[str, Any]) -> str:
    """The window that a row of pairs.jsonl is made of."""
    return str(row["video"].split("/")[1].removesuffix(".mp4"))


def plates(
    data: Path, rows: Sequence[Mapping[str, Any]], shots: Mapping[str, Mapping[str, Any]]
) -> tuple[Tally, Tally, list[str]]:
    """Pictures of places on sheets: those with next to nothing of people, and those near the painted place.

    Args:
        data: what `make` wrote. shots: see `captions`.
    """
    free, near, told = Tally(), Tally(), []
    for row in rows:
        unit = unit_of(row)
        sheet = Sheet.load(data / row["sheet"])
        for panel in sheet.panels:
            if panel.element != "place":
                continue
            box, scale = panel.box, panel.sources[0].scale
            picture = sheet.image.convert("RGB").crop((box.x, box.y, box.right, box.bottom))
            other, decibels = _apart(np.asarray(picture), shots[unit]["place"], scale)
            free.add(other <= SHARE)
            near.add(decibels >= DECIBELS)
            if other > SHARE or decibels < DECIBELS:
                told.append(f"place: {unit}: {other:.2%} is something else, {decibels:.1f} dB")
    return free, near, told


def _apart(picture: Pixels, place: int, scale: float) -> tuple[float, float]:
    """The share of a picture that shows something else than the painted place where it fits best, which is
    three px broad at least, and the peak signal to noise ratio there. Both at the film's own size.

    Args:
        scale: px of the picture for one of a film's frame, of which it may be a part.
    """
    size = round(picture.shape[1] / scale), round(picture.shape[0] / scale)
    small = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BOX))
    truth, coarse = _painted(place)
    height, width = small.shape[:2]
    every = small[::THINNED, ::THINNED].astype(np.float32)
    corners = [
        (float(np.square(every - part[::THINNED, ::THINNED]).mean()), y * FINER, x * FINER)
        for y in range(coarse.shape[0] - height + 1)
        for x in range(coarse.shape[1] - width + 1)
        if (part := coarse[y : y + height, x : x + width]).shape == small.shape
    ]
    if not corners:
        return 1.0, 0.0
    _, top, left = min(corners)
    around = range(1 - FINER, FINER)
    fine = [
        (float(np.square(small - finer).mean()), y, x)
        for y in (top + by for by in around)
        for x in (left + by for by in around)
        if (finer := _part(truth, y, x, small.shape)) is not None
    ]
    _, top, left = min(fine)
    fitting = _part(truth, top, left, small.shape)
    assert fitting is not None
    held = _held(small, fitting, EDGE)
    far = np.abs(held).max(axis=2) > FAR
    broad = Image.fromarray(far.astype(np.uint8) * 255).filter(ImageFilter.MinFilter(3))
    other = np.asarray(broad.filter(ImageFilter.MaxFilter(3))) > 0
    error = float(np.square(held).mean())
    return float(other.mean()), 10 * float(np.log10(255**2 / max(error, 1e-6)))


def _held(picture: Pixels, truth: Floats, side: int) -> Floats:
    """How far a picture is from all that its truth shows around each pixel: edges may lie a little off."""
    image = Image.fromarray(np.rint(truth).astype(np.uint8))
    low = np.asarray(image.filter(ImageFilter.MinFilter(side)), np.float32)
    high = np.asarray(image.filter(ImageFilter.MaxFilter(side)), np.float32)
    shown = picture.astype(np.float32)
    return np.asarray(shown - np.clip(shown, low, high), np.float32)


def _part(truth: Pixels, top: int, left: int, shape: tuple[int, ...]) -> Floats | None:
    """A part of the painted place at the film's size; `top` and `left` are px of the larger picture."""
    height, width = shape[:2]
    part = truth[max(0, top) : top + height * FINER, max(0, left) : left + width * FINER]
    if min(top, left) < 0 or part.shape != (height * FINER, width * FINER, 3):
        return None
    return np.asarray(part.reshape(height, FINER, width, FINER, 3).mean(axis=(1, 3)), np.float32)


@lru_cache(maxsize=4)
def _painted(place: int) -> tuple[Pixels, Floats]:
    """A painted place, `FINER` times as large as in a film, and as large as there."""
    large = paint(place, round(WIDTH * WIDER * FINER), HEIGHT * FINER)
    shape = HEIGHT, FINER, large.shape[1] // FINER, FINER, 3
    return large, np.asarray(large[:, : shape[2] * FINER].reshape(shape).mean(axis=(1, 3)), np.float32)


def cutouts(
    rows: Sequence[Mapping[str, Any]], found: Found, results: Path, film: Film, truth: Truth
) -> Iterator[float]:
    """Intersection over union of sheets' cut-outs with their people, of frames whose true mask is known.

    Args:
        results: the ledger's folder.
    """
    times = Stored(results / "shots" / f"{found.stages[film.id]['shots']}.json").arrays()["times"]
    tracks = {track.id: track for track in found.tracks}
    for panel in (one for row in rows for one in row["panels"] if one["element"] != "place"):
        frame, track = panel["frames"][0][1], tracks[panel["track"]]
        figures, shot = truth.masks.get(str(frame)), truth.shot_at(frame)
        if figures is None or shot is None:
            continue
        index, sight = next((k, one) for k, one in enumerate(track.sights) if one.frame == frame)
        arrays = Stored(results / "watched" / f"{found.results[track.shot]}.json").arrays()
        mask, size = mask_of(arrays[f"mask{track.number}.{index}"], sight), found.sizes[track.shot]
        picture = next(read_frames(film, start=float(times[frame]), size=size))[1]
        alpha = np.asarray(cut(picture, mask, sight.box, size).getchannel("A"))
        room = round(ROOM * sight.box.h)
        top, left = max(0, sight.box.y - room), max(0, sight.box.x - room)
        whole = np.zeros(figures.shape, np.bool_)
        whole[top : top + alpha.shape[0], left : left + alpha.shape[1]] = alpha >= 128
        yield best_overlap(whole, figures, len(shot["cast"]))


def parted(rows: Sequence[Mapping[str, Any]], truths: Mapping[str, Truth]) -> dict[str, int]:
    """How many identities, places and titles two parts of the split share.

    Args:
        truths: by title.
    """
    seen: dict[str, dict[str, set[str]]] = {"identities": {}, "places": {}, "titles": {}}
    for row in rows:
        truth = truths[row["title"]]
        shots = [truth.shot_at(frame) for panel in row["panels"] for _, frame in panel["frames"]]
        known = [one for one in shots if one is not None]
        names = {
            "identities": {str(who["id"]) for one in known for who in one["cast"]},
            "places": {str(one["place"]) for one in known},
            "titles": {row["title"]},
        }
        for kind, every in names.items():
            for name in every:
                seen[kind].setdefault(name, set()).add(row["split"])
    return {kind: sum(len(parts) > 1 for parts in every.values()) for kind, every in seen.items()}


def accounted(data: Path) -> Iterator[str]:
    """Lines that say whether what was found is what was accepted, left out and quarantined, at each stage."""
    summary = json.loads((data / "summary.json").read_text())
    with (data / "rejects.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for stage, counts in summary.items():
        if isinstance(counts, dict) and "found" in counts:
            parts = sum(counts[name] for name in ("accepted", "rejected", "quarantined"))
            yield f"{stage}: found {counts['found']} = {parts} accepted, rejected and quarantined"
    left = sum(counts["rejected"] + counts["quarantined"] for counts in summary.values() if "found" in counts)
    bare = sum(not (row["rule"] and row["value"]) for row in rows)
    yield f"rejects: {len(rows)} rows of {left}, {bare} of them without rule or value"
