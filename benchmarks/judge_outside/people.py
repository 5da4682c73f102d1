"""People that a generator drew, cut out and moved over photographs: clips whose truth is known.

Ten people of the package openpeople. Everybody wears a white T-shirt and light shorts on the studio
pictures and the character sheet, and clothes of their own on the snapshots. Sheets are made of the studio
pictures, clips of the figures of the character sheet (other pictures of the same person in the same
clothes) or of the snapshots (other clothes). Legs swing, figures sway and cross the place, the camera pans
and closes in. "Dreamt" clips bend the whole figure slowly as weak generators do.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.judge_outside.case import Half
from benchmarks.judge_outside.packages import one
from castsheet.elements import Character, Location, Scene
from castsheet.judge.cast import Pixels
from castsheet.sheet.compose import compose
from castsheet.sheet.look.matting import cut_out
from castsheet.sheet.look.tools import Tools
from castsheet.sheet.manifest import Sheet

SIZE = (768, 448)
LENGTH = 49
PEOPLE: dict[Half, tuple[str, ...]] = {
    "tuning": ("P001", "P002", "P003", "P004", "P005"),
    "held out": ("P006", "P007", "P008", "P009", "P010"),
}
PLACES: dict[Half, dict[str, tuple[str, tuple[float, float, float, float]]]] = {
    # A file of a package, and the part (left, top, right, bottom, shares) that is the place.
    "tuning": {
        "canal": ("images/canal.jpg", (0, 0, 1, 1)),
        "house": ("stims/house01.jpg", (0, 0, 1, 1)),
        "dune": ("nature/Dune.jpg", (0, 0, 1, 1)),
        "brick": ("stims/house03.jpg", (0, 0, 1, 1)),
        "grass": ("nature/GreenMeadow.jpg", (0, 0, 1, 1)),
    },
    "held out": {
        "lake": ("images/lake.jpg", (0, 0, 1, 1)),
        "autumn": ("images/fall.jpg", (0.04, 0.04, 0.96, 0.96)),
        "shop": ("stims/house02.jpg", (0, 0, 1, 1)),
        "arches": ("images/Wall.jpg", (0, 0, 1, 1)),
        "park": ("panorama/panImg.jpg", (0.05, 0.3, 0.25, 0.62)),
    },
}
# Whole figures and heads on the character sheet, all of one template: shares of its sides.
FIGURES = {
    "front": (0.034, 0.495, 0.222, 0.905),
    "side": (0.28, 0.495, 0.47, 0.905),
    "back": (0.53, 0.495, 0.72, 0.905),
}


@dataclass(frozen=True)
class Actor:
    """One figure of a clip.

    Attributes:
        who: a person. view: front, side or back of the character sheet, or `snapshot`.
        height: of the figure, in heights of the frame; above 1 shows it from the head downwards.
        stand: where its middle is, in widths of the frame.
    """

    who: str
    view: str = "front"
    height: float = 0.86
    stand: float = 0.5


@dataclass(frozen=True)
class Folder:
    """Where packages and cut-outs lie."""

    packages: Path
    cuts: Path

    def picture(self, who: str, name: str) -> Image.Image:
        """One of a person's pictures."""
        return Image.open(one(self.packages, f"{who}/assets/{name}.jpg")).convert("RGB")

    def figure(self, who: str, view: str) -> Image.Image:
        """A person cut out, RGBA, trimmed to the figure; kept on disk."""
        kept = self.cuts / f"{who}-{view}.png"
        if not kept.is_file():
            self.cuts.mkdir(parents=True, exist_ok=True)
            raw = self.cuts / f"{who}-{view}.raw.png"
            if view == "snapshot":
                self.picture(who, "amateur_posture").save(raw)
            else:
                sheet = self.picture(who, "character_sheet")
                sides = (sheet.width, sheet.height) * 2
                box = [round(share * side) for share, side in zip(FIGURES[view], sides, strict=True)]
                sheet.crop((box[0], box[1], box[2], box[3])).save(raw)
            image = cut_out(raw).image
            seen = image.getchannel("A").point(lambda value: 255 * (value > 40)).getbbox()
            image.crop(seen).save(kept)
        return Image.open(kept).convert("RGBA")

    def place(self, half: Half, name: str) -> Image.Image:
        """The photograph of a place, RGB."""
        file, part = PLACES[half][name]
        return _photograph(one(self.packages, file), part)


@cache
def _photograph(path: Path, part: tuple[float, float, float, float]) -> Image.Image:
    image = Image.open(path).convert("RGB")
    sides = (image.width, image.height) * 2
    box = [round(share * side) for share, side in zip(part, sides, strict=True)]
    image = image.crop((box[0], box[1], box[2], box[3]))
    image.thumbnail((1600, 1600), Image.Resampling.LANCZOS)
    return image


def clip(
    folder: Folder,
    half: Half,
    place: str,
    actors: tuple[Actor, ...],
    seed: int,
    *,
    dream: bool = False,
    every: int = 1,
) -> Pixels:
    """Frames (49, 448, 768, 3) of actors in a place; `dream` bends the figures slowly; or `every` so
    manieth."""
    random = np.random.default_rng(seed)
    ground = _camera(folder.place(half, place), random)
    figures = [_figure(folder.figure(one.who, one.view), one.height) for one in actors]
    beats = random.uniform(0, 2 * np.pi, (len(actors), 3))
    light = random.uniform(0.95, 1.05, 3)
    bends = [_bend(random) for _ in actors]
    out = []
    for at in range(0, LENGTH, every):
        picture = ground(at)
        for number, actor in enumerate(actors):
            wave = np.sin(2 * np.pi * at / 24 + beats[number])
            figure = _legs(figures[number], float(wave[0]))
            if dream:
                figure = _bent(figure, bends[number], at)
            x = (
                actor.stand * SIZE[0]
                + 0.03 * SIZE[0] * float(wave[1])
                + 0.8 * (at - LENGTH / 2)
                - figure.width / 2
            )
            top = SIZE[1] * (0.985 - actor.height) if actor.height < 1 else 0.06 * SIZE[1]
            picture.paste(figure, (round(x), round(top + 3 * float(wave[2]))), figure)
        lit = np.asarray(picture, np.float32) * light
        out.append(np.clip(np.rint(lit), 0, 255).astype(np.uint8))
    return np.stack(out)


def _camera(photo: Image.Image, random: np.random.Generator):  # noqa: ANN202
    """A pan and a slow approach over a photograph: from a frame's number to its picture."""
    aspect = SIZE[0] / SIZE[1]
    width = min(photo.width, photo.height * aspect) * 0.86
    start = random.uniform(0, 1, 2)
    drift = random.uniform(-0.5, 0.5, 2)

    def at(number: int) -> Image.Image:
        share = number / (LENGTH - 1)
        w = width * (1 - 0.06 * share)
        h = w / aspect
        spot = np.clip(start + drift * share, 0, 1)
        x, y = spot[0] * (photo.width - w), spot[1] * (photo.height - h)
        return photo.resize(SIZE, Image.Resampling.BICUBIC, (x, y, x + w, y + h))

    return at


def _figure(image: Image.Image, height: float) -> Image.Image:
    scale = height * SIZE[1] / image.height
    return image.resize(
        (max(1, round(image.width * scale)), round(height * SIZE[1])), Image.Resampling.LANCZOS
    )


def _legs(figure: Image.Image, wave: float) -> Image.Image:
    """The lower half leans to and fro, the more the lower."""
    pixels = np.asarray(figure)
    rows = np.arange(pixels.shape[0]) / pixels.shape[0]
    lean = np.rint(0.06 * figure.width * wave * np.clip(rows - 0.5, 0, None) * 2).astype(int)
    columns = np.clip(np.arange(figure.width)[None] - lean[:, None], 0, figure.width - 1)
    return Image.fromarray(np.take_along_axis(pixels, columns[..., None], axis=1))


def _bend(random: np.random.Generator) -> NDArray[np.float64]:
    """Amplitudes and phases of a slow wave in either direction."""
    return np.stack([random.uniform(0.008, 0.02, 4), random.uniform(0, 2 * np.pi, 4)])


def _bent(figure: Image.Image, bend: NDArray[np.float64], at: int) -> Image.Image:
    """A generator's slip: parts of the figure swell and shrink over a second."""
    pixels = np.asarray(figure)
    height, width = pixels.shape[:2]
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float64)
    turn = 2 * np.pi * at / 30 + bend[1]
    y, x = rows / height, columns / height
    dy = bend[0, 0] * np.sin(9 * y + turn[0]) + bend[0, 1] * np.sin(14 * x + turn[1])
    dx = bend[0, 2] * np.sin(11 * y + turn[2]) + bend[0, 3] * np.sin(8 * x + turn[3])
    row = np.clip(rows + 0.6 * height * dy * 0.5, 0, height - 1).astype(int)
    column = np.clip(columns + 0.6 * height * dx * 0.5, 0, width - 1).astype(int)
    return Image.fromarray(pixels[row, column])


def sheet(folder: Folder, half: Half, who: tuple[str, ...], place: str, tools: Tools) -> Sheet:
    """Portrait, studio figure and back of each person, and the place."""
    elements: list[Character | Location] = []
    for name, person in zip(("hero", "rival"), who, strict=False):
        images = {}
        for view, picture in (("face", "studio_portrait"), ("front", "studio_posture")):
            path = folder.cuts / f"{person}-{picture}.png"
            folder.cuts.mkdir(parents=True, exist_ok=True)
            folder.picture(person, picture).save(path)
            images[view] = (path,)
        folder.figure(person, "back")
        images["back"] = (folder.cuts / f"{person}-back.png",)
        elements.append(Character(id=name, description="a person", images=images))  # type: ignore[arg-type]
    plate = folder.cuts / f"{place}.png"
    folder.place(half, place).save(plate)
    elements.append(Location(id="place", description=place, images={"front": (plate,)}))
    return compose(Scene(elements=tuple(elements)), tools=tools)


def name_of(who: tuple[str, ...], place: str) -> str:
    """Name of a sheet."""
    return f"people/{'-'.join(who)}-{place}"
