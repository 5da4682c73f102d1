"""Cut-outs of pictures with known truth, by all networks together and by u2netp and u2net alone.

    pip install -e ".[sheet]" scipy; castsheet elements models
    python -m benchmarks.cutouts [FOLDER] [--every N] [--all] [--beside N]    writes results/cutouts.json

FOLDER keeps downloads and results between runs: a run that was stopped goes on. By default the half on which
nothing was chosen is measured; --all measures both, --every N each Nth picture. u2netp and u2net are asked
alone on each picture, or with --beside N on each Nth (0: on none).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy import ndimage

from benchmarks.cutouts.material import Case, cases
from benchmarks.cutouts.score import boundary_f, iou, lost, spread
from castsheet.errors import ImageError
from castsheet.machine.files import write_atomic
from castsheet.sheet.box import Box
from castsheet.sheet.look.doubts import Seen, doubts
from castsheet.sheet.look.experts import Experts, Found, installed_experts
from castsheet.sheet.look.matting import VERSION, cut_out

ROOT = Path(__file__).resolve().parents[2]
WAYS = ("auto", "u2netp", "u2net")
WARNS = {"head": ("head", "hair", "person"), "hair": ("hair", "head", "person"), "hands": ("hands", "person")}
WARNS["feet"] = ("feet", "person")


@dataclass(frozen=True)
class Watched(Experts):
    """The installed networks, with what they saw last."""

    last: list[Found] = field(default_factory=list)

    def look(self, rgb: Image.Image) -> Found:
        """As the networks do."""
        self.last[:] = [super().look(rgb)]
        return self.last[0]


def noticed(alpha: np.ndarray, case: Case, seen: Seen) -> dict[str, bool]:
    """For each part of the person, whether its loss would be told: it is taken away, and doubts are asked."""
    told = {}
    for name, part in case.parts.items():
        without = alpha * ~ndimage.binary_dilation(part, iterations=4)
        told[name] = bool({doubt.kind for doubt in doubts(without, seen)} & set(WARNS[name]))
    return told


def measured(case: Case, folder: Path, way: str) -> dict[str, Any]:
    """One way's figures for one picture."""
    path = folder / "case.png"
    case.rgb.save(path)
    truth = case.alpha > 0.5
    all_here = installed_experts()
    experts = Watched(all_here.things, all_here.finder, all_here.people, all_here.faces)
    started, worked = time.perf_counter(), time.process_time()
    try:
        cut = cut_out(path, quality=way, matter=experts if way == "auto" else None)
    except ImageError:
        return {"iou": 0.0, "f": 0.0, "lost": list(case.parts), "warned": True, "doubts": ["none found"]}
    wall, cpu = time.perf_counter() - started, time.process_time() - worked
    whole, box = Image.new("L", case.rgb.size), cut.window or Box(0, 0, *case.rgb.size)
    whole.paste(cut.image.getchannel("A").resize((box.w, box.h)), (box.x, box.y))
    solid = np.asarray(whole) > 127
    gone, kinds = lost(solid, case.parts), [doubt.kind for doubt in cut.doubts]
    found: dict[str, Any] = {
        "iou": round(iou(solid, truth), 4),
        "f": round(boundary_f(solid, truth), 4),
        "lost": gone,
        "warned": all(set(kinds) & set(WARNS[part]) for part in gone) or bool(cut.note and not cut.doubts),
        "doubts": kinds,
        "wall_s": round(wall, 2),
        "cpu_s": round(cpu, 2),
    }
    if way == "auto":
        found["noticed"] = noticed(np.asarray(whole, np.float32) / 255, case, experts.last[0].seen)
    return found


class Known:
    """Figures of earlier runs, by picture and way.

    Args:
        path: a file with one line of JSON for each.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        self._found = {(row["name"], row["way"]): row["figures"] for row in map(json.loads, lines)}

    def get(self, case: Case, way: str) -> dict[str, Any] | None:
        """What is known."""
        return self._found.get((case.name, way))

    def add(self, case: Case, way: str, folder: Path) -> dict[str, Any]:
        """Measures, and keeps it."""
        figures = measured(case, folder, way)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"name": case.name, "way": way, "figures": figures}) + "\n")
        return figures


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The figures of each way over all pictures, and by group."""
    told: dict[str, Any] = {}
    for way in WAYS:
        asked = [row for row in rows if way in row]
        of = [row[way] for row in asked]
        if not of:
            continue
        told[way] = {
            "pictures": len(of),
            "iou": {name: round(value, 3) for name, value in spread([one["iou"] for one in of]).items()},
            "boundary_f_3px": round(float(np.mean([one["f"] for one in of])), 3),
            "lost": sum(bool(one["lost"]) for one in of),
            "lost_without_warning": sum(bool(one["lost"]) and not one["warned"] for one in of),
            "doubted": sum(bool(one["doubts"]) for one in of),
            "doubted_of_good": _doubted(of),
            "cpu_s": round(float(np.median([one.get("cpu_s", 0.0) for one in of])), 2),
            "wall_s": round(float(np.median([one.get("wall_s", 0.0) for one in of])), 2),
            "by_group": {
                group: round(float(np.mean([row[way]["iou"] for row in asked if row["group"] == group])), 3)
                for group in sorted({row["group"] for row in asked})
            },
        }
    parts = [row["auto"]["noticed"] for row in rows if "noticed" in row["auto"]]
    told["losses_told"] = {
        name: f"{sum(one.get(name, False) for one in parts)} of {sum(name in one for one in parts)}"
        for name in WARNS
    }
    return told


def _doubted(rows: list[dict[str, Any]]) -> str:
    """How many cut-outs near the truth (IoU 0.95, no part lost) are doubted, by kind of doubt."""
    good = [row for row in rows if row["iou"] >= 0.95 and not row["lost"]]
    kinds = sorted({kind for row in good for kind in row["doubts"]})
    by_kind = ", ".join(f"{kind} {sum(kind in row['doubts'] for row in good)}" for kind in kinds)
    return f"{sum(bool(row['doubts']) for row in good)} of {len(good)} ({by_kind or 'none'})"


def where() -> dict[str, Any]:
    """Commit and machine."""
    asked = ["git", "describe", "--always", "--dirty"]
    commit = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    return {"commit": commit or "unknown", "machine": machine, "load_average": round(os.getloadavg()[0], 1)}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--beside", type=int, default=1)
    told = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder: Path = told.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        rows = []
        known = Known(folder / f"cutouts-{VERSION}.jsonl")
        for number, case in enumerate(cases(folder)):
            if number % told.every or (case.chooses and not told.all):
                continue
            row: dict[str, Any] = {"name": case.name, "group": case.group, "ground": case.ground}
            row["chooses"] = case.chooses
            ways = WAYS if told.beside and number % told.beside == 0 else WAYS[:1]
            row |= {way: known.get(case, way) or known.add(case, way, folder) for way in ways}
            rows.append(row)
            print(len(rows), case.name, {way: row[way]["iou"] for way in ways}, flush=True)
        rows = [row for row in rows if told.all or not row["chooses"]]
        half = [row for row in rows if not row["chooses"]]
        found = {"pictures": len(rows), "all": summary(rows), "held_out": summary(half), "rows": rows}
        text = json.dumps({**where(), **found}, indent=1) + "\n"
        write_atomic(
            ROOT / "benchmarks/results/cutouts.json", lambda out: out.write_text(text, encoding="utf-8")
        )
        print(json.dumps(summary(rows), indent=1))


if __name__ == "__main__":
    main()
