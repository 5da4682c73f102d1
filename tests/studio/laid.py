"""Folders as `castsheet pairs make` and `castsheet train` leave them, small and made by hand."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
from PIL import Image

from castsheet.clip import Clip
from castsheet.sheet.manifest import Sheet

PAIR = "ab-0001w0"
_REJECTS = "unit,rule,value,limit,meaning\nw7,R30,0.1,0.5,nothing moves\nw8,R30,0.2,0.5,nothing moves\n"


def lay_pairs(place: Path, sheet: Sheet, frames: int = 124) -> None:
    """A result of pairs: one accepted, two left out."""
    (place / "sheets").mkdir(parents=True)
    sheet.save(place / "sheets" / f"{PAIR}.png")
    noise = np.random.default_rng(5).integers(0, 255, (7, 14, 24, 3), np.uint8)
    Clip(np.repeat(noise.repeat(8, 1).repeat(8, 2), 18, 0)[:frames], 24.0).save(
        place / "clips" / f"{PAIR}.mp4"
    )
    row = {"video": f"clips/{PAIR}.mp4", "sheet": f"sheets/{PAIR}.png", "split": "train"}
    row |= {"caption": "The sheet shows hero, a person. Scene: hero waves.", "title": "<b>A film</b>"}
    (place / "pairs.jsonl").write_text(json.dumps({**row, "licence": "CC0-1.0", "source": "x"}) + "\n")
    with (place / "train.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, row)
        writer.writeheader()
        writer.writerow(row)
    (place / "rejects.csv").write_text(_REJECTS)
    counts = {"found": 3, "accepted": 1, "rejected": 2, "quarantined": 0}
    (place / "summary.json").write_text(json.dumps({"pairs": counts, "split": {"train": 1}}))


def lay_run(runs: Path, name: str, steps: int = 60) -> None:
    """A run that was stopped: its file, its record, a checkpoint's folder and two pictures."""
    place = runs / name
    (place / "samples").mkdir(parents=True)
    (place / "checkpoints" / f"step_{steps:06d}").mkdir(parents=True)
    watch = "watch: {samples: [{sheet: s.png, action: hero waves}]}"
    told = f"preset: mini\nmodel: mini\ndata: ../sets/one\noutput: {name}\n{watch}\n"
    (runs / f"{name}.yaml").write_text(told)
    lines = [
        {
            "kind": "train",
            "step": n,
            "loss": 0.2 + 1 / n,
            "rate": 1e-4,
            "gradient_norm": 1 / n,
            "seconds": 0.1,
        }
        for n in range(1, steps + 1)
    ]
    lines += [{"kind": "held_out", "step": n, "loss": 0.3 + 1 / n} for n in range(20, steps + 1, 20)]
    (place / "log.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    for number, tone in ((0, "grey"), (steps, "teal")):
        Image.new("RGB", (320, 120), tone).save(place / "samples" / f"{number:06d}_0.png")
