"""Clips whose truth is known, for calibrating the judge: rendered identities, put together with and without
faults.

Only identities of the validation range are used. A case has two people, a prop and a place, as layers, so
that each can be left out, exchanged or recoloured on its own.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from castsheet.elements import Character, Location, Prop, Scene, View
from castsheet.judge.cast import Mask, Pixels
from castsheet.sheet.compose import compose
from castsheet.sheet.manifest import Sheet
from mini.judged import faults
from mini.world import HEIGHT, VALIDATION, WIDTH
from mini.world.body import Part, Pose
from mini.world.mesh import build_actor
from mini.world.motion import ACTIONS, FPS
from mini.world.place import paint
from mini.world.render import PERSON_PARTS, PROP_PARTS, Renderer
from mini.world.stage import pictures

FRAMES = 32
STANDS = {"hero": -0.75, "rival": 0.75}  # metres from the middle
DEEDS = ("wave", "jump", "turn round", "lift")


@dataclass(frozen=True)
class Layers:
    """One identity in action: premultiplied RGBA (F, H, W, 4), the person's and the prop's, and the empty
    place."""

    person: Pixels
    prop: Pixels
    place: Pixels


@dataclass(frozen=True)
class Case:
    """A clip and what is true of it.

    Attributes:
        fault: "clean" or the fault's name.
        frames: uint8 (F, H, W, 3).
        sheet: the sheet that it was asked to follow.
        faulty_F: which frames show the fault.
        absent: elements that are not in the clip as the sheet has them.
    """

    fault: str
    frames: Pixels
    sheet: Sheet
    faulty_F: Mask
    absent: tuple[str, ...] = ()


def layers(renderer: Renderer, seed: int, action: str, stand: float, *, frames: int = FRAMES) -> Layers:
    """Render one identity of the validation range.

    Raises:
        ValueError: the seed is not in that range.
    """
    if seed not in VALIDATION:
        raise ValueError(f"seed {seed} is not a validation identity")
    renderer.set_actor(build_actor(seed))
    renderer.set_backdrop(None)
    poses = [ACTIONS[action](frame / FPS) for frame in range(frames)]
    shift = np.array([stand, 0, 0], np.float32)
    moved = [
        Pose(one.rotations, one.root + shift, one.yaw, one.prop + shift * (action == "lift")) for one in poses
    ]
    size = (WIDTH, HEIGHT)
    person = renderer.frames(moved, size, hide=PROP_PARTS)
    # A prop that nobody lifts stands still: one picture does.
    shown = moved if action == "lift" else moved[:1]
    prop = renderer.frames(shown, size, hide=(*PERSON_PARTS, Part.SHADOW))
    return Layers(person, np.broadcast_to(prop, person.shape), paint(seed, WIDTH, HEIGHT))


def scene_sheet(renderer: Renderer, hero: int, rival: int | None) -> Sheet:
    """The sheet of one or two people, the hero's prop and the hero's place, by the product's own composer."""
    with tempfile.TemporaryDirectory() as folder:
        elements: list[Character | Prop | Location] = []
        for name, seed in (("hero", hero), ("rival", rival)):
            if seed is None:
                continue
            parts = pictures(renderer, build_actor(seed), seed)
            images: dict[View, tuple[Path, ...]] = {}
            for view, picture in parts.views.items():
                path = Path(folder) / f"{name}-{view}.png"
                picture.save(path)
                images[view] = (path,)
            elements.append(Character(id=name, description=name, images=images))
            if name == "hero":
                parts.prop.save(Path(folder) / "prop.png")
                parts.place.save(Path(folder) / "place.png")
        elements.append(Prop(id="thing", description="thing", images={"front": (Path(folder) / "prop.png",)}))
        elements.append(
            Location(id="place", description="place", images={"front": (Path(folder) / "place.png",)})
        )
        return compose(Scene(elements=tuple(elements)), output=(WIDTH, HEIGHT), grid=16)


def stack(place_HWC: Pixels, *parts: Pixels) -> Pixels:
    """Layers over a place."""
    out: NDArray[np.floating] = np.repeat(place_HWC[None].astype(np.float32), len(parts[0]), axis=0)
    for part in parts:
        out = out * (1 - part[..., 3:].astype(np.float32) / 255) + part[..., :3]
    return np.clip(np.rint(out), 0, 255).astype(np.uint8)


def cases(renderer: Renderer, number: int, *, duo: bool) -> Iterator[Case]:
    """Every case of one pair of identities: the clean clip first, then each fault once, drawn by `number`."""
    random = np.random.default_rng([number, int(duo)])
    hero, rival, other = (VALIDATION.start + 3 * number + k for k in range(3))
    deed, second = (str(one) for one in random.choice(DEEDS, 2))
    second = "wave" if second == "lift" else second  # the prop is the hero's
    a = layers(renderer, hero, deed, STANDS["hero"] if duo else 0.0)
    b = layers(renderer, rival, second, STANDS["rival"]) if duo else a
    c = layers(renderer, other, deed, STANDS["hero"] if duo else 0.0)
    sheet = scene_sheet(renderer, hero, rival if duo else None)
    people = (b.person, a.person) if duo else (a.person,)
    clean = stack(a.place, *people, a.prop)
    never, always = np.zeros(FRAMES, np.bool_), np.ones(FRAMES, np.bool_)
    yield Case("clean", clean, sheet, never)

    away = (b.person,) if duo else ()
    yield Case("wrong person", stack(a.place, *away, c.person, a.prop), sheet, always, ("hero",))
    empty = away or (np.zeros_like(a.person),)
    yield Case("person missing", stack(a.place, *empty, a.prop), sheet, always, ("hero",))
    yield Case("wrong place", stack(c.place, *people, a.prop), sheet, always, ("place",))
    yield Case("prop missing", stack(a.place, *people), sheet, always, ("thing",))
    body = a.person[..., 3] > 128
    turned = faults.recolour(clean, body, float(random.uniform(0.25, 0.75)))
    yield Case("wrong colours", turned, sheet, always, ("hero",))
    yield from _of_the_picture(clean, sheet, random, always)
    if duo:
        yield _swap(renderer, (hero, rival), (deed, second), (a, b), sheet, int(random.integers(8, 25)))
    drifting = faults.drift(clean, body, float(random.uniform(0.3, 0.5)))
    yield Case("drift", drifting, sheet, always, ("hero",))


def _swap(
    renderer: Renderer,
    seeds: tuple[int, int],
    deeds: tuple[str, str],
    parts: tuple[Layers, Layers],
    sheet: Sheet,
    at: int,
) -> Case:
    """From frame `at` on, each of the two stands and acts in the other's place."""
    a, b = parts
    x = layers(renderer, seeds[0], deeds[1], STANDS["rival"])
    y = layers(renderer, seeds[1], deeds[0], STANDS["hero"])
    frames = np.concatenate(
        [stack(a.place, b.person, a.person, a.prop)[:at], stack(a.place, x.person, y.person, a.prop)[at:]]
    )
    return Case("swap", frames, sheet, np.arange(FRAMES) >= at)


def _of_the_picture(clean: Pixels, sheet: Sheet, random: np.random.Generator, always: Mask) -> Iterator[Case]:
    """Faults that need the finished frames only."""
    seen = np.asarray(sheet.conditioning_image(WIDTH, HEIGHT))
    zoomed = np.asarray(sheet.conditioning_image(round(WIDTH * 1.2), round(HEIGHT * 1.2)))
    y, x = (zoomed.shape[0] - HEIGHT) // 2, (zoomed.shape[1] - WIDTH) // 2
    for weight in (1.0, 0.6, 0.35, 0.0):
        length = int(random.integers(2, 17))
        start = int(random.integers(0, FRAMES - length + 1))
        span = np.zeros(FRAMES, np.bool_)
        span[start : start + length] = True
        name = {1.0: "leak", 0.0: "leak, zoomed"}.get(weight, f"leak at {weight}")
        # Weight 0 stands for the sheet out of place: larger than the frame.
        what = zoomed[y : y + HEIGHT, x : x + WIDTH] if weight == 0 else seen
        yield Case(name, faults.leak(clean, what, (start, start + length), weight or 1.0), sheet, span)
    bars = faults.letterbox(clean, float(random.uniform(0.06, 0.25)), upright=bool(random.random() < 0.5))
    yield Case("letterbox", bars, sheet, always)
    panel = _panel(sheet, seen)
    at = (
        int(random.integers(0, WIDTH - panel.shape[1] + 1)),
        int(random.integers(0, HEIGHT - panel.shape[0] + 1)),
    )
    yield Case("panel pasted", faults.paste(clean, panel, at), sheet, always)
    yield Case("frozen", faults.freeze(clean), sheet, always)
    yield Case("jitter", faults.jitter(clean, int(random.integers(1, 4)), random), sheet, always)
    words = str(random.choice(["COMMERCIAL", "Character Sheet", "Top Row Left", "HERO 01", "front view"]))
    place = (int(random.integers(4, 70)), int(random.integers(4, 92)))
    yield Case("text", faults.caption(clean, words, place, int(random.integers(9, 16))), sheet, always)


def _panel(sheet: Sheet, seen: Pixels) -> Pixels:
    """The hero's turnaround as it stands on the conditioning image."""
    box = next(panel.box for panel in sheet.panels_of("hero") if panel.view == "turnaround")
    scale = WIDTH / sheet.image.width
    edges = [round(v * scale) for v in (box.y, box.bottom, box.x, box.right)]
    picture = seen[edges[0] : edges[1], edges[2] : edges[3]]
    return np.asarray(Image.fromarray(picture))
