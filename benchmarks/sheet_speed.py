"""How long a sheet of 8 elements from 16 photos of 12 MP takes with cut-outs: cold, and with them cached.

    pip install -e ".[sheet]"
    python benchmarks/sheet_speed.py             writes benchmarks/results/sheet_speed.json

The pictures are drawn (a figure before a hilly place, with camera noise, JPEG quality 92) before the clock
starts: 14 of people and things, which all networks that are here cut out, and 2 of places. Faces are looked
for. Each measure is a process of its own, so that its peak memory is its own; imports are counted.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops, ImageDraw

from castsheet.elements import Character, Element, Location, Prop, Scene
from castsheet.machine.files import write_atomic
from castsheet.sheet.look.experts import named

RESULTS = Path(__file__).parent / "results"
SIZES = {"figure": (3000, 4000), "wide": (4000, 3000)}
VIEWS = ("face", "front", "side", "back")


def picture(folder: Path, number: int, shape: str) -> Path:
    """One 12-MP JPEG; its noise makes it as hard to decode as a photo."""
    width, height = SIZES[shape]
    noise = np.random.default_rng(number).integers(0, 12, (height // 2, width // 2, 3), dtype=np.uint8)
    grain = Image.fromarray(noise).resize((width, height), Image.Resampling.BILINEAR)
    image = Image.new("RGB", (width, height), f"hsl({number * 23 % 360}, 45%, 75%)")
    draw = ImageDraw.Draw(image)
    hue = f"hsl({number * 47 % 360}, 60%, 55%)"
    for hill in range(5):
        left, top = width * (0.3 * hill - 0.4), height * (0.45 + 0.07 * (hill % 3))
        green = f"hsl({90 + 14 * hill}, 35%, {28 + 6 * hill}%)"
        draw.ellipse((left, top, left + width * 0.7, height * 1.5), fill=green)
    if shape == "figure":
        draw.ellipse((width * 0.38, height * 0.05, width * 0.62, height * 0.25), fill="#d0a080")
        draw.rounded_rectangle((width * 0.25, height * 0.24, width * 0.75, height * 0.95), 300, fill=hue)
    path = folder / f"{number}.jpg"
    ImageChops.subtract(image, grain).save(path, quality=92)
    return path


def scene(folder: Path) -> Scene:
    """8 elements, 16 pictures: two characters of four views, one of three, three props, two locations."""
    numbers = iter(range(16))
    elements: list[Element] = []
    for name in "abc":
        views = VIEWS if name != "c" else VIEWS[:3]
        images = {view: [picture(folder, next(numbers), "figure")] for view in views}
        elements.append(Character(id=name, description="", images=images))
    for name in ("hat", "kite", "lamp"):
        elements.append(Prop(id=name, description="", images=[picture(folder, next(numbers), "figure")]))
    for name in ("beach", "street"):
        elements.append(Location(id=name, description="", images=[picture(folder, next(numbers), "wide")]))
    return Scene(elements=tuple(elements))


def timed(file: Path, cache: Path) -> None:
    """Compose once and print what it took."""
    started = time.perf_counter()
    from castsheet.sheet.compose import compose
    from castsheet.sheet.look.tools import Tools

    sheet = compose(Scene.load(file), tools=Tools.installed(cache=cache))
    wall = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)
    found = {"wall_s": wall, "cpu_s": time.process_time(), "peak_gib": peak, "sha256": sheet.sha256}
    found["cut_out"] = len(sheet.layout["cut"])
    sys.stdout.write(json.dumps(found))


def measure(file: Path, cache: Path) -> dict:
    """`timed` in a process of its own."""
    command = [sys.executable, __file__, str(file), str(cache)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main() -> int:
    """Exit code 1 when the cached sheet differs from the cold one."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = scene(folder).save(folder / "scene.yaml")
        cold, cached = measure(file, folder / "cache"), measure(file, folder / "cache")
        every = [entry for entry in (folder / "cache").rglob("*") if entry.is_file()]
        kept = sum(entry.stat().st_size for entry in every) / (1 << 20)
    same = cold.pop("sha256") == cached.pop("sha256")
    asked = ["git", "describe", "--always", "--dirty"]
    commit = subprocess.run(asked, cwd=RESULTS, capture_output=True, text=True, check=False).stdout.strip()
    found = {
        "commit": commit or "unknown",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "load_average": round(os.getloadavg()[0], 1),
        "pictures": "16 JPEG of 12 MP, 8 elements, sheet 1536x896, faces looked for",
        "cut_by": named("auto"),
        "cold": {key: round(value, 2) for key, value in cold.items()},
        "cached": {key: round(value, 2) for key, value in cached.items()},
        "cache_mib": round(kept, 1),
        "same_pixels": same,
    }
    text = json.dumps(found, indent=1) + "\n"

    def write(temporary: Path) -> None:
        temporary.write_text(text, encoding="utf-8")

    write_atomic(RESULTS / "sheet_speed.json", write)
    sys.stdout.write(text)
    return 0 if same else 1


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_known_args()  # --help says what it does
    if len(sys.argv) == 3:
        timed(Path(sys.argv[1]), Path(sys.argv[2]))
    else:
        sys.exit(main())
