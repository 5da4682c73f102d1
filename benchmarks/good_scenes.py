"""Good scenes without photos: rendered people of mini's world, rendered things and animals, places.

Scenes by number that a careful user could have made: one or two people with a close-up and one to three
figures, up to two props, perhaps a toy animal, up to two places. Nothing in them is a fault that
the checks of a sheet look for, so each warning of a rule about pictures is a false alarm.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from benchmarks.cutouts.material import ANIMALS, NATURE, PROPS, emoji
from benchmarks.judge_outside.packages import fetch, one
from castsheet.elements import Character, Element, Location, Prop, Scene, View
from mini.world.mesh import build_actor
from mini.world.render import Renderer
from mini.world.stage import pictures

DRAWN = (256, 256)
PEOPLE, FIRST = 30, 100_400
SIZES = ((768, 448), (768, 448), (960, 544), (448, 768), (512, 512))
TURNS: tuple[tuple[View, ...], ...] = (("front",), ("front", "back"), ("front", "side", "back"))


class Stock:
    """The pictures that scenes are drawn from, written once.

    Args:
        folder: keeps downloads and pictures.
    """

    def __init__(self, folder: Path) -> None:
        self._kept = folder / "good"
        self._kept.mkdir(parents=True, exist_ok=True)
        self.people = [self._person(FIRST + number) for number in range(PEOPLE)]
        self.props = self._drawn(folder, PROPS, "prop")
        self.animals = self._drawn(folder, ANIMALS, "animal")
        unpacked = fetch(folder)
        self.places = [path for person in self.people for path in person["place"]][::2]
        self.places += [one(unpacked, f"nature/{name}.jpg") for name in NATURE if name != "Blinds"]

    def _person(self, seed: int) -> dict[str, list[Path]]:
        """All views of a rendered person, its prop and its place."""
        wanted = ("face", "front", "side", "back", "prop", "place")
        paths = {name: self._kept / f"{seed}-{name}.png" for name in wanted}
        if not all(path.is_file() for path in paths.values()):
            made = pictures(Renderer(), build_actor(seed), seed, scale=3.0)
            for name, picture in {**made.views, "prop": made.prop, "place": made.place}.items():
                picture.save(self._kept / f"{seed}-{name}.png", compress_level=1)
        return {name: [path] for name, path in paths.items()}

    def _drawn(self, folder: Path, codes: Iterable[str], group: str) -> list[Path]:
        paths = []
        for subject in emoji(folder, list(codes), group):
            paths.append(self._kept / f"{subject.name.replace(' ', '-')}.png")
            if not paths[-1].is_file():
                # At the size at which it was made: enlarged it would be blurred.
                subject.image.resize(DRAWN, Image.Resampling.BOX).save(paths[-1])
        return paths


def good_scene(number: int, stock: Stock) -> tuple[Scene, tuple[int, int]]:
    """Scene and output size of one number, always the same."""
    draw = random.Random(number)
    elements: list[Element] = []
    for index, person in enumerate(draw.sample(stock.people, draw.choice([1, 1, 2]))):
        views = draw.choice(TURNS)
        images = {"face": person["face"], **{view: person[view] for view in views}}
        elements.append(Character(id=f"person{index}", description="a toy person", images=images))
    if draw.random() < 0.3:
        images = {"front": [draw.choice(stock.animals)]}
        elements.append(Prop(id="animal", description="a toy animal", images=images))
    for index, path in enumerate(draw.sample(stock.props, draw.choice([0, 1, 1, 2]))):
        elements.append(Prop(id=f"thing{index}", description="a thing", images=[path]))
    for index, path in enumerate(draw.sample(stock.places, draw.choice([0, 1, 1, 2]))):
        elements.append(Location(id=f"place{index}", description="a place", images=[path]))
    return Scene(elements=elements), draw.choice(SIZES)
