"""Many clips of one sheet: `python examples/batch.py --out out/batch`."""

from __future__ import annotations

import argparse
from pathlib import Path

from castsheet import Castsheet, Judge, Scene
from castsheet.embedded import DEMO_SCENE
from castsheet.judge.judge import Options
from castsheet.sheet.compose import compose
from castsheet.sheet.manifest import Sheet

ACTIONS = ("hero waves", "hero walks left past the place", "hero jumps")


def batch(castsheet: Castsheet, sheet: Sheet, actions: tuple[str, ...], out: Path, **settings: object) -> int:
    """Make and judge one clip an action; returns how many do not carry the cast."""
    judge, failed = Judge(sheet, Options.installed()), 0
    for number, action in enumerate(actions):
        clip = castsheet(sheet, action, seed=number, **settings)
        verdict = judge(clip, action)
        files = clip.save(out / f"{number:02}.mp4")
        failed += not verdict.passed
        print(f"{files.video}: {action}: {verdict.verdict}")
    return failed


def main() -> None:
    """Read the command line and run."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--model", default="mini")
    words.add_argument("--scene", type=Path, default=DEMO_SCENE)
    words.add_argument("--out", type=Path, default=Path("out/batch"))
    asked = words.parse_args()
    castsheet = Castsheet.load(asked.model)
    usual = castsheet.settings()
    sheet = compose(
        Scene.load(asked.scene), output=(usual.width, usual.height), grid=castsheet.models.source.cell
    )
    sheet.save(asked.out / "sheet.png")
    print(f"{batch(castsheet, sheet, ACTIONS, asked.out)} of {len(ACTIONS)} do not carry the cast")


if __name__ == "__main__":
    main()
