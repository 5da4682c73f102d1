"""The options of `mini.training.recipe`."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from mini.story.plot import POSES

STAGES = ("sound", "words", "codec", "base", "latents")


def parsed(told: str) -> argparse.Namespace:
    """The command line of the recipe. `told`: what it is, in the first line."""
    parser = argparse.ArgumentParser(description=told.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--given", type=Path, help="a folder with results of stages that are not made again")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--processes", type=int, default=14, help="that render, for each GPU")
    parser.add_argument("--clips", type=int, default=500, help="stories a GPU holds for the codec")
    parser.add_argument("--stories", type=int, default=6000, help="a GPU, for the base")
    windows = "a GPU: of other stories for the base, drawn on the processor while it learns"
    parser.add_argument("--windows", type=int, default=0, help=windows)
    parser.add_argument("--window-processes", type=int, default=11, help="that draw them, for each GPU")
    parser.add_argument("--skip", type=int, default=0, help="seeds that an earlier run has used, a GPU")
    parser.add_argument("--poses", choices=POSES, default="views", help="of people on the base's sheets")
    parser.add_argument("--codec-rate", type=float, default=8e-4)
    parser.add_argument(
        "--first", type=int, default=120, help="stories a GPU waits for before the base learns"
    )
    moving = "theta and share of the greatest positions that the base was trained with, and steps to move in"
    parser.add_argument(
        "--base-moving", nargs=3, type=float, metavar=("THETA", "REACH", "STEPS"), help=moving
    )
    parser.add_argument("--validation", type=int, default=12)
    parser.add_argument("--latents-seconds", type=float, default=math.inf, help="wait no longer for stories")
    parser.add_argument("--sounds", type=int, default=1000, help="a GPU, for sound")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    for stage, steps, batch in (
        ("codec", 60000, 12),
        ("decoder", 10000, 12),
        ("audio", 1500, 16),
        ("vocoder", 1500, 32),
        ("words", 1000, 64),
        ("base", 6000, 64),
    ):
        parser.add_argument(f"--{stage}-steps", type=int, default=steps)
        parser.add_argument(f"--{stage}-batch", type=int, default=batch, help="samples a GPU")
        parser.add_argument(f"--{stage}-seconds", type=float, default=math.inf, help="end the stage earlier")
        parser.add_argument(
            f"--{stage}-share",
            nargs=2,
            type=float,
            default=(0.0, 1.0),
            help="from where to where in the stage's rate decay this run goes",
        )
        hold = "how much of this run passes before its rate decays"
        parser.add_argument(f"--{stage}-hold", type=float, default=0.0, help=hold)
    return parser.parse_args()
