"""Films of mini's world: `python -m mini.films FOLDER --films 10 --first 100000`.

Writes FOLDER/film-SEED.mp4, its truth film-SEED.json, masks film-SEED.masks.npz of every sixth frame, three
files that no program can read as a film, and FOLDER/films.csv, the table of all films there that `castsheet
pairs find` reads. Films that are there are not rendered again.
Needs the `mini` extra and EGL.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from castsheet.machine.files import write_atomic, write_text
from castsheet.media.encoding import encode
from mini.films.cut import Film, cut
from mini.films.script import FAULTS, FilmPlan, film_plan
from mini.films.shoot import Take, shoot
from mini.script import finish
from mini.story.render import Renderer
from mini.world import VALIDATION

COLUMNS = ("path", "title", "licence", "credit", "url", "people")
CREDIT = ("CC0-1.0", "rendered by mini.films", "", "synthetic")


def make(renderer: Renderer, plan: FilmPlan) -> Film:
    """Render and join a film."""
    takes: list[Take] = []
    for shot in plan.shots:
        again = None if shot.of is None else replace(takes[shot.of], plan=shot)
        takes.append(again or shoot(renderer, shot, plan.fps))
    return cut(plan, takes)


def save(film: Film, folder: Path) -> Path:
    """Write a film and its truth.

    Raises:
        OutputError: the disk or the encoder refused.
    """
    name = film.plan.name
    write_text(folder / f"{name}.json", json.dumps(film.truth) + "\n")
    write_atomic(folder / f"{name}.masks.npz", lambda part: _save_masks(part, film))
    return write_atomic(folder / f"{name}.mp4", lambda part: encode(part, film.frames, film.plan.fps, crf=17))


def _save_masks(part: Path, film: Film) -> None:
    with part.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **film.masks)


def corrupt(folder: Path, film: Path) -> list[Path]:
    """A film cut off in its middle, an empty file, and a text that is called a film."""
    whole = film.read_bytes()
    found = []
    for name, content in (("cut-off", whole[: len(whole) // 3]), ("empty", b""), ("text", b"no film\n" * 99)):
        target = folder / f"{name}.mp4"
        write_atomic(target, partial(_put, content))
        found.append(target)
    return found


def _put(content: bytes, part: Path) -> None:
    part.write_bytes(content)


def table(paths: list[Path]) -> str:
    """The table of films for `castsheet pairs find`."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for path in paths:
        writer.writerow((path.name, path.stem, *CREDIT))
    return out.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--films", type=int, default=2)
    parser.add_argument("--shots", type=int, default=30)
    parser.add_argument("--people", type=int, default=4)
    parser.add_argument("--places", type=int, default=3)
    parser.add_argument("--faults", type=int, default=len(FAULTS), help="kinds of faults that are put in")
    parser.add_argument("--first", type=int, default=VALIDATION[0], help="seed of the first film")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    renderer = Renderer(samples=0)
    for number in range(options.films):
        seed = options.first + number * (options.people + options.places + 1)
        counts = {name: getattr(options, name) for name in ("shots", "people", "places", "faults")}
        plan = film_plan(seed, **counts)
        path = options.folder / f"{plan.name}.mp4"
        if not path.is_file():  # the last one written of a film's files
            save(make(renderer, plan), options.folder)
        print(path, len(plan.shots), "shots", flush=True)
    corrupt(options.folder, options.folder / f"film-{options.first}.mp4")
    write_text(options.folder / "films.csv", table(sorted(options.folder.glob("*.mp4"))))


if __name__ == "__main__":
    finish(main)
