"""Progress, a picture after each step, and stopping early.

python examples/progress_and_preview.py SHEET.png "hero waves" --out out/preview
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from castsheet import Castsheet, Clip, Sheet


class Stopped(Exception):
    """Raised in `on_step`, it ends the run between two steps; nothing is left half made."""


def make(
    castsheet: Castsheet, sheet: Sheet, action: str, out: Path, *, stop_at: int | None = None, **settings: Any
) -> Clip:
    """A clip; after each step its last frame, as far as it is known by then, lies in `out`."""
    out.mkdir(parents=True, exist_ok=True)

    def on_step(step: int, steps: int, latents: Any) -> None:
        castsheet.picture(latents).save(out / f"step-{step:02}.png")
        print(f"step {step} of {steps}")
        if step == stop_at:
            raise Stopped

    return castsheet(sheet, action, on_step=on_step, **settings)


def main() -> None:
    """Read the command line and run."""
    words = argparse.ArgumentParser(description="Make a clip and show its steps.")
    words.add_argument("sheet", type=Path)
    words.add_argument("action")
    words.add_argument("--model", default="mini")
    words.add_argument("--out", type=Path, default=Path("out/preview"))
    asked = words.parse_args()
    clip = make(Castsheet.load(asked.model), Sheet.load(asked.sheet), asked.action, asked.out)
    print(clip.save(asked.out / "clip.mp4").video)


if __name__ == "__main__":
    main()
