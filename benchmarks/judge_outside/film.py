"""A film by somebody else: shots with labels committed as facts, sheets made from other shots.

`film_shots.json` lists the shots of Big Buck Bunny of 33 frames or more, found by jumps of colour
histograms and pixels. Who is in a shot, and where it plays, was labelled by eye from the middle frame.
"unclear" means too close, tiny, cut off or half hidden: such a pair of shot and character is not asked about.

`film_places.json` was made later, by looking: which of the five places can be seen in a shot, and which may
be there but cannot be told, such as a blurred horizon, grass from above, or a part of the wood that no other
shot shows. A shot may show two: the tree stands in the yellow meadow. Sky counts as seen where half of the
background or more is blue sky. The shots lay in a random order, without numbers, three frames of each; the
pictures that the sheets hold were looked at first. What the judge says of a shot was not seen. But it was
known that shots at the tree, 42 and 47 were in question.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache, lru_cache, partial
from pathlib import Path

import av
import numpy as np
from PIL import Image

from benchmarks.judge_outside.case import Case, Half
from castsheet.elements import Character, Location, Scene, View
from castsheet.judge.cast import Pixels
from castsheet.sheet.compose import compose
from castsheet.sheet.look.tools import Tools
from castsheet.sheet.manifest import Sheet

SHOTS = Path(__file__).with_name("film_shots.json")
PLACES_SEEN = Path(__file__).with_name("film_places.json")
SIZE = (768, 432)
LENGTH = 49  # frames of a shot that are looked at, around its middle
EDGE = 4  # frames at each end that are left out: a cut may be off by some

VIEWS: tuple[View, ...] = ("front", "three-quarter")

Source = tuple[int, tuple[int, int, int, int]]  # a shot, and (left, top, right, bottom) in its middle frame

# Pictures of each place; a shot that lends one is asked nothing by sheets that hold it.
PLATES: dict[str, Source] = {
    "yellow meadow": (17, (330, 0, 720, 432)),
    "tree trunk": (19, (0, 0, 350, 432)),
    "blue meadow": (14, (400, 0, 768, 432)),
    "forest": (80, (0, 0, 370, 432)),
    "sky": (102, (0, 0, 400, 432)),
}
PLACES: dict[Half, tuple[str, ...]] = {
    "tuning": ("tree trunk", "forest"),
    "held out": ("yellow meadow", "blue meadow", "sky"),
}
# Sheets of one character and one place: half, who, pictures of the character, place.
CAST: dict[str, tuple[Half, str, tuple[Source, ...], str]] = {
    "red-trunk": (
        "tuning",
        "red squirrel",
        ((39, (220, 90, 440, 432)), (71, (80, 60, 300, 345))),
        "tree trunk",
    ),
    "red-forest": (
        "tuning",
        "red squirrel",
        ((41, (160, 130, 430, 432)), (23, (355, 80, 530, 280))),
        "forest",
    ),
    "chinchilla-trunk": (
        "tuning",
        "chinchilla",
        ((71, (265, 95, 430, 285)), (18, (385, 115, 590, 390))),
        "tree trunk",
    ),
    "chinchilla-forest": (
        "tuning",
        "chinchilla",
        ((25, (440, 185, 610, 350)), (23, (460, 180, 600, 350))),
        "forest",
    ),
    "bunny-yellow": (
        "held out",
        "bunny",
        ((12, (170, 90, 400, 410)), (27, (150, 0, 700, 432))),
        "yellow meadow",
    ),
    "bunny-forest": ("held out", "bunny", ((54, (150, 0, 700, 432)), (60, (200, 20, 560, 400))), "forest"),
    "bunny-blue": ("held out", "bunny", ((111, (80, 0, 520, 432)), (14, (160, 70, 420, 400))), "blue meadow"),
    "flying-sky": (
        "held out",
        "flying squirrel",
        ((88, (310, 100, 530, 390)), (96, (220, 60, 560, 432))),
        "sky",
    ),
    "flying-trunk": (
        "held out",
        "flying squirrel",
        ((83, (190, 90, 360, 360)), (35, (0, 40, 400, 432))),
        "tree trunk",
    ),
    "flying-forest": (
        "held out",
        "flying squirrel",
        ((85, (330, 0, 768, 300)), (98, (200, 60, 560, 432))),
        "forest",
    ),
}


def facts() -> list[dict[str, object]]:
    """The shots: `first`, `stop`, `shows`, `unclear`, `place`."""
    held = json.loads(SHOTS.read_text(encoding="utf-8"))
    assert isinstance(held, list)
    return held


@cache
def looked() -> dict[int, dict[str, list[str]]]:
    """By shot: the places that are `seen`, and those that `maybe` are there."""
    held = json.loads(PLACES_SEEN.read_text(encoding="utf-8"))
    return {int(number): one for number, one in held.items()}


def windows() -> Iterator[tuple[int, int, int]]:
    """All of the film in clips of 49 frames or less that hold no cut: shot, first frame, length."""
    for number, shot in enumerate(facts()):
        first, stop = int(str(shot["first"])) + EDGE, int(str(shot["stop"])) - EDGE
        count = max(1, (stop - first) // LENGTH)
        length = min(LENGTH, stop - first)
        starts = np.linspace(first, stop - length, count).round() if count > 1 else [first]
        yield from ((number, int(start), length) for start in starts)


def window(film: Path, first: int, length: int) -> Pixels:
    """Frames (length, 432, 768, 3) of the film from `first` on."""
    found: list[Pixels] = []
    with av.open(str(film)) as container:
        stream = container.streams.video[0]
        rate, base = stream.average_rate, stream.time_base
        assert rate is not None
        assert base is not None
        container.seek(int(first / rate / base), stream=stream)
        for frame in container.decode(stream):
            assert frame.pts is not None
            if round(frame.pts * base * rate) < first:
                continue
            picture = frame.reformat(width=SIZE[0], height=SIZE[1], format="rgb24", interpolation="AREA")
            found.append(picture.to_ndarray())
            if len(found) == length:
                break
    return np.stack(found)


@lru_cache(maxsize=4)
def frames(film: Path, number: int) -> Pixels:
    """The middle frames of a shot, uint8 (F, 432, 768, 3). Read from the film each time: all are 5 GB."""
    shot = facts()[number]
    first, stop = int(str(shot["first"])), int(str(shot["stop"]))
    length = min(LENGTH, stop - first - 2 * EDGE)
    return window(film, first + (stop - first - length) // 2, length)


def sheets(film: Path, pictures: Path, tools: Tools) -> Iterator[tuple[str, Sheet]]:
    """Every sheet, made by the product's own composer with its own cut-outs; `pictures` keeps its parts."""
    pictures.mkdir(parents=True, exist_ok=True)
    for name, (_, who, looks, place) in CAST.items():
        paths = [_picture(film, pictures / f"{name}-{n}.png", look) for n, look in enumerate(looks)]
        plate = _picture(film, pictures / f"{name}-place.png", PLATES[place])
        elements = (
            Character(
                id="hero",
                description=who,
                images={view: (path,) for view, path in zip(VIEWS, paths, strict=True)},
            ),
            Location(id="place", description=place, images={"front": (plate,)}),
        )
        yield name, compose(Scene(elements=elements), tools=tools)


def _picture(film: Path, path: Path, source: Source) -> Path:
    number, box = source
    shot = frames(film, number)
    Image.fromarray(shot[len(shot) // 2]).crop(box).save(path)
    return path


def cases(film: Path) -> Iterator[Case]:
    """Every sheet against every shot that it was not made from and about which something is known: who, the
    place by the list of shots, or the place by looking."""
    for name, (half, who, looks, place) in CAST.items():
        used = {number for number, _ in looks} | {PLATES[place][0]}
        for number, shot in enumerate(facts()):
            truth = {}
            if who not in str(shot["unclear"]):
                truth["hero"] = who in str(shot["shows"])
            if place in PLACES[half] and shot["place"] != "unclear":
                truth["place"] = shot["place"] == place
            asked = truth or place in PLACES[half]
            if asked and number not in used and number != 112:  # 112 is the credits
                made = partial(frames, film, number)
                yield Case(f"film/{name}/{number:03d}", half, "film", f"film/{name}", made, truth)
