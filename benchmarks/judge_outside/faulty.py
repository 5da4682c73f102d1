"""Faults and false alarms: `python -m benchmarks.judge_outside.faulty FOLDER --half "held out"`.

Twenty clips of either half, ten of people and ten of film, each with every fault of `faults.py` put in, one
at a time; then clean clips: those twenty, every second shot of the film, cut in clips of two seconds, and
real cameras. Clips are held against the sheets in turns. Measured without networks, which find neither leaks
nor motion, but where only the camera moves: then it matters whether somebody is there. What was seen goes to
FOLDER/faulty.json, one line a judgement; a run that was stopped goes on where it was. With --table it prints
the figures of what was seen. --share is as of `measure.py`.
"""

from __future__ import annotations

import argparse
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.judge_outside import cameras, film, people, questions
from benchmarks.judge_outside.case import Case, Half
from benchmarks.judge_outside.faults import FAULTS, HONEST
from benchmarks.judge_outside.measure import built, kept_in, kept_lines, share_of, sheet_path, the_film
from castsheet.clip import Clip
from castsheet.judge import leak, motion, search, typography
from castsheet.judge.cast import Pixels, read_cast, working_frames, working_size
from castsheet.judge.evidence import looked_at
from castsheet.judge.judge import Judge, Options, of_leak, searched
from castsheet.judge.judgement import ElementReport, TextReport
from castsheet.judge.models import lookers_here, matter_here
from castsheet.judge.verdict import SCENE, conclude
from castsheet.sheet.manifest import Sheet

EACH = 10  # clips of people, and of film, into which faults are put
FPS = 24.0
SELDOM = 16  # frames from look to look for somebody who is there
# Measures by which a fault counts as named.
NAMED: dict[str, tuple[str, ...]] = {
    "still": ("motion",),
    "still with a slow zoom": ("motion",),
    "frozen after a start": ("motion",),
    "shaken": ("motion",),
    "flicker": ("flicker",),
}
LEAKS = ("leak", "copy")
# What stands for motion where it was not looked at: all is well.
MOVES = motion.Motion(np.ones(1, np.float32), 0.0, 0, 1.0, 0.0, 0.0, 0.0, 1.0)
ALARMS = ("leak", "letterbox", "copy", "motion", "flicker", "text")


def chosen(folder: Path, held: people.Folder, half: Half) -> list[Case]:
    """The clips into which faults are put: right people in their place, shots that show the character."""
    met = [one for one in questions.cases(held) if one.half == half and one.group in ("right", "pair")]
    by_sheet: dict[str, list[Case]] = {}
    for case in met:
        by_sheet.setdefault(case.sheet, []).append(case)
    acted = [mine[number % len(mine)] for number, mine in enumerate(by_sheet.values())][:EACH]
    shown: dict[str, list[Case]] = {}
    for case in film.cases(the_film(folder)):
        # Thresholds of motion come from every second shot, whichever sheet it is held against.
        odd = int(case.name.rsplit("/", 1)[1]) % 2 == (half == "held out")
        if case.half == half and case.truth.get("hero") and odd:
            shown.setdefault(case.sheet, []).append(case)
    filmed: list[Case] = []
    for turn in range(EACH):
        for mine in shown.values():
            if turn < len(mine) and len(filmed) < EACH:
                filmed.append(mine[(7 * turn) % len(mine)])
    return [*acted, *filmed]


def judgements(folder: Path, half: Half, first: int) -> Iterator[tuple[str, str, str, Case]]:
    """Name, row, fault and case of everything that is judged."""
    held = built(folder)
    base = chosen(folder, held, half)
    for case in base[first:]:
        for fault in (*FAULTS, *HONEST):
            yield f"{case.name}/{fault}", fault, fault, case
        yield f"{case.name}/clean", f"clean, {case.name.split('/')[0]}", "", case
    sheets = [name for name, (of, *_) in film.CAST.items() if of == half]
    path = the_film(folder)
    for turn, (number, start, length) in enumerate(film.windows()):
        # Every second shot is of either half; see docs/judge.md. 112 is the credits.
        sheet = f"film/{sheets[turn % len(sheets)]}"
        if number % 2 != (half == "held out") or number == 112 or _lent(sheet, number):
            continue
        made = partial(film.window, path, start, length)
        yield (
            f"window/{number:03d}-{start}",
            "clean, film",
            "",
            Case(f"window/{start}", half, "", sheet, made),
        )
    names: dict[Half, tuple[str, ...]] = {half: tuple(dict.fromkeys(case.sheet for case in base))}
    other: Half = "tuning" if half == "held out" else "held out"
    for case in cameras.cases(folder / "packages", {**names, other: ("",)}):
        if case.half == half:
            yield case.name, "clean, real cameras", "", case


def _lent(sheet: str, number: int) -> bool:
    """Whether a shot lent pictures to a sheet: it may look like the panel, for it is the panel."""
    _, _, looks, place = film.CAST[sheet.removeprefix("film/")]
    return number in {shot for shot, _ in looks} | {film.PLATES[place][0]}


def measured(folder: Path, half: Half, rows: Sequence[str], first: int, share: tuple[int, int]) -> None:
    """Judge everything that was not judged yet, of the clips with faults from number `first` on."""
    out = kept_in(folder, "faulty", share)
    done = {line["name"] for line in kept_lines(folder, "faulty")}
    ready: dict[str, Searching] = {}
    last: tuple[str, Pixels] = "", np.zeros((0, 1, 1, 3), np.uint8)
    every = list(judgements(folder, half, first))
    for name, row, fault, case in every[share[0] - 1 :: share[1]]:
        if f"{half}/{name}" in done or (rows and row not in rows):
            continue
        if case.sheet not in ready:
            ready[case.sheet] = Searching(Sheet.load(sheet_path(folder, case.sheet)))
        if case.name != last[0]:
            last = case.name, case.frames()
        judge, frames = ready[case.sheet], last[1]
        if fault:
            random = np.random.default_rng(zlib.crc32(name.encode()))
            frames = (FAULTS | HONEST)[fault](frames, judge.sheet, random)
        line = {"name": f"{half}/{name}", "half": half, "row": row, "fault": fault}
        with out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line | judge.seen(frames, fault)) + "\n")


class Searching:
    """The parts of the judge that find sheets, faults of motion and text. Networks look for the cast only
    where it matters to a verdict of motion."""

    def __init__(self, sheet: Sheet) -> None:
        self.sheet = sheet
        self._wanted: dict[tuple[int, int], search.Wanted] = {}

    @cached_property
    def _judge(self) -> Judge:
        # Without faces: whether somebody is there, not who it is.
        return Judge(self.sheet, Options(matter=matter_here(), lookers=lookers_here()))

    def _elements(self, frames: Pixels) -> list[ElementReport]:
        """Who is there, in a few frames."""
        return self._judge(Clip(frames[::SELDOM], FPS)).elements

    def seen(self, frames: Pixels, fault: str) -> dict[str, Any]:
        """What the table and the choice of thresholds need. A fault is looked for by the measures that may
        name it, honest footage by all."""
        height, width = frames.shape[1:3]
        small = working_frames(frames)
        cast = read_cast(self.sheet, *working_size(width, height))
        leaks, moved, text = of_leak(small, cast, FPS), MOVES, TextReport(0.0, None)
        if fault not in NAMED:
            near = searched(looked_at(len(frames), leaks.leaked))
            if (width, height) not in self._wanted:
                self._wanted[width, height] = search.Wanted(self.sheet, read_cast(self.sheet, width, height))
            finds = search.search(frames, near, self._wanted[width, height])
            leaks = replace(leaks, finds=finds)
        if fault in NAMED or fault not in FAULTS:
            moved = motion.measure(leak.luma_of(small))
            text = TextReport(typography.strokes(leak.luma_of(small)), None)
        elements = self._elements(frames) if moved.scene <= SCENE else []
        problems = conclude(leaks, elements, (), moved, text, (), cast.known, (0.0,))[0]
        told = asdict(moved)
        del told["amount"]
        return {
            "grave": sorted({one.measure for one in problems if one.grave}),
            "remarks": sorted({one.measure for one in problems if not one.grave}),
            "leaked": int(np.sum(leaks.leaked)),
            "likeness": max(leaks.likeness),
            "lines": max(leaks.lines),
            "finds": [asdict(one) for one in leaks.finds],
            "motion": told,
            "strokes": text.strokes,
        }


def table(lines: Sequence[dict[str, Any]]) -> str:
    """Faults that were named, and false alarms, as Markdown."""
    rows = ["| fault | named | |", "|---|---|---|"]
    for fault in FAULTS:
        mine = [one for one in lines if one["row"] == fault]
        named = [one for one in mine if set(one["grave"]) & set(NAMED.get(fault, LEAKS))]
        missed = ", ".join(one["name"].split("/", 1)[1].rsplit("/", 1)[0] for one in mine if one not in named)
        rows.append(f"| {fault} | {len(named)} of {len(mine)} | {missed and 'missed: ' + missed} |")
    rows += ["", "| honest footage | false alarms | |", "|---|---|---|"]
    for row in (*HONEST, "clean, people", "clean, film", "clean, real cameras"):
        mine = [one for one in lines if one["row"] == row]
        false = [one for one in mine if set(one["grave"]) & set(ALARMS)]
        told = ", ".join(
            f"{one['name'].split('/', 1)[1]} ({' '.join(sorted(set(one['grave']) & set(ALARMS)))})"
            for one in false
        )
        rows.append(f"| {row} | {len(false)} of {len(mine)} | {told} |")
    return "\n".join(rows) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--half", default="held out", choices=("tuning", "held out"))
    parser.add_argument("--rows", default="", help="rows of the table, with | between them; all by default")
    parser.add_argument("--first", type=int, default=0, help="of the twenty clips with faults")
    parser.add_argument("--table", action="store_true", help="print the figures of what was seen")
    parser.add_argument("--share", type=share_of, default=(1, 1), metavar="I/N", help="the I-th of N shares")
    asked = parser.parse_args()
    if not asked.table:
        rows = [one for one in asked.rows.split("|") if one]
        measured(asked.folder, asked.half, rows, asked.first, asked.share)
    lines = kept_lines(asked.folder, "faulty")
    print(table([one for one in lines if one["half"] == asked.half]))


if __name__ == "__main__":
    main()
