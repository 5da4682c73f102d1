"""The cast of all films as `cast.yaml`, which a person corrects, and what the corrections say.

    titles:
      film one:
        p1: {name: ann, tracks: [3f2a-0001.0, 3f2a-0004.1]}
        p2: {name: '', tracks: [...], unsure: [3f2a-0009.0]}
        nobody: {tracks: [...]}

Move a track's id from one list to another to split or to merge people; give a name to somebody who has
none; empty `unsure` to say that the doubt is settled; tracks under `nobody` are no subjects. What the
person says wins: the next run keeps it, and adds new tracks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from castsheet.errors import shown
from castsheet.machine.files import sign, signed, write_atomic
from castsheet.machine.regular import MIB, is_file
from castsheet.machine.text import TextReader
from castsheet.pairs.identities import Identity
from castsheet.pairs.records import PairsError

NOBODY = "nobody"
_KEY = re.compile(r"^[a-z][a-z0-9_-]*$")
_CASTS = TextReader(
    PairsError, "correct the line, or delete the file and run castsheet pairs find again", limit=64 * MIB
)


@dataclass(frozen=True)
class Member:
    """Somebody of a title: a key, the name for prompts, the ids of their tracks, and whether there is
    doubt."""

    key: str
    name: str
    tracks: tuple[str, ...]
    unsure: tuple[str, ...] = ()


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
            key: Member(
                key,
                one.name,
                tuple(t for t in one.tracks if t in existing),
                tuple(t for t in one.unsure if t in existing),
            )
            for key, one in kept.items()
        }
        for one in members.values():
            new = tuple(track for track in one.tracks if track not in known)
            if new:
                key = next(f"new{k}" for k in range(1, len(kept) + 2) if f"new{k}" not in kept)
                kept[key] = Member(key, "", new, one.unsure or new)
        result[title] = {key: one for key, one in kept.items() if one.tracks or key == NOBODY}
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
    if not isinstance(value, dict) or set(value) - {"name", "tracks", "unsure"}:
        raise PairsError(f"{where}: {shown(value)} is no person", remedy="give name, tracks and unsure")
    name = str(value.get("name") or "")
    if name and not _KEY.match(name):
        raise PairsError(
            f"{where}: the name {shown(name)} cannot be used in prompts",
            remedy="use a lower-case letter, then lower-case letters, digits, - or _",
        )
    lists = {field: value.get(field) or [] for field in ("tracks", "unsure")}
    for field, given in lists.items():
        if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
            raise PairsError(f"{where}: {field} is no list of tracks", remedy=_CASTS.remedy)
    return Member(key, name, tuple(lists["tracks"]), tuple(lists["unsure"]))


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
    titles = {
        title: {
            key: {"name": one.name, "tracks": list(one.tracks)}
            | ({"unsure": list(one.unsure)} if one.unsure else {})
            for key, one in members.items()
        }
        for title, members in cast.items()
    }
    text = yaml.safe_dump({"titles": titles}, sort_keys=False, allow_unicode=True, width=100)
    content = text.encode() if edited else sign(text)
    return write_atomic(path, lambda part: part.write_bytes(content))
