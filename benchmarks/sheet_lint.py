"""The checks on 50 good sheets: how often do they cry wolf?

    pip install -e ".[sheet]"
    python benchmarks/sheet_lint.py [FOLDER]     writes benchmarks/results/sheet_lint.json

The sheets are composed as a user would from other people's pictures (see sheet_evidence.py, which fetches
them): sheet k is drawn from `random.Random(k)`: one or two of ten people in studio or street clothes, with
one to four views, perhaps a creature of the film, up to two places, four sizes. Every sheet rule is run, with
text reader and face detector. None of these sheets has a fault that spoils a clip, so an error is a false
alarm; warnings are counted by rule. (tests/lint/test_lint_census.py has the other half: for every rule a
fault made by hand that must be caught.)
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

from sheet_evidence import PEOPLE, RESULTS, fetch, save, stills, where

from castsheet.authoring.split import split
from castsheet.elements import Character, Element, Location, Scene, View
from castsheet.lint.panels import lint_sheet
from castsheet.lint.pixels import Readers
from castsheet.machine.files import write_atomic
from castsheet.media.pictures import load_image
from castsheet.sheet.compose import compose
from castsheet.sheet.look.faces import CenterFace
from castsheet.sheet.look.ocr import RapidReader
from castsheet.sheet.look.tools import Tools

SHEETS = range(50)
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
        images["face"] = [assets / f"{draw.choice(['studio_portrait', 'amateur_selfie'])}.jpg"]
        elements.append(Character(id=name.lower(), description=f"person {name}", images=images))
    if draw.random() < 0.3:
        images = {"face": [found["bunny-face"]], "front": [found["bunny-front"]]}
        elements.append(Character(id="bunny", description="a huge grey rabbit", images=images))
    for name in draw.sample(["meadow", "wood"], draw.choice([0, 1, 1, 2])):
        elements.append(Location(id=name, description=f"a {name}", images=[found[name]]))
    return Scene(elements=elements), draw.choice(SIZES)


def run(folder: Path) -> int:
    """Exit code 1 when a good sheet gets an error."""
    people, film = fetch(folder)
    tools, readers = Tools.installed(cache=folder / "cache"), Readers(RapidReader(), CenterFace())
    found = stills(film, folder)
    errors: list[str] = []
    warnings: Counter[str] = Counter()
    clean = 0
    for seed in SHEETS:
        scene, output = good_scene(seed, people, folder, found, readers)
        said = lint_sheet(compose(scene, output=output, tools=tools), readers=readers)
        errors += [f"{seed}: {one.rule} {one.message}" for one in said if one.severity == "error"]
        warnings.update({one.rule for one in said if one.severity == "warning"})
        clean += all(one.severity == "info" for one in said)
        print(seed, len(errors), dict(warnings), flush=True)
    result: dict[str, Any] = {
        **where(),
        "sheets": len(SHEETS),
        "seeds": f"{SHEETS.start} to {SHEETS.stop - 1}",
        "errors": [text.replace(f"{folder}/", "") for text in errors],
        "sheets_without_a_warning": clean,
        "sheets_with_a_warning_of": dict(sorted(warnings.items())),
    }
    text = json.dumps(result, indent=1) + "\n"
    write_atomic(RESULTS / "sheet_lint.json", lambda out: save(out, text))
    print(text)
    return 1 if errors else 0


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_known_args()  # --help says what it does
    if len(sys.argv) > 1:
        sys.exit(run(Path(sys.argv[1])))
    with tempfile.TemporaryDirectory() as temporary:
        sys.exit(run(Path(temporary)))
