"""Pictures drawn by Pillow for tests of the sheet: free-standing figures, things, places, a scene of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from castsheet.elements import Character, Element, Location, Prop, Scene


def figure(view: str = "front", *, coat: str = "#c03030", size: tuple[int, int] = (300, 600)) -> Image.Image:
    """A standing person, RGBA on transparency, with a margin around it."""
    image = Image.new("RGBA", size)
    draw = ImageDraw.Draw(image)
    w, h = size
    half = w * (0.14 if view == "side" else 0.24)
    mid = w / 2
    draw.rounded_rectangle((mid - half, h * 0.2, mid + half, h * 0.6), w // 20, fill=coat)
    for side in (-1, 1):
        x = mid + side * half * 0.5
        draw.rectangle((x - half * 0.4, h * 0.55, x + half * 0.4, h * 0.94), fill="#304080")
    draw.ellipse((mid - w * 0.12, h * 0.05, mid + w * 0.12, h * 0.2), fill="#e0b090")
    draw.pieslice((mid - w * 0.13, h * 0.04, mid + w * 0.13, h * 0.2), 180, 360, fill="#604020")
    if view == "back":
        draw.ellipse((mid - w * 0.12, h * 0.05, mid + w * 0.12, h * 0.2), fill="#604020")
    elif view == "front":
        for side in (-1, 1):
            x = mid + side * w * 0.045
            draw.ellipse((x - 4, h * 0.12 - 4, x + 4, h * 0.12 + 4), fill="#101010")
    return image


def face(*, coat: str = "#c03030", size: tuple[int, int] = (400, 400)) -> Image.Image:
    """The head and shoulders of `figure`, filling a square."""
    whole = figure(coat=coat, size=(size[0] * 2, size[1] * 4))
    return whole.crop((size[0] // 2, 0, size[0] // 2 + size[0], size[1]))


def thing(*, colour: str = "#30b060", size: tuple[int, int] = (300, 200)) -> Image.Image:
    """A lens-shaped prop, RGBA on transparency."""
    image = Image.new("RGBA", size)
    ImageDraw.Draw(image).ellipse((20, 20, size[0] - 21, size[1] - 21), fill=colour, outline="white", width=6)
    return image


def place(*, size: tuple[int, int] = (960, 540)) -> Image.Image:
    """A sky, two hills and a meadow, RGB."""
    w, h = size
    image = Image.new("RGB", size, "#70a0e0")
    draw = ImageDraw.Draw(image)
    draw.ellipse((-w * 0.2, h * 0.4, w * 0.6, h * 1.4), fill="#406040")
    draw.ellipse((w * 0.4, h * 0.5, w * 1.3, h * 1.4), fill="#507050")
    draw.rectangle((0, h * 0.8, w, h), fill="#80b050")
    return image


def photo(width: int, height: int, seed: int) -> Image.Image:
    """Random colours, smooth and with sharp blocks on them: like a photograph, no two seeds look alike and no
    line is of one tone."""
    random = np.random.default_rng(seed)
    smooth = Image.fromarray(random.integers(50, 206, (9, 9, 3), dtype=np.uint8))
    blocks = Image.fromarray(random.integers(0, 2, (24, 24), dtype=np.uint8) * np.uint8(255))
    picture = smooth.resize((width, height), Image.Resampling.BICUBIC)
    lighter = Image.eval(picture, lambda value: value + 20)
    picture.paste(lighter, mask=blocks.resize((width, height), Image.Resampling.NEAREST))
    return picture


def scene(folder: Path, *, characters: int = 1, props: int = 1, locations: int = 1) -> Scene:
    """A scene whose pictures lie in `folder`; each character has a face and four figures."""
    coats = ("#c03030", "#d0a020", "#8040b0", "#20a0a0")
    elements: list[Element] = []
    for number in range(characters):
        images = {}
        coat = coats[number % len(coats)]
        face(coat=coat).save(folder / f"c{number}-face.png")
        images["face"] = (folder / f"c{number}-face.png",)
        for view in ("front", "three-quarter", "side", "back"):
            path = folder / f"c{number}-{view}.png"
            figure(view, coat=coat).save(path)
            images[view] = (path,)
        elements.append(Character(id=f"c{number}", description=f"person {number}", images=images))
    for number in range(props):
        path = folder / f"p{number}.png"
        thing(colour=coats[-1 - number % len(coats)], size=(300, 200 + 60 * number)).save(path)
        elements.append(Prop(id=f"p{number}", description=f"thing {number}", images=[path]))
    for number in range(locations):
        path = folder / f"l{number}.png"
        place(size=(960 - 100 * number, 540)).save(path)
        elements.append(Location(id=f"l{number}", description=f"place {number}", images=[path]))
    return Scene(elements=elements, action="c0 walks")
