"""Twenty pages to look at as a film-maker would: `python -m benchmarks.judge_outside.pages FOLDER`.

Ten are of cases that fooled the judge of colours, ten of others. Pages go to FOLDER/pages, and what each
should say and says to FOLDER/pages/told.json. A run that was stopped goes on where it was. Needs
castsheet[sheet,identity,looks].
"""

from __future__ import annotations

import argparse
import json
import zlib
from pathlib import Path

import numpy as np

from benchmarks.judge_outside.faults import FAULTS
from benchmarks.judge_outside.measure import built, cases, sheet_path
from castsheet.clip import Clip
from castsheet.judge import report
from castsheet.judge.judge import Judge, Options
from castsheet.sheet.manifest import Sheet

FPS = 24.0
# A case of the held-out half, and the fault put into it.
SHOWN: tuple[tuple[str, str], ...] = (
    ("people/P006-lake/stranger, same clothes-0", ""),
    ("people/P009-arches/stranger, same clothes-1", ""),
    ("people/P007-autumn/nobody-1", ""),
    ("people/P008-shop/wrong place-0", ""),
    ("people/P006-P007-lake/twin-0", ""),
    ("people/P010-park/right-0", "framed panels"),
    ("film/bunny-yellow/031", "corner sheet"),
    ("people/P007-autumn/right-1", "leak at 0.6, zoomed"),
    ("people/P008-shop/right-0", "still with a slow zoom"),
    ("film/flying-sky/091", "frozen after a start"),
    ("people/P006-lake/right-0", ""),
    ("people/P007-autumn/right-1", ""),
    ("people/P009-arches/right, dreamt-0", ""),
    ("people/P010-park/other clothes-0", ""),
    ("people/P008-shop/right, turned-1", ""),
    ("people/P006-P007-lake/pair-0", ""),
    ("people/P008-P009-shop/second missing-0", ""),
    ("film/bunny-yellow/031", ""),
    ("film/bunny-yellow/042", ""),
    ("film/bunny-forest/059", ""),
)


def written(folder: Path, first: int) -> None:
    """Judge and write what is not there yet, from page number `first` on."""
    by_name = {case.name: case for case in cases(folder, built(folder))}
    out, options = folder / "pages", Options.installed()
    out.mkdir(exist_ok=True)
    told = out / "told.json"
    done = {json.loads(line)["page"] for line in told.read_text().splitlines()} if told.is_file() else set()
    for number, (name, fault) in enumerate(SHOWN):
        page = f"{number:02d}.html"
        if page in done or number < first:
            continue
        case = by_name[name]
        sheet = Sheet.load(sheet_path(folder, case.sheet))
        frames = case.frames()
        if fault:
            frames = FAULTS[fault](frames, sheet, np.random.default_rng(zlib.crc32(name.encode())))
        clip = Clip(frames, FPS)
        judged = Judge(sheet, options)(clip, f"{name} {fault}".strip().replace("/", " "))
        report.write(out / page, sheet, [(clip, judged)], overwrite=True)
        line = {
            "page": page,
            "name": name,
            "fault": fault,
            "truth": case.truth,
            "state": judged.state,
            "verdict": judged.verdict,
            "elements": {one.id: one.state for one in judged.elements},
        }
        with told.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--first", type=int, default=0, help="number of the first page that is written")
    asked = parser.parse_args()
    written(asked.folder, asked.first)


if __name__ == "__main__":
    main()
