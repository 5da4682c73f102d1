"""Contact sheets of cut-outs of other people's pictures, to be looked at.

    python -m benchmarks.cutouts.contact FOLDER     writes FOLDER/contact/page-NN.jpg and doubts.json

All 60 pictures of openpeople 0.1.2 and 40 stills of Big Buck Bunny (moviepy 2.2.1), one each 13.5
seconds. For each: the picture with its doubts marked, and the cut-out on black and on pink. There is no truth
here: the faults are counted by eye, and docs/sheets.md states them.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import av
from PIL import Image, ImageDraw

from benchmarks.judge_outside.packages import fetch, one
from castsheet.errors import ImageError
from castsheet.media.pictures import load_image
from castsheet.sheet.box import Box
from castsheet.sheet.look.matting import CutOut, cut_out

CELL, COLUMNS, ROWS = 300, 2, 5
STILLS = [20.0 + 13.5 * number for number in range(40)]
GROUNDS = ((0, 0, 0), (255, 105, 180))


def pictures(folder: Path) -> Iterator[tuple[str, Path]]:
    """Name and file of each picture; stills are written once."""
    unpacked = fetch(folder)
    stills = folder / "stills"
    stills.mkdir(exist_ok=True)
    with av.open(str(one(unpacked, "resources/bbb.mp4"))) as container:
        stream = container.streams.video[0]
        for second in STILLS:
            path = stills / f"bbb-{second:05.1f}.png"
            if not path.is_file():
                container.seek(int(second / stream.time_base), stream=stream)
                frames = (f for f in container.decode(stream) if f.time is None or f.time >= second)
                next(frames).to_image().save(path)
            yield path.stem, path
    curated = one(unpacked, "P001/assets/studio_portrait.jpg").parents[2]
    for path in sorted(curated.glob("P*/assets/*.jpg")):
        yield f"{path.parts[-3]} {path.stem}", path


def row(picture: Image.Image, cut: CutOut | None) -> Image.Image:
    """The picture with its doubts, and the cut-out on both grounds; what could not be cut stays empty."""
    found = Image.new("RGB", (3 * CELL, CELL), (40, 40, 40))
    scale = CELL / max(picture.size)
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    marked = picture.convert("RGB").resize(size, Image.Resampling.BOX, reducing_gap=2)
    draw = ImageDraw.Draw(marked)
    for box in (doubt.where for doubt in (cut.doubts if cut else ()) if doubt.where is not None):
        draw.rectangle(tuple(side * scale for side in box.corners), outline=(255, 200, 0), width=2)
    found.paste(marked, (0, 0))
    for place, ground in enumerate(GROUNDS, 1):
        if cut is not None:
            whole = Image.new("RGB", size, ground)
            box = cut.window or Box(0, 0, *picture.size)
            part = cut.image.resize(
                (max(1, round(box.w * scale)), max(1, round(box.h * scale))), Image.Resampling.BOX
            )
            whole.paste(part, (round(box.x * scale), round(box.y * scale)), part)
            found.paste(whole, (place * CELL, 0))
    return found


def main() -> None:
    """Cut out, and write the pages."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    target, cache = folder / "contact", folder / "cutouts"
    target.mkdir(parents=True, exist_ok=True)
    told: dict[str, list[str]] = {}
    each = COLUMNS * ROWS
    page = Image.new("RGB", (COLUMNS * 3 * CELL, ROWS * (CELL + 16)))
    for number, (name, path) in enumerate(pictures(folder)):
        picture = load_image(path)
        try:
            cut: CutOut | None = cut_out(path, cache=cache, picture=picture)
        except ImageError as error:
            cut, told[name] = None, [error.what]
        if cut is not None:
            told[name] = [doubt.told for doubt in cut.doubts] or ([cut.note] if cut.note else [])
        x, y = number % COLUMNS * 3 * CELL, number % each // COLUMNS * (CELL + 16)
        page.paste(row(picture, cut), (x, y + 16))
        ImageDraw.Draw(page).text((x + 4, y + 2), f"{name}: {'; '.join(told[name])}"[:140], fill="white")
        if number % each == each - 1:
            page.save(target / f"page-{number // each:02d}.jpg", quality=85)
            page = Image.new("RGB", page.size)
        print(number, name, told[name], flush=True)
    (target / "doubts.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
