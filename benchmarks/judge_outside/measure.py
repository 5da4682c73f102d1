"""Measure the outside set: `python -m benchmarks.judge_outside.measure FOLDER`. Needs
castsheet[sheet,identity,looks].

Builds the set in FOLDER if it is not there, looks at every case as the judge does, and keeps what was seen in
FOLDER/seen.json, one line a case; a run that was stopped goes on where it was. `table.py` makes figures of
it. --places looks at places alone, and keeps them in FOLDER/places.json. With --share
I/N each of N processes looks at its own share of the cases and writes seen-I-of-N.json; all files whose name
begins with "seen" count as one.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.judge_outside import film, people, props, questions
from benchmarks.judge_outside.case import Case
from benchmarks.judge_outside.packages import fetch, one
from castsheet.judge.cast import Pixels, read_cast, working_frames
from castsheet.judge.evidence import Witness
from castsheet.judge.faces import FaceWitness
from castsheet.judge.judge import Judge
from castsheet.judge.models import installed_faces, installed_lookers
from castsheet.judge.protocols import Looker, Maps
from castsheet.judge.verdict import present
from castsheet.sheet.look.salience import Matter, U2Net
from castsheet.sheet.look.tools import Tools
from castsheet.sheet.manifest import Sheet

Line = dict[str, Any]
LAST = 40  # pictures whose maps are kept
FRAMES = 3  # of a case that are looked at; the judge itself looks at six


class KeptMatter:
    """A network's masks, kept on disk: one shot is compared with many sheets."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._matter = folder, None
        self.name = "u2netp"

    def mask(self, rgb: Image.Image) -> NDArray[np.float32]:
        """The mask, from disk if it was made before; a quarter of the picture's size."""
        path = self._folder / f"{hashlib.sha256(rgb.tobytes()).hexdigest()[:24]}.png"
        if not path.is_file():
            matter: Matter = self._matter or U2Net("u2netp")
            self._matter = matter  # type: ignore[assignment]
            mask = np.clip(matter.mask(rgb), 0, 1)
            small = Image.fromarray((255 * mask).astype(np.uint8)).resize((rgb.width // 4, rgb.height // 4))
            small.save(path)
        return np.asarray(Image.open(path), np.float32) / 255


class KeptLooker:
    """A network's maps of the last pictures: one shot is compared with many sheets."""

    def __init__(self, looker: Looker) -> None:
        self._looker, self._kept = looker, OrderedDict[str, Maps]()
        self.name = looker.name

    def maps(self, pictures_NHWC: Pixels) -> Maps:
        """The maps, from memory if they were made before."""
        key = hashlib.sha256(pictures_NHWC.tobytes()).hexdigest()
        if key not in self._kept:
            self._kept[key] = self._looker.maps(pictures_NHWC)
            while len(self._kept) > LAST:
                self._kept.popitem(last=False)
        return self._kept[key]


def built(folder: Path) -> people.Folder:
    """Fetch, decode and compose what is not there yet."""
    packages = fetch(folder)
    held, tools = people.Folder(packages, folder / "cuts"), Tools.installed()
    if not sheet_path(folder, "film/flying-forest").is_file():
        for name, sheet in film.sheets(the_film(folder), folder / "pictures", tools):
            sheet.save(sheet_path(folder, f"film/{name}"))
    for half, who, place in questions.sheets():
        path = sheet_path(folder, people.name_of(who, place))
        if not path.is_file():
            people.sheet(held, half, who, place, tools).save(path)
    return held


def the_film(folder: Path) -> Path:
    """Where the film lies."""
    return one(folder / "packages", "resources/bbb.mp4")


def sheet_path(folder: Path, name: str) -> Path:
    """Where a sheet of the set lies."""
    path = folder / "sheets" / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def few(case: Case) -> Pixels:
    """The frames of a case that are looked at, evenly spread."""
    if case.sheet.startswith("film/"):
        shot = case.frames()
        spots = np.linspace(0.1, 0.9, FRAMES) * (len(shot) - 1)
        return shot[spots.round().astype(int)]
    made = case.frames
    assert isinstance(made, partial)
    return np.asarray(partial(made.func, *made.args, **made.keywords, every=24)())


def cases(folder: Path, held: people.Folder) -> Iterator[Case]:
    """All of the set."""
    yield from questions.cases(held)
    yield from film.cases(the_film(folder))
    yield from props.cases(held)


def _turn(case: Case) -> tuple[int, str]:
    """Shot by shot, since what the networks made of a shot is kept for its next sheet; every fifth shot
    first, so that a run that was stopped has seen all parts of the film."""
    last = case.name.rsplit("/", 1)[1]
    return (int(last) % 5 if last.isdigit() else 0), last


def share_of(text: str) -> tuple[int, int]:
    """The I-th of N shares, from "I/N"."""
    number, _, shares = text.partition("/")
    if not (number.isdigit() and shares.isdigit() and 1 <= int(number) <= int(shares)):
        raise argparse.ArgumentTypeError(f"{text}: give I/N with I from 1 to N")
    return int(number), int(shares)


def kept_lines(folder: Path, name: str) -> list[Line]:
    """What all shares of a run have kept: the lines of the files NAME*.json."""
    files = sorted(folder.glob(f"{name}*.json"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def kept_in(folder: Path, name: str, share: tuple[int, int]) -> Path:
    """The file to which a share adds its lines."""
    return folder / (f"{name}.json" if share[1] == 1 else f"{name}-{share[0]}-of-{share[1]}.json")


def shared(cases: Sequence[Case], share: tuple[int, int]) -> list[Case]:
    """A share of the cases. Those of one shot stay together, for what was made of its frames is kept."""
    clips = list(dict.fromkeys(_clip(case) for case in cases))
    mine = set(clips[share[0] - 1 :: share[1]])
    return [case for case in cases if _clip(case) in mine]


def _clip(case: Case) -> str:
    return case.name.rsplit("/", 1)[1] if case.sheet.startswith("film/") else case.name


def places_alone(folder: Path, wanted: str, half: str, groups: str, share: tuple[int, int]) -> None:
    """Look at the place of every case whose sheet's place is asked for; add them to places.json."""
    held, out = built(folder), kept_in(folder, "places", share)
    done = {line["name"] for line in kept_lines(folder, "places")}
    matter, lookers = KeptMatter(folder / "masks"), [KeptLooker(one) for one in installed_lookers()]
    ready: dict[str, Witness] = {}
    for case in shared(sorted(_asked(folder, held, wanted, half, groups), key=_turn), share):
        if case.name in done or not asks_place(case):
            continue
        if case.sheet not in ready:
            cast = read_cast(Sheet.load(sheet_path(folder, case.sheet)), 768, 448)
            bare = replace(cast, members=tuple(one for one in cast.members if one.kind == "location"))
            ready[case.sheet] = Witness(bare, matter, lookers)
        frames = few(case)
        seen = ready[case.sheet].look(frames, range(len(frames)))
        line: Line = {
            "name": case.name,
            "half": case.half,
            "group": case.group,
            "truth": case.truth,
            "known": [],
            "figures": {name: [asdict(one) for one in found] for name, found in seen.items()},
            "faces": {},
        }
        with out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def asks_place(case: Case) -> bool:
    """Whether a case asks about its place; film asks about those of its half."""
    if case.sheet.startswith("film/"):
        half, _, _, place = film.CAST[case.sheet.split("/")[1]]
        return place in film.PLACES[half]
    return "place" in case.truth


def _asked(folder: Path, held: people.Folder, wanted: str, half: str, groups: str) -> list[Case]:
    every = [case for case in cases(folder, held) if case.name.startswith(wanted) and case.half == half]
    names = groups.replace(";", ",").split("|")
    return [case for case in every if not groups or case.group in names]


def measured(folder: Path, wanted: str, half: str, every: int, groups: str, share: tuple[int, int]) -> None:
    """Look at the cases whose name begins with `wanted`; add them to seen.json."""
    held = built(folder)
    out = kept_in(folder, "seen", share)
    done = {line["name"] for line in kept_lines(folder, "seen")}
    matter, faces = KeptMatter(folder / "masks"), installed_faces()
    lookers = [KeptLooker(one) for one in installed_lookers()]
    ready: dict[str, tuple[Witness, FaceWitness, Judge]] = {}
    chosen = [case for case in cases(folder, held) if case.name.startswith(wanted) and case.half == half]
    for name, make in props.sheets(held):
        if not sheet_path(folder, name).is_file() and any(case.sheet == name for case in chosen[::every]):
            make().save(sheet_path(folder, name))
    for case in shared(sorted(chosen[::every], key=_turn), share):
        if case.name in done or (groups and case.group not in groups.replace(";", ",").split("|")):
            continue
        if case.sheet not in ready:
            sheet = Sheet.load(sheet_path(folder, case.sheet))
            witness = Witness(read_cast(sheet, 768, 448), matter, lookers)
            ready[case.sheet] = witness, FaceWitness(sheet, *faces), Judge(sheet)
        frames = few(case)
        figures = ready[case.sheet][0].look(frames, range(len(frames)))
        # Nobody in the film has a face that the embedder knows, and props have none.
        faceless = case.sheet.startswith(("film/", "props/"))
        looked = {} if faceless else ready[case.sheet][1].look(frames, range(len(frames)))
        line: Line = {
            "name": case.name,
            "half": case.half,
            "group": case.group,
            "truth": case.truth,
            "known": ready[case.sheet][1].known,
            "figures": {name: [asdict(one) for one in seen] for name, seen in figures.items()},
            "faces": {name: asdict(one) for name, one in looked.items()},
            "coverage": _coverage(ready[case.sheet][2], frames) if case.sheet.startswith("props/") else {},
        }
        with out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def _coverage(judge: Judge, frames: Pixels) -> dict[str, float]:
    """By prop: the share of the frames in which its colours are seen."""
    cast, finder = judge.cast(frames.shape[2], frames.shape[1])
    sights = [finder.find(small) for small in working_frames(frames)]
    return {
        member.id: float(np.mean([present("prop", one[member.id].similarity) for one in sights]))
        for member in cast.members
        if member.kind == "prop"
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default="", help="cases whose name begins so")
    parser.add_argument("--half", default="held out", choices=("tuning", "held out"))
    parser.add_argument(
        "--groups",
        default="",
        help="rows of the table, with | between them and ; for a comma; all by default",
    )
    parser.add_argument("--every", type=int, default=1, help="every so manieth case")
    parser.add_argument("--share", type=share_of, default=(1, 1), metavar="I/N", help="the I-th of N shares")
    parser.add_argument("--places", action="store_true", help="look at places alone")
    asked = parser.parse_args()
    if asked.places:
        places_alone(asked.folder, asked.only, asked.half, asked.groups, asked.share)
        return
    measured(asked.folder, asked.only, asked.half, asked.every, asked.groups, asked.share)


if __name__ == "__main__":
    main()
