"""Identities' pictures and the sheets made from them: as usual, and with one thing changed.

Pictures are rendered once into the work folder (this needs the `mini` extra and an EGL driver) and composed
by the product. All variants have panels, unlike the sheets of the shipped validation set.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from castsheet.elements import Character, Element, Location, Prop, Scene
from castsheet.errors import CastsheetError, SheetError
from castsheet.machine.files import write_atomic
from castsheet.sheet.box import Box
from castsheet.sheet.compose import compose
from castsheet.sheet.manifest import Sheet
from mini.evaluation.identities import CELL, SIZE, Stage
from mini.evaluation.validation import seed_of

WIDTH, HEIGHT = SIZE
BACKGROUNDS: dict[str, tuple[int, int, int]] = {
    "black": (0, 0, 0),
    "grey": (128, 128, 128),
    "white": (255, 255, 255),
    "green": (0, 177, 64),
}


class Scenes:
    """Scenes and sheets by identity, kept in a work folder.

    Args:
        work: the folder. render: writes an identity's pictures into a folder and returns their scene; by
            default they are rendered.
    """

    def __init__(self, work: Path, render: Callable[[int, Path], Scene] | None = None) -> None:
        self._work = work
        self._render = render or self._rendered

    def scene(self, index: int) -> Scene:
        """The scene of an identity: hero, prop, place."""
        folder = self._work / "pictures" / str(seed_of(index))
        path = folder / "scene.yaml"
        if not path.is_file():
            self._render(index, folder).save(path)
        return Scene.load(path)

    def sheet(self, name: str, index: int, make: Callable[[int], Sheet]) -> Sheet:
        """A sheet by its variant's name, from the work folder where it is there."""
        path = self._work / "sheets" / name / f"{seed_of(index)}.png"
        try:
            return Sheet.load(path)
        except CastsheetError:
            make(index).save(path)
        return Sheet.load(path)

    def usual(self, index: int) -> Sheet:
        """The sheet that the product composes."""
        return self.sheet("usual", index, lambda one: _composed(self.scene(one)))

    def weighted(self, index: int, importance: Mapping[str, float]) -> Sheet:
        """With other importances, by element; 0 leaves an element out."""
        name = "-".join(f"{element}{weight:g}" for element, weight in importance.items())

        def make(one: int) -> Sheet:
            scene = self.scene(one)
            kept = [
                element.model_copy(update={"importance": importance.get(element.id, 1.0)})
                for element in scene.elements
                if importance.get(element.id, 1.0) > 0
            ]
            return _composed(scene, kept)

        return self.sheet(name, index, make)

    def pair(self, index: int, other: int) -> Sheet:
        """Hero, prop and place of one identity, and the other's person as `rival`."""

        def make(one: int) -> Sheet:
            hero, prop, place = self.scene(one).elements
            rival = self.scene(other).elements[0].model_copy(update={"id": "rival"})
            return _composed(self.scene(one), [hero, rival, prop, place])

        return self.sheet("pair", index, make)

    def shifted(self, index: int, by: int) -> Sheet:
        """A sheet one latent cell smaller than the canvas, `by` px right of and below its corner.

        At 0 and `CELL` px the panels' cells are the model's latent cells; between, every panel is cut by more
        of them. Panels have one size throughout.
        """

        def make(one: int) -> Sheet:
            small = _composed(self.scene(one), output=(WIDTH - CELL, HEIGHT - CELL))
            scale = small.image.width // (WIDTH - CELL)
            image = Image.new("RGB", (scale * WIDTH, scale * HEIGHT))
            image.paste(small.image, (scale * by, scale * by))
            panels = tuple(
                replace(panel, box=_moved(panel.box, scale * by), sources=()) for panel in small.panels
            )
            return Sheet(image, panels, small.elements, SIZE)

        return self.sheet(f"shift{by}", index, make)

    def backed(self, index: int, colour: str) -> Sheet:
        """With another colour than black between and behind the figures."""
        return self.sheet(f"on-{colour}", index, lambda one: self._backed(one, BACKGROUNDS[colour]))

    def _backed(self, index: int, colour: tuple[int, int, int]) -> Sheet:
        """The figures' cover is composed like the figures, as white ones; what it leaves gets the colour."""
        sheet, folder = self.usual(index), self._work / "cover" / str(seed_of(index))
        scene = self.scene(index)
        white = [
            element.model_copy(
                update={
                    "images": {
                        v: tuple(_white(p, folder) for p in paths) for v, paths in element.images.items()
                    }
                }
            )
            for element in scene.elements
        ]
        cover = _composed(scene, white)
        if [panel.box for panel in cover.panels] != [panel.box for panel in sheet.panels]:
            raise SheetError(
                f"the cover of identity {seed_of(index)} is laid out otherwise than its sheet",
                remedy="remove the work folder and run again",
            )
        share = np.asarray(cover.image, np.float32) / 255
        mixed = np.asarray(sheet.image, np.float32) + (1 - share) * np.array(colour, np.float32)
        image = Image.fromarray(np.clip(np.rint(mixed), 0, 255).astype(np.uint8))
        return replace(sheet, image=image, path=None)

    def _rendered(self, index: int, folder: Path) -> Scene:
        return self._stage.scene(seed_of(index), folder)

    @cached_property
    def _stage(self) -> Stage:
        return Stage()


def area(sheet: Sheet, element: str) -> float:
    """Share of the sheet under an element's panels."""
    covered = sum(panel.box.area for panel in sheet.panels_of(element))
    return covered / (sheet.image.width * sheet.image.height)


def _composed(
    scene: Scene, elements: Sequence[Element] | None = None, *, output: tuple[int, int] = SIZE
) -> Sheet:
    kept: tuple[Character | Prop | Location, ...] = tuple(scene.elements if elements is None else elements)
    return compose(scene.model_copy(update={"elements": kept}), output=output, grid=CELL)


def _moved(box: Box, by: int) -> Box:
    return Box(box.x + by, box.y + by, box.w, box.h)


def _white(picture: Path, folder: Path) -> Path:
    """The picture's cover: white, with the picture's own transparency."""
    target = folder / picture.name
    with Image.open(picture) as image:
        alpha = image.convert("RGBA").getchannel("A")
        has_alpha = "A" in image.getbands()
    white = Image.new("RGB", alpha.size, "white")
    if has_alpha:
        white.putalpha(alpha)
    return write_atomic(target, lambda temporary: white.save(temporary, format="PNG"))
