"""A sampler of your own: two-step Adams-Bashforth, one model call a step.

    x' = x + h ((1 + r / 2) v - (r / 2) v_before),   h = sigma' - sigma,   r = h / h_before

A sampler is a function of the signature `castsheet.sampling.samplers.Walk`, entered in `SAMPLERS` under a
name before settings are made. It calls the model at the listed levels only.

    python examples/own_sampler.py SHEET.png "hero waves" --out out/ab2.mp4
"""

from __future__ import annotations

import argparse
from pathlib import Path

from torch import Tensor

from castsheet import Castsheet, Sheet
from castsheet.sampling.samplers import SAMPLERS, Callback, Model, Renoise, Sampler


def adams_bashforth(
    model: Model,
    x: Tensor,
    sigmas: Tensor,
    *,
    renoise: Renoise | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """Second order from the second step on; the first is an Euler step."""
    del renoise
    x, levels = x.float(), sigmas.to(x)
    before: tuple[Tensor, Tensor] | None = None  # the velocity of the step before, and that step's length
    for step in range(len(levels) - 1):
        sigma, length = levels[step], levels[step + 1] - levels[step]
        x0 = model(x, sigma, step).float()
        velocity = (x - x0) / sigma
        ratio = 0.0 if before is None else float(length / before[1])
        last = velocity if before is None else before[0]
        x = x + length * ((1 + ratio / 2) * velocity - ratio / 2 * last)
        before = velocity, length
        if callback is not None:
            callback(step + 1, x0)
    return x


SAMPLERS["adams_bashforth"] = Sampler(adams_bashforth, "two-step Adams-Bashforth")


def main() -> None:
    """Read the command line and run."""
    words = argparse.ArgumentParser(description="Make a clip with a sampler of your own.")
    words.add_argument("sheet", type=Path)
    words.add_argument("action")
    words.add_argument("--model", default="mini")
    words.add_argument("--out", type=Path, default=Path("out/ab2.mp4"))
    asked = words.parse_args()
    castsheet = Castsheet.load(asked.model)
    clip = castsheet(Sheet.load(asked.sheet), asked.action, sampler="adams_bashforth")
    print(clip.save(asked.out).video)


if __name__ == "__main__":
    main()
