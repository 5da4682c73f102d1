"""The cast of all films as `cast.yaml`, which a person corrects, and what the corrections say.

    titles:
      film one:
        p1: {name: ann, tracks: [3f2a-0001.0, 3f2a-0004.1]}
        p2: {name: '', tracks: [...], unsure: [3f2a-0009.0]}
        rabbit: {name: bunny, what: a rabbit, boxes: [{frame: 1290, box: [412, 96, 230, 310], view: side}]}
        cup: {name: cup, what: a cup, kind: prop, boxes: [{frame: 1290, box: [700, 400, 60, 80]}]}
        nobody: {tracks: [...]}

Move a track's id from one list to another to split or to merge people; give a name to somebody who has
none; empty `unsure` to say that the doubt is settled; tracks under `nobody` are no subjects. What no
detector knows, an animal or a thing, gets one box a shot: on which frame of the film, where (x, y, width and
height in px of the picture without its bars), and which view it shows (front, if nothing is said); the next
run of `find` follows it through the shot. What the person says wins: the next run keeps it, and adds new
tracks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast, get_args

import yaml

from castsheet.elements import VIEWS
from castsheet.errors import shown
from castsheet.machine.files import sign, signed, write_atomic
from castsheet.machine.regular import MIB, is_file
from castsheet.machine.text import TextReader
from castsheet.pairs.drawn import Drawn
from castsheet.pairs.identities import Identity
from castsheet.pairs.records import PairsError, Track
from castsheet.sheet.box import Box

Kind = Literal["character", "prop"]
NOBODY = "nobody"
_KEY = re.compile(r"^[a-z][a-z0-9_-]*$")
_FIELDS = {"name", "what", "kind", "tracks", "unsure", "boxes"}
_BOX = "write {frame: 1290, box: [x, y, width, height], view: front}, in px of the picture, 8 or more a side"
_CASTS = TextReader(
    PairsError, "correct the line, or delete the file and run castsheet pairs find again", limit=64 * MIB
)


@dataclass(frozen=True)
class Member:
    """Somebody of a title.

    Args:
        name: for prompts. tracks: ids. unsure: tracks over which there is doubt.
        what: describes them on the sheet in a few words; "" says nothing that is not seen.
        boxes: drawn by hand.
    """

    key: str
    name: str
    tracks: tuple[str, ...]
    unsure: tuple[str, ...] = ()
    what: str = ""
    kind: Kind = "character"
    boxes: tuple[Drawn, ...] = ()


Cast = dict[str, dict[str, Member]]
"""By title, by key."""


def proposed(found: Mapping[str, Sequence[Identity]]) -> Cast:
    """The cast that the looks suggest."""
    return {
        title: {
            f"p{number}": Member(f"p{number}", "", one.tracks, one.unsure)
            for number, one in enumerate(identities, 1)
        }
        for title, identities in found.items()
    }


def corrected(cast: Cast, path: Path) -> Cast:
    """The cast as a person left it in the file; what the file does not know is added from `cast`.

    A file that nobody has edited is the proposal of an earlier run, and counts for nothing.

    Raises:
        PairsError: the file names a track twice, or is no cast.
    """
    if not is_edited(path):
        return cast
    given = read_cast(path)
    result: Cast = {}
    for title, members in cast.items():
        if title not in given:
            result[title] = members
            continue
        kept = dict(given[title])
        known = {track for one in kept.values() for track in one.tracks}
        existing = {track for one in members.values() for track in one.tracks}
        # Tracks of an earlier run that are no more are dropped; new ones join as somebody new.
        kept = {
            key: replace(
                one,
                tracks=tuple(t for t in one.tracks if t in existing),
                unsure=tuple(t for t in one.unsure if t in existing),
            )
            for key, one in kept.items()
        }
        for one in members.values():
            new = tuple(track for track in one.tracks if track not in known)
            if new:
                key = next(f"new{k}" for k in range(1, len(kept) + 2) if f"new{k}" not in kept)
                kept[key] = Member(key, "", new, one.unsure or new)
        result[title] = {key: one for key, one in kept.items() if one.tracks or one.boxes or key == NOBODY}
    return result


def drawn_in(path: Path) -> dict[str, list[Drawn]]:
    """The boxes that a person drew, by title; none in a file that nobody edited. Errors as `read_cast`."""
    if not is_edited(path):
        return {}
    return {
        title: [box for one in members.values() for box in one.boxes]
        for title, members in read_cast(path).items()
    }


def with_drawn(cast_: Cast, tracks: Mapping[str, Sequence[Track]]) -> Cast:
    """The cast with the tracks of drawn boxes, by title, given to whom they were drawn for."""
    result = {title: dict(members) for title, members in cast_.items()}
    for title, every in tracks.items():
        for track in every:
            if track.owner:
                one = result[title][track.owner]
                result[title][track.owner] = replace(one, tracks=(*one.tracks, track.id))
    return result


def read_cast(path: Path) -> Cast:
    """Read a cast file.

    Raises:
        PairsError: it is damaged, or names a track twice; the message says where.
    """
    raw = _CASTS.yaml(path)
    titles = raw.get("titles") if isinstance(raw, dict) else None
    if not isinstance(titles, dict):
        raise PairsError(f"{path}: there is no mapping titles", remedy=_CASTS.remedy)
    cast: Cast = {}
    owner: dict[str, str] = {}
    for title, members in titles.items():
        if not isinstance(members, dict):
            raise PairsError(f"{path}: {title}: {shown(members)} is no mapping", remedy=_CASTS.remedy)
        cast[str(title)] = {}
        for key, value in members.items():
            one = _member(f"{path}: {title}: {key}", str(key), value)
            for track in one.tracks:
                if track in owner:
                    raise PairsError(
                        f"{path}: the track {track} is given to {owner[track]} and to {title}: {key}",
                        remedy="keep it in one of the two lists",
                    )
                owner[track] = f"{title}: {key}"
            cast[str(title)][one.key] = one
    return cast


def _member(where: str, key: str, value: Any) -> Member:
    if not _KEY.match(key):
        raise PairsError(
            f"{where}: this key cannot be used",
            remedy="use a lower-case letter, then letters, digits, - or _",
        )
    if not isinstance(value, dict) or set(value) - _FIELDS:
        raise PairsError(
            f"{where}: {shown(value)} is no person", remedy=f"give some of {', '.join(sorted(_FIELDS))}"
        )
    name, what = str(value.get("name") or ""), str(value.get("what") or "")
    if name and not _KEY.match(name):
        raise PairsError(
            f"{where}: the name {shown(name)} cannot be used in prompts",
            remedy="use a lower-case letter, then lower-case letters, digits, - or _",
        )
    kind = value.get("kind") or "character"
    if kind not in get_args(Kind):
        raise PairsError(f"{where}: kind is {shown(kind)}", remedy=f"use {' or '.join(get_args(Kind))}")
    lists = {field: value.get(field) or [] for field in ("tracks", "unsure")}
    for field, given in lists.items():
        if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
            raise PairsError(f"{where}: {field} is no list of tracks", remedy=_CASTS.remedy)
    boxes = value.get("boxes") or []
    if not isinstance(boxes, list):
        raise PairsError(f"{where}: boxes is no list", remedy=_BOX)
    drawn = tuple(_drawn(f"{where}: box {number}", key, one) for number, one in enumerate(boxes, 1))
    return Member(key, name, tuple(lists["tracks"]), tuple(lists["unsure"]), what, cast("Kind", kind), drawn)


def _drawn(where: str, key: str, value: Any) -> Drawn:
    whole = isinstance(value, dict) and not set(value) - {"frame", "box", "view"}
    if not whole or not isinstance(value.get("frame"), int) or value["frame"] < 0:
        raise PairsError(f"{where}: {shown(value)} is no box", remedy=_BOX)
    sides = value.get("box")
    good = isinstance(sides, list) and len(sides) == 4 and all(isinstance(one, int) for one in sides)
    if not good or min(sides) < 0 or min(sides[2:]) < 8:
        raise PairsError(f"{where}: box is {shown(sides)}", remedy=_BOX)
    view = value.get("view") or "front"
    if view not in VIEWS:
        raise PairsError(f"{where}: view is {shown(view)}", remedy=f"use one of {', '.join(VIEWS)}")
    return Drawn(key, value["frame"], Box(*sides), view)


def is_edited(path: Path) -> bool:
    """Whether a person wrote or corrected the file, in this run or before an earlier one."""
    return is_file(path) and not signed(path)


def write_cast(path: Path, cast: Cast, *, edited: bool) -> Path:
    """Write the file.

    Args:
        edited: whether a person's corrections are in it. Without any, a comment above it tells its hash: by
            it the next run knows that nobody has edited the file since.

    Raises:
        OutputError: the disk refused.
    """
    titles = {title: {key: _told(one) for key, one in members.items()} for title, members in cast.items()}
    text = yaml.safe_dump({"titles": titles}, sort_keys=False, allow_unicode=True, width=100)
    content = text.encode() if edited else sign(text)
    return write_atomic(path, lambda part: part.write_bytes(content))


def _told(one: Member) -> dict[str, Any]:
    """Somebody as the file has them: what is not said is left out."""
    found: dict[str, Any] = {"name": one.name, "tracks": list(one.tracks)}
    if one.unsure:
        found["unsure"] = list(one.unsure)
    if one.what:
        found["what"] = one.what
    if one.kind != "character":
        found["kind"] = one.kind
    if one.boxes:
        found["boxes"] = [
            {"frame": box.frame, "box": [box.box.x, box.box.y, box.box.w, box.box.h], "view": box.view}
            for box in one.boxes
        ]
    return found
