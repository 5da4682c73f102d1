"""Props that a game's artists rendered from every side, put into photographs: clips whose truth is known.

Forty of the items of FreedroidRPG (Debian's freedroidrpg-data, GPL-2+), each in 16 or 32 views around its
upright axis. The sheet shows the first view beside a place; the clip shows the item turned by 30 to 80
degrees, in the place, alone or with an actor beside it. Wrong clips show another item, the item of the half
that is nearest in its colours, or none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.judge_outside.case import Case, Half
from benchmarks.judge_outside.packages import one
from benchmarks.judge_outside.people import LENGTH, PEOPLE, PLACES, SIZE, Actor, Folder, clip
from castsheet.elements import Location, Prop, Scene
from castsheet.judge.cast import Pixels, figure_mask
from castsheet.sheet.compose import compose
from castsheet.sheet.manifest import Sheet

ITEMS: dict[Half, tuple[str, ...]] = {
    "tuning": (
        "addons/brain_stimulator",
        "addons/foot_warmers",
        "addons/heatsink",
        "addons/peltier_element",
        "addons/shock_discharger",
        "armours/boots",
        "datacube",
        "dixons_toolbox",
        "drinking_mug_2",
        "kevins_datacube",
        "nailgun",
        "pills_potions/energy_capsule",
        "pills_potions/health_capsule",
        "rubber_duck",
        "shields/riot",
        "shields/standard",
        "tele_beacon",
        "weapons/22_ammo",
        "weapons/large_axe",
        "weapons/plasma_gun",
    ),
    "held out": (
        "addons/circuit_jammer",
        "addons/headlamp",
        "addons/linarian_power_crank",
        "addons/sensor_disruptor",
        "armours/basic2",
        "armours/robe",
        "desk_lamp",
        "drinking_mug",
        "picnic_basket",
        "map_maker",
        "pills_potions/blue_energy_drink",
        "pills_potions/force_capsule",
        "repairbook",
        "shields/heavy",
        "shields/small",
        "spellbook",
        "toolbox",
        "weapons/chainsaw",
        "weapons/laser_pistol",
        "weapons/power_hammer",
    ),
}
TURNS = (30, 80)  # degrees around its axis, at a clip's first frame and at its last
ROWS = ("right", "right, beside an actor", "another prop", "a prop in like colours", "no prop")


@cache
def views(packages: Path, item: str) -> tuple[Image.Image, ...]:
    """Pictures of an item from all sides, RGBA, uncut."""
    first = one(packages, f"items/{item}/portrait_0001.jpg")
    found = []
    for path in sorted(first.parent.glob("portrait_*.jpg")):
        picture = np.asarray(Image.open(path).convert("RGB"))
        mask = 255 * figure_mask(picture).astype(np.uint8)
        found.append(Image.fromarray(np.dstack([picture, mask])))
    return tuple(found)


def name_of(item: str) -> str:
    """Name of an item's sheet."""
    return f"props/{Path(item).name}"


def sheets(folder: Folder) -> Iterator[tuple[str, Callable[[], Sheet]]]:
    """Name and maker of every item's sheet: its first view, and a place."""
    for half, items in ITEMS.items():
        for number, item in enumerate(items):
            yield name_of(item), partial(_sheet, folder, item, half, _place(half, number))


def _sheet(folder: Folder, item: str, half: Half, place: str) -> Sheet:
    path, plate = folder.cuts / f"{Path(item).name}.png", folder.cuts / f"{place}.png"
    shown = views(folder.packages, item)[0]
    shown.crop(shown.getchannel("A").getbbox()).save(path)
    folder.place(half, place).save(plate)
    thing = Prop(id="thing", description="a thing", images={"front": (path,)})
    ground = Location(id="place", description=place, images={"front": (plate,)})
    return compose(Scene(elements=(thing, ground)))


def _place(half: Half, number: int) -> str:
    places = list(PLACES[half])
    return places[number % len(places)]


def cases(folder: Folder) -> Iterator[Case]:
    """Every item's clips, both halves."""
    for half, items in ITEMS.items():
        hues = [_hues(views(folder.packages, item)[0]) for item in items]
        for number, item in enumerate(items):
            like = np.array([np.sqrt(hues[number] * other).sum() for other in hues])
            like[number] = -1
            shown = (item, item, items[(number + 7) % len(items)], items[int(np.argmax(like))], "")
            for row, what in zip(ROWS, shown, strict=True):
                actors = row == "right, beside an actor" or (row in ROWS[2:] and number % 2)
                made = partial(_clip, folder, half, number, what, actor=bool(actors))
                truth = {"thing": row in ROWS[:2], "place": True}
                yield Case(f"{name_of(item)}/{row}", half, f"props: {row}", name_of(item), made, truth)


def _hues(view: Image.Image) -> NDArray[np.float64]:
    """Shares of an item's colours in eight steps each."""
    pixels = np.asarray(view)
    seen = pixels[..., :3][pixels[..., 3] > 0] // 32
    counts = np.bincount(seen @ np.array([64, 8, 1]), minlength=512)
    return counts / max(int(counts.sum()), 1)


def _clip(folder: Folder, half: Half, number: int, item: str, *, actor: bool, every: int = 1) -> Pixels:
    """Frames of a place, an actor perhaps, and an item that turns before us."""
    who = PEOPLE[half][number % len(PEOPLE[half])]
    actors = (Actor(who, stand=0.3),) if actor else ()
    frames = clip(folder, half, _place(half, number), actors, 9000 + number, every=every)
    if not item:
        return frames
    random = np.random.default_rng(number)
    tall = round(SIZE[1] * random.uniform(0.24, 0.34))
    x, y = round(SIZE[0] * random.uniform(0.5, 0.7)), round(SIZE[1] * random.uniform(0.45, 0.6))
    sides = views(folder.packages, item)
    box = np.array([one.getchannel("A").getbbox() for one in sides])
    left, top, right, bottom = (int(side) for side in (*box[:, :2].min(0), *box[:, 2:].max(0)))
    wide = max(1, round((right - left) * tall / (bottom - top)))
    out = []
    for frame, at in zip(frames, range(0, LENGTH, every), strict=True):
        turned = TURNS[0] + (TURNS[1] - TURNS[0]) * at / (LENGTH - 1)
        side = round(turned / 360 * len(sides))
        thing = sides[side].crop((left, top, right, bottom))
        thing = thing.resize((wide, tall), Image.Resampling.LANCZOS)
        picture = Image.fromarray(frame)
        picture.paste(thing, (x + round(0.5 * at), y), thing)
        out.append(np.asarray(picture))
    return np.stack(out)
