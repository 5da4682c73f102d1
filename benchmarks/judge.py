"""How long judging takes: a 121-frame 768x448 clip, with and without optional models, in CPU seconds.

    python benchmarks/judge.py [--faces] [--text]

The clip is made of mini's demo pictures: the figure crosses the place, the prop stands in it. CPU time of all
threads is what counts, since other work may share the machine; wall time stands beside it, and as the
measure of the machine the CPU time of decoding the same clip with PyAV.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from castsheet.clip import Clip, read_video
from castsheet.elements import Scene
from castsheet.judge import report
from castsheet.judge.judge import Judge, Options
from castsheet.judge.models import installed_reader
from castsheet.media.provenance import versions
from castsheet.sheet.compose import compose

DEMO = Path(__file__).parents[1] / "src" / "castsheet" / "embedded" / "demo"
OUT = Path(__file__).parent / "results" / "judge.json"
WIDTH, HEIGHT, FRAMES, FPS = 768, 448, 121, 24.0
REPEATS = 3


def film() -> Clip:
    """The figure walks across the place, larger than life enough for its face to be found."""
    place = Image.open(DEMO / "place.png").convert("RGB").resize((WIDTH, HEIGHT))
    hero, prop = (Image.open(DEMO / f"{name}.png").convert("RGBA") for name in ("hero-front", "prop"))
    hero = hero.resize((round(hero.width * 430 / hero.height), 430))
    prop = prop.resize((110, 110))
    frames = []
    for number in range(FRAMES):
        picture = place.copy()
        picture.paste(prop, (600, 320), prop)
        picture.paste(hero, (40 + 3 * number, 14), hero)
        frames.append(np.asarray(picture))
    return Clip(np.stack(frames), FPS)


def timed(work: Callable[[], Any]) -> dict[str, float]:
    """Medians of CPU and wall seconds over a few runs."""
    cpu, wall = [], []
    for _ in range(REPEATS):
        before = time.process_time(), time.perf_counter()
        work()
        cpu.append(time.process_time() - before[0])
        wall.append(time.perf_counter() - before[1])
    return {"cpu_s": round(statistics.median(cpu), 2), "wall_s": round(statistics.median(wall), 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--faces", action="store_true", help="also with castsheet[sheet,looks,identity]")
    parser.add_argument("--text", action="store_true", help="also with castsheet[ocr]")
    options = parser.parse_args()
    clip, sheet = film(), compose(Scene.load(DEMO / "scene.yaml"))
    rows: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = clip.save(Path(folder) / "clip.mp4").video
        rows["decode (PyAV)"] = timed(lambda: read_video(path))
        rows["judge, model-free"] = timed(lambda: Judge(sheet)(clip))
        judged = [(clip, Judge(sheet)(clip))]
        rows["page"] = timed(lambda: report.page(sheet, judged))
        if options.faces:
            every = Options.installed()
            figures = Judge(sheet, dataclasses.replace(every, faces=None))
            rows["judge, with figures and networks"] = timed(lambda: figures(clip))
            faces = Judge(sheet, every)
            rows["judge, with faces too"] = timed(lambda: faces(clip))
        if options.text:
            reader = Judge(sheet, Options(reader=installed_reader()))
            rows["judge, reading text"] = timed(lambda: reader(clip))
    for one in rows.values():
        one["of_decoding"] = round(one["cpu_s"] / rows["decode (PyAV)"]["cpu_s"], 2)
    result = {
        "clip": f"{WIDTH}x{HEIGHT}, {FRAMES} frames",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "load": round(os.getloadavg()[0], 1),
        "commit": _commit(),
        "versions": dict(versions()),
        "rows": rows,
    }
    OUT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


def _commit() -> str:
    found = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
    )
    return found.stdout.strip()


if __name__ == "__main__":
    main()
