"""How well mini's clips show their stories: `python -m mini.evaluation.stories`.

A take is a story's clip and sound: the rendered truth itself, the truth through the codec, or what a bundle
makes of the story's sheet and words. Everybody's colours are measured under the truth's masks; see
`mini.story.measure` for deeds and `mini.story.listen` for sound. Needs the `mini` extra and an EGL driver.

Controls: with `--sheet swapped` (strangers who do the same) colours should be the strangers', with `--sheet
blank` (a black sheet) and `--sheet own --bare` (no adapter) nobody's: near 50 %.

Legend: P people and props, R regions, N takes.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from castsheet.machine.files import write_text
from castsheet.pipeline import Castsheet
from castsheet.settings import override
from castsheet.sheet.manifest import Sheet
from mini.evaluation.bare import bare
from mini.evaluation.leaked import leaked
from mini.evaluation.parts import Floats
from mini.evaluation.score import GALLERY, Share, comparisons
from mini.script import add_settings, finish, one_thread_each
from mini.story import FRAMES
from mini.story.listen import in_time, place_heard
from mini.story.look import Look
from mini.story.measure import INDICES, WORN, action_shown, colours, named_one_acts, prop_handled
from mini.story.place import kind_of
from mini.story.plot import POSES, Plot, Poses, action_words, plot_of
from mini.story.poses import drawing
from mini.story.render import Renderer
from mini.story.sample import Pixels, cast, draw, sheet_random
from mini.story.sound import Wave, sound
from mini.world import TEST, VALIDATION

APART = 25_000  # seeds between a story's cast and the strangers that it is compared with
CLOTHES = tuple(WORN.index(name) for name in ("top", "bottom"))
Counts = dict[str, tuple[int, int]]
Given = Literal["own", "swapped", "blank"]


@dataclass(frozen=True)
class Take:
    """A story's frames (10,H,W,3) at `measure.INDICES`, its sound (2,A) at 48 kHz, if it has one, and the
    sheet that the model was given, if one was."""

    frames: Pixels
    sound: Wave | None
    sheet: Sheet | None = None


@dataclass(frozen=True)
class Measured:
    """What a take shows.

    Attributes:
        counts: hits and comparisons by what was asked.
        found: colours (P,R,3) in the take. own: in the truth.
    """

    counts: Counts
    found: Floats
    own: Floats


def looks_of(plot: Plot) -> list[Look | None]:
    """Everybody's looks in the order of masks: people first, then the props that are there."""
    people: list[Look | None] = [played.figure.look for played in cast(plot)[0][: len(plot.roles)]]
    return people + [None] * sum(plot.shown)


def strangers(plot: Plot) -> Plot:
    """The same story with other people in it."""
    roles = tuple(replace(role, seed=role.seed + APART) for role in plot.roles)
    return replace(plot, roles=roles)


def measure(renderer: Renderer, seed: int, take: Take) -> Measured:
    """Everything that is asked of a story's take."""
    plot = plot_of(seed)
    truth, parts, figures = draw(renderer, plot, INDICES)
    looks = looks_of(plot)
    found, own = (colours(frames, parts, figures, looks) for frames in (take.frames, truth))
    other_plot = strangers(plot)
    other = colours(*draw(renderer, other_plot, INDICES), looks_of(other_plot))
    people = len(plot.roles)
    counts: Counts = {
        f"colours, {people} {'people' if people > 1 else 'person'}": won(found, own, other, people)
    }
    if people > 1:
        counts["own clothes"] = own_clothes(found[:people], own[:people])
    for index, role in enumerate(plot.roles):
        shown = action_shown(renderer, plot, index, take.frames)
        _add(counts, f"action: {role.action}", int(shown == role.action), 1)
    for name, answer in (
        ("named one acts", named_one_acts(renderer, plot, take.frames)),
        ("prop handled", prop_handled(renderer, plot, take.frames)),
    ):
        if answer is not None:
            _add(counts, name, int(answer), 1)
    if take.sheet is not None:
        seen = leaked(take.frames, take.sheet)
        _add(counts, "frames without the sheet", len(seen) - sum(seen), len(seen))
    if take.sound is not None:
        _add(counts, "steps and landings in time", *in_time(take.sound, cast(plot)[1]))
        _add(counts, "place heard", int(place_heard(take.sound) == kind_of(seed)), 1)
    return Measured(counts, found, own)


def won(found_PR3: Floats, own_PR3: Floats, other_PR3: Floats, people: int) -> tuple[int, int]:
    """How many of the people's colours lie nearer to the own than to the stranger's, and of how many."""
    counted, hits = comparisons(found_PR3[:people], own_PR3[:people], other_PR3[:people])
    return int(hits.sum()), int(counted.sum())


def own_clothes(found_PR3: Floats, own_PR3: Floats) -> tuple[int, int]:
    """How many of two people's tops and trousers lie nearer to their own than to the other's."""
    columns = list(CLOTHES)
    counted, hits = comparisons(found_PR3[:, columns], own_PR3[:, columns], own_PR3[::-1, columns])
    return int(hits.sum()), int(counted.sum())


def right_sheet(takes: list[Measured]) -> tuple[int, int]:
    """How often the nearest of 16 stories (mean CIE76 over common regions of people) is the take's own.

    Only takes of as many people are compared, in consecutive blocks of 16; an incomplete block is left out.
    """
    hits = total = 0
    for people in (1, 2):
        told = [one for one in takes if _people(one.counts) == people]
        for start in range(0, len(told) - GALLERY + 1, GALLERY):
            block = told[start : start + GALLERY]
            for index, one in enumerate(block):
                far = [_distance(one.found[:people], other.own[:people]) for other in block]
                hits, total = hits + int(int(np.argmin(far)) == index), total + 1
    return hits, total


def _people(counts: Counts) -> int:
    return 2 if "colours, 2 people" in counts else 1


def _distance(found_PR3: Floats, own_PR3: Floats) -> float:
    apart: NDArray[np.float64] = np.linalg.norm(found_PR3 - own_PR3, axis=-1)
    return float(np.nanmean(apart)) if np.isfinite(apart).any() else float("inf")


def _add(counts: Counts, name: str, hits: int, total: int) -> None:
    before = counts.get(name, (0, 0))
    counts[name] = before[0] + hits, before[1] + total


def summed(takes: list[Measured]) -> dict[str, dict[str, Any]]:
    """All takes together, with 95 % intervals."""
    counts: Counts = {"right sheet of 16": right_sheet(takes)}
    for one in takes:
        for name, (hits, total) in one.counts.items():
            _add(counts, name, hits, total)
            if name.startswith("action: "):
                _add(counts, "action", hits, total)
    return {name: Share(*counts[name]).to_dict() for name in sorted(counts)}


def truth(renderer: Renderer, seed: int) -> Take:
    """The rendered story itself."""
    plot = plot_of(seed)
    return Take(draw(renderer, plot, INDICES)[0], sound(kind_of(seed), cast(plot)[1], seed))


def through_codec(folder: Path, device: str) -> Callable[[Renderer, int], Take]:
    """The truth through the codec of a recipe's folder, without sound."""
    from mini.training.measure import decoded
    from mini.training.stored import codec_file, load_codec

    vae = load_codec(codec_file(folder), device)

    def make(renderer: Renderer, seed: int) -> Take:
        frames = torch.from_numpy(draw(renderer, plot_of(seed), tuple(range(FRAMES)))[0])
        return Take(decoded(vae, frames, device)[list(INDICES)].cpu().numpy(), None)

    return make


def generated(source: Source) -> Callable[[Renderer, int], Take]:
    """What a bundle makes of a sheet and the story's plainest words."""
    castsheet = Castsheet.load(source.bundle or "mini", device=source.device)
    chosen = override(castsheet.settings(), dict(source.settings))
    castsheet = bare(castsheet) if source.bare else castsheet

    def make(renderer: Renderer, seed: int) -> Take:
        sheet = given_sheet(renderer, seed, source.given, source.poses)
        words = action_words(plot_of(seed))
        more = {"strength": {plot_of(seed).roles[0].name: source.first_strength}}
        run = override(chosen, more) if source.first_strength != 1 else chosen
        clip = castsheet(sheet, words, preset=run, seed=seed, force=source.bare)
        heard = None if clip.audio is None else np.ascontiguousarray(clip.audio.T)
        return Take(np.ascontiguousarray(clip.frames[list(INDICES)]), heard, sheet)

    return make


def given_sheet(renderer: Renderer, seed: int, given: Given, poses: Poses = "views") -> Sheet:
    """The story's own sheet, that of strangers under the same names, or a black one."""
    plot = plot_of(seed)
    shown = strangers(plot) if given == "swapped" else plot
    sheet = drawing(poses)(renderer, shown, sheet_random(seed))
    return replace(sheet, image=Image.new("RGB", sheet.image.size)) if given == "blank" else sheet


Maker = Callable[[Renderer, int], Take]


@dataclass(frozen=True)
class Source:
    """Where takes come from: a bundle, a recipe's codec, or, with neither, the truth.

    `first_strength` is that of the panels of a bundle's first person, `poses` where pictures of people are
    from.
    """

    bundle: str | None
    codec: Path | None
    device: str
    settings: tuple[tuple[str, Any], ...] = ()
    given: Given = "own"
    bare: bool = False
    first_strength: float = 1.0
    poses: Poses = "views"

    @classmethod
    def told(cls, options: argparse.Namespace) -> tuple[range, Source]:
        """The seeds to draw from and the source that `add_source`'s options name."""
        settings = (("reference", options.reference), *options.set)
        given = options.sheet, options.bare
        source = cls(options.bundle, options.codec, options.device, settings, *given, poses=options.poses)
        return TEST if options.test else VALIDATION, source

    def open(self) -> Maker:
        """What makes the takes.

        Raises:
            CheckpointError: a file of the bundle or the codec is missing or damaged.
        """
        if self.codec is not None:
            return through_codec(self.codec, self.device)
        if self.bundle is not None:
            return generated(self)
        return truth


def measured(source: Source, seeds: Sequence[int], processes: int) -> Iterator[Measured]:
    """Every seed's take, measured, in the order of `seeds`.

    Rendering, measuring and launching a small model's kernels are one core's work: several processes, each
    with a model of its own, keep several cores and a graphics card busy.

    Raises:
        CheckpointError: a file of the bundle or the codec is missing or damaged.
    """
    limits = one_thread_each() if source.device.startswith("cuda") else nullcontext()
    with limits, multiprocessing.get_context("spawn").Pool(processes) as pool:
        yield from pool.imap(_measured, ((source, seed) for seed in seeds))


_worker: tuple[Renderer, Maker] | None = None


def _measured(job: tuple[Source, int]) -> Measured:
    """In a worker: one take. The renderer and the model are made once."""
    global _worker
    source, seed = job
    _worker = _worker or (Renderer(), source.open())
    renderer, make = _worker
    return measure(renderer, seed, make(renderer, seed))


def add_source(parser: argparse.ArgumentParser) -> None:
    """Options that say which takes are measured."""
    parser.add_argument(
        "--test", action="store_true", help="test stories: for the numbers, never for choosing"
    )
    parser.add_argument("--bundle", help="a folder with bundle.json; without it, the truth")
    parser.add_argument("--reference", choices=("looped", "still"), default="looped", help="of a bundle")
    parser.add_argument("--sheet", choices=get_args(Given), default="own", help="that a bundle is given")
    parser.add_argument("--poses", choices=POSES, default="views", help="of people on the sheets")
    parser.add_argument("--bare", action="store_true", help="a bundle without its adapters")
    add_settings(parser)
    parser.add_argument("--codec", type=Path, help="a recipe's folder: the truth through its codec")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=128)
    add_source(parser)
    parser.add_argument("--processes", type=int, default=1, help="that make and measure, each with a model")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    seeds, source = Source.told(options)

    def run() -> None:
        takes = list[Measured]()
        for take in measured(source, seeds[: options.count], options.processes):
            takes.append(take)
            print(f"{len(takes)} of {options.count} stories measured", end="\r", flush=True)
            if options.json is not None:  # what is there is worth something, if the run is cut off
                write_text(options.json, json.dumps(summed(takes), indent=1) + "\n")
        for name, one in summed(takes).items():
            share = "-" if one["share"] is None else f"{100 * one['share']:.1f} %"
            print(f"{name:28} {share:>8} ({one['hits']}/{one['total']})")

    finish(run)


if __name__ == "__main__":
    main()
