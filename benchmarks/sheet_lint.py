"""The checks on 200 good sheets: how often do they cry wolf?

    pip install -e ".[sheet,mini]" scipy; castsheet elements models
    python -m benchmarks.sheet_lint [FOLDER] [COUNT]    writes benchmarks/results/sheet_lint.json

Each fourth is composed as a user would from other people's pictures (see sheet_evidence.py, which fetches
them): number k of these is drawn from `random.Random(k)`: one or two of ten people in studio or street
clothes, with one to four views, perhaps a creature of the film, up to two places, four sizes. A portrait
stands beside figures of the same clothes only: of photos in street clothes the close-up is cropped. The
others are of rendered people, things and animals (`benchmarks.good_scenes`). Every sheet rule is run, with
the networks that know faces, people and what stands out; text is looked for on those of photos. None of these
sheets has a fault that spoils a clip, so an error is a false alarm; warnings are counted by rule. A cut-out
of a street photo may really have kept a bench. With COUNT, the first so many sheets. (The other half, faults
made by hand that must be caught, is in tests/lint/test_lint_census.py and test_lint_cutouts.py.)
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.good_scenes import Stock
from benchmarks.good_scenes import good_scene as rendered_scene
from benchmarks.sheet_evidence import PEOPLE, RESULTS, fetch, save, stills, where
from castsheet.authoring.split import split
from castsheet.elements import Character, Element, Location, Scene, View
from castsheet.jobs.inputs import installed_readers
from castsheet.lint.panels import lint_sheet
from castsheet.lint.pixels import Readers
from castsheet.machine.files import write_atomic
from castsheet.media.pictures import load_image
from castsheet.sheet.compose import compose
from castsheet.sheet.look.matting import VERSION
from castsheet.sheet.look.tools import Tools

SHEETS = 200
# Each so manyth sheet is of photos, the others are rendered: any first part of the sheets has both.
OF_PHOTOS = 4
SIZES = ((768, 448), (768, 448), (960, 544), (448, 768), (512, 512))


def views_of(name: str, people: Path, folder: Path, readers: Readers) -> dict[View, list[Path]]:
    """A person's figures, from the ready-made sheet."""
    kept = folder / "views" / name
    if not kept.is_dir():
        parts = split(
            load_image(people / name / "assets/character_sheet.jpg"), reader=readers.text, faces=readers.faces
        )
        parts.save(kept)
    facing: dict[View, str] = {"front": "body-front", "side": "body-left", "back": "body-back"}
    return {view: sorted(kept.glob(f"*{slug}.png"))[:1] for view, slug in facing.items()}


def good_scene(
    seed: int, people: Path, folder: Path, found: dict[str, Path], readers: Readers
) -> tuple[Scene, tuple[int, int]]:
    """Scene and output size number `seed`."""
    draw = random.Random(seed)
    elements: list[Element] = []
    for name in draw.sample(PEOPLE, draw.choice([1, 1, 2])):
        assets, images = people / name / "assets", {}
        if draw.random() < 0.6:
            images = views_of(name, people, folder, readers)
            for view in draw.sample(["side", "back"], draw.randint(0, 2)):
                images.pop(view)
        else:
            posture = draw.choice(["studio_posture", "amateur_posture"])
            images["front"] = [assets / f"{posture}.jpg"]
        if images["front"][0].stem != "amateur_posture":
            images["face"] = [assets / "studio_portrait.jpg"]
        elements.append(Character(id=name.lower(), description=f"person {name}", images=images))
    if draw.random() < 0.3:
        images = {"face": [found["bunny-face"]], "front": [found["bunny-whole"]]}
        elements.append(Character(id="bunny", description="a huge grey rabbit", images=images))
    for name in draw.sample(["meadow", "wood"], draw.choice([0, 1, 1, 2])):
        elements.append(Location(id=name, description=f"a {name}", images=[found[name]]))
    return Scene(elements=elements), draw.choice(SIZES)


def run(folder: Path, count: int = SHEETS) -> int:
    """Exit code 1 when a good sheet gets an error."""
    people, film = fetch(folder)
    here = installed_readers()
    readers = [Readers(None, here.faces, here.people, here.things), here]
    tools, found, stock = Tools.installed(cache=folder / "cache"), stills(film, folder), Stock(folder)
    told: dict[str, list[list[str]]] = {"error": [], "warning": [], "info": []}
    kept = folder / f"good-sheets-{VERSION}.jsonl"  # a run that was stopped goes on
    lines = kept.read_text(encoding="utf-8").splitlines() if kept.is_file() else []
    known = [json.loads(line) for line in lines[:count]]
    for seed, rows in enumerate(known):
        for severity, rule, message in rows:
            told[severity].append([str(seed), rule, message])
    for seed in range(len(known), count):
        photos = seed % OF_PHOTOS == 0
        if photos:
            scene, output = good_scene(seed // OF_PHOTOS, people, folder, found, here)
        else:
            scene, output = rendered_scene(seed, stock)
        sheet = compose(scene, output=output, tools=tools)
        said = lint_sheet(sheet, readers=readers[photos])
        rows = [(one.severity, one.rule, one.message.replace(f"{folder}/", "")) for one in said]
        for severity, rule, message in rows:
            told[severity].append([str(seed), rule, message])
        with kept.open("a", encoding="utf-8") as file:
            file.write(json.dumps(rows) + "\n")
        print(seed, [row for row in rows if row[0] != "info"], flush=True)
    result: dict[str, Any] = {
        **where(),
        "sheets": count,
        "of_photos": -(-count // OF_PHOTOS),
        "seeds": f"0 to {count - 1}",
        "errors": [": ".join(row) for row in told["error"]],
        "sheets_without_a_warning": count - len({row[0] for row in (*told["error"], *told["warning"])}),
        "sheets_with_a_warning_of": by_rule(told["warning"]),
        "sheets_of_photos_with_a_warning_of": by_rule(
            [row for row in told["warning"] if int(row[0]) % OF_PHOTOS == 0]
        ),
        "warnings": [": ".join(row) for row in told["warning"]],
    }
    text = json.dumps(result, indent=1) + "\n"
    write_atomic(RESULTS / "sheet_lint.json", lambda out: save(out, text))
    print(text)
    return 1 if told["error"] else 0


def by_rule(rows: list[list[str]]) -> dict[str, int]:
    """How many sheets each rule speaks of."""
    counts = Counter(rule for _, rule in {(seed, rule) for seed, rule, _ in rows})
    return dict(sorted(counts.items()))


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_known_args()  # --help says what it does
    if len(sys.argv) > 1:
        sys.exit(run(Path(sys.argv[1]), *(int(count) for count in sys.argv[2:3])))
    with tempfile.TemporaryDirectory() as temporary:
        sys.exit(run(Path(temporary)))
