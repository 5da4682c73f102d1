"""What each approximation costs the embedded model's identity figure, beside its speed and its x0 error.

Every row makes the same validation identities' clips (mini.evaluation.evaluate, mode `sheet`) through the
pipeline. `ms` is denoising alone, a clip. The error is that of x0 against the exact run's, each on its own
path, averaged over steps and clips. Identity is the share of colours that lie nearer to the sheet that was
given than to its partner's, all groups together.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from benchmarks.common import Bench, relative
from castsheet.clip import Clip
from castsheet.pipeline import Castsheet
from mini.evaluation import deeds
from mini.evaluation.evaluate import score_mode
from mini.evaluation.identities import FRAMES, SIZE, action_words
from mini.evaluation.parts import mean_colours
from mini.evaluation.takes import Takes, noise_seed
from mini.evaluation.validation import MASK_FRAMES, ValidationSet, action_of

EXACT = "exact"
# (name, options of the model, settings of the run)
FORMS: tuple[tuple[str, dict[str, Any], dict[str, Any]], ...] = (
    (EXACT, {}, {}),
    ("fp8", {"dtype": "fp8"}, {}),
    ("reference rows every 2 steps", {}, {"reference_every": 2}),
    ("reference rows every 3 steps", {}, {"reference_every": 3}),
    ("reference rows every 4 steps", {}, {"reference_every": 4}),
    ("fp8, reference rows every 2 steps", {"dtype": "fp8"}, {"reference_every": 2}),
    ("fp8 attention", {"attention": "fp8"}, {}),
)
COUNT = 64


def identity(bench: Bench, load: Callable[..., Any] = Castsheet.load) -> None:
    """All forms over the shipped validation set; a few identities outside a full run."""
    bench.size = replace(bench.size, name=f"{SIZE[0]}x{SIZE[1]}x{FRAMES}, mini")
    count = COUNT if bench.mode == "full" else 2
    truths = ValidationSet.load()
    exact: list[list[Tensor]] = []
    usual = float("nan")
    for name, options, settings in FORMS:
        if not bench.on_gpu and "attention" in options:
            continue
        with bench.attempt(name), tempfile.TemporaryDirectory() as folder:
            castsheet = load("mini", device=str(bench.device), **options)
            takes = Takes(castsheet, truths, Path(folder), settings)
            clip_of(takes, 0)  # compiles
            made = [clip_of(takes, index) for index in range(count)]
            clips, seen = [clip for clip, _ in made], [x0 for _, x0 in made]
            ms = 1e3 * sum(clip.provenance["timings_s"]["sampling"] for clip in clips) / count
            found = score(truths, clips)
            if name == EXACT:
                exact, usual = seen, ms
            elif exact:
                found["error"] = away(seen, exact)
            bench.add(name, ms=ms, over=ms / usual - 1, **found)


def clip_of(takes: Takes, index: int) -> tuple[Clip, list[Tensor]]:
    """A take, and x0 after each step."""
    seen: list[Tensor] = []
    clip = takes.castsheet(
        takes.sheet("sheet", index),
        action_words(action_of(index)),
        preset=takes.settings,
        seed=noise_seed(index),
        on_step=lambda _step, _total, x0: seen.append(x0.clone()),
    )
    return clip, seen


def score(truths: ValidationSet, clips: Sequence[Clip]) -> dict[str, Any]:
    """The identity figure, and by group, at the frames at which deeds are seen."""
    frames = [clip.frames[list(deeds.INDICES)] for clip in clips]
    at = [deeds.INDICES.index(frame) for frame in MASK_FRAMES]
    masks = truths.masks_NFHW
    measured = np.stack([mean_colours(one[at], masks[index]) for index, one in enumerate(frames)])
    shown = [deeds.classify(one, truths.centroids_AM) for one in frames]
    found = score_mode(measured, truths, shown)
    groups = {name: found["identity"][name] for name in ("person", "prop", "location")}
    hits, total = (sum(group[key] for group in groups.values()) for key in ("hits", "total"))
    shares = {name: group["share"] for name, group in groups.items()}
    return {"identity": hits / total, "of": total, **shares, "action": found["action"]["share"]}


def away(got: list[list[Tensor]], wanted: list[list[Tensor]]) -> float:
    """Mean relative error over all steps of all clips."""
    pairs = [
        (a, b) for left, right in zip(got, wanted, strict=True) for a, b in zip(left, right, strict=True)
    ]
    return sum(relative(a, b) for a, b in pairs) / len(pairs)
