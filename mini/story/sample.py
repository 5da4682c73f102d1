"""What a seed looks and sounds like: its clip, masks, sound, pictures of its elements, sheet and prompt."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from castsheet.elements import VIEWS, Character, Element, Location, Prop, Scene, View
from castsheet.machine.files import write_atomic
from castsheet.prompt import FORMATS, build
from castsheet.sheet.compose import compose
from castsheet.sheet.manifest import Sheet
from mini.story import FPS, FRAMES, HEIGHT, WIDTH
from mini.story.figure import Figure, person
from mini.story.motion import Motion, move
from mini.story.place import WIDER, kind_of, paint
from mini.story.plot import OBJECTS, PEOPLE, PLACE, PLACES, Plot, Variant, action_words, plot_of, varied
from mini.story.render import Camera, Played, Renderer, Window
from mini.story.skeleton import turns
from mini.story.sound import Heard, sound
from mini.story.things import SIZE, build_thing, height, things_of
from mini.world.body import Array, model

Pixels = NDArray[np.uint8]

FULL = Camera(0.0, 1.13, 2.5, 0.17)  # a grown-up fills seven tenths of the frame, a lifted prop still fits
NEAR = Camera(0.0, 1.50, 1.12, 0.05)
PAN = 0.45  # metres to either side of the middle
SheetOf = Callable[[Renderer, Plot, np.random.Generator], Sheet]
VIEW_YAW: dict[View, float] = {"front": 0.0, "three-quarter": np.pi / 4, "side": np.pi / 2, "back": np.pi}
EVERY_VIEW: tuple[View, ...] = ("face", *VIEW_YAW)
TURNAROUNDS: tuple[tuple[View, ...], ...] = (
    ("face", "front", "side", "back"),
    ("face", "front", "three-quarter", "side", "back"),
    ("face", "front", "back"),
    ("front", "side", "back"),
)
SINGLE: tuple[tuple[View, ...], ...] = (("front",), ("face", "front"), ("three-quarter",))


@dataclass(frozen=True)
class Sample:
    """One seed's clip and all that is true of it.

    Attributes:
        frames: (121, 224, 384, 3).
        parts, figures: (121, 224, 384); `look.Part` and the figure's number, 0 for nobody. People come first
            (1, 2), then the props.
        audio: (2, 242000) fp32 at 48 kHz.
        heard: what sounds when, and where.
        sheet: what was asked for, by the product's composer; its elements are named as in `caption`.
    """

    plot: Plot
    frames: Pixels
    parts: Pixels
    figures: Pixels
    audio: NDArray[np.float32]
    heard: tuple[Heard, ...]
    sheet: Sheet
    caption: str


def render_sample(
    renderer: Renderer,
    seed: int,
    variant: Variant = "clean",
    *,
    masks_every: int = 1,
    sheet_of: SheetOf | None = None,
) -> Sample | None:
    """A seed's sample; None where its story cannot go wrong as `variant` says. Sheet and words stay right.

    Args:
        masks_every: see `draw`. sheet_of: what draws the sheet; `draw_sheet` by default.
    """
    asked = plot_of(seed)
    plot = varied(asked, variant)
    if plot is None:
        return None
    random = sheet_random(seed)
    sheet = (sheet_of or draw_sheet)(renderer, asked, random)
    everything = tuple(range(FRAMES))
    frames, parts, figures = draw(renderer, plot, everything, masks_every=masks_every)
    heard = cast(plot)[1]
    audio = sound(kind_of(seed), heard, seed)
    return Sample(plot, frames, parts, figures, audio, heard, sheet, caption(asked, sheet, random))


def draw(
    renderer: Renderer, plot: Plot, indices: Sequence[int], *, masks_every: int = 1, empty: bool = False
) -> tuple[Pixels, Pixels, Pixels]:
    """The frames (F,H,W,3) of a story at `indices`, and its parts and figures there (F,H,W).

    Args:
        masks_every: draw the masks of so many frames once; each frame gets the nearest.
        empty: the place alone, without anybody or anything.
    """
    chosen = list(indices)
    everybody = () if empty else cast(plot)[0]
    played = [
        one if len(one.matrices) == 1 else replace(one, matrices=one.matrices[chosen]) for one in everybody
    ]
    cameras, windows = shots(plot)
    seen, shown = [cameras[k] for k in chosen], [windows[k] for k in chosen]
    backdrop = paint(plot.seed, round(WIDTH * WIDER * 1.5), round(HEIGHT * 1.5))
    frames = renderer.picture(played, seen, (WIDTH, HEIGHT), backdrop=backdrop, windows=shown)
    few = [
        one if len(one.matrices) == 1 else replace(one, matrices=one.matrices[::masks_every])
        for one in played
    ]
    parts, figures = renderer.masks(few, seen[::masks_every], (WIDTH, HEIGHT))
    if masks_every > 1:
        nearest = np.minimum(np.arange(len(chosen)) + masks_every // 2, len(chosen) - 1) // masks_every
        parts, figures = parts[nearest], figures[nearest]
    return np.ascontiguousarray(frames[..., :3]), parts, figures


def cast(plot: Plot) -> tuple[list[Played], tuple[Heard, ...]]:
    """Everybody and everything in motion, people first, and what sounds of it."""
    things = things_of(plot.seed, len(plot.things))
    ground = kind_of(plot.seed)
    people, held, heard = [], {}, []
    for role in plot.roles:
        figure = person(role.seed, role.index)
        shape = "box" if role.prop is None else things[role.prop].shape
        motion = move(
            role.action,
            figure.heads,
            start=role.start,
            distance=role.distance,
            facing=role.facing,
            grip=SIZE,
            thickness=height(shape),
        )
        people.append(Played(figure, motion.matrices))
        if role.prop is not None and motion.held_F3 is not None:
            held[role.prop] = motion.held_F3
        for onset in motion.onsets:
            where = _across(motion, onset.second)
            source = shape if onset.kind == "chime" else ground
            if onset.kind != "chime" or (role.prop is not None and plot.shown[role.prop]):
                heard.append(Heard(onset, where, source))
    for number, thing in enumerate(things):
        stood = np.array([[*plot.stands[number], 0.0]], np.float32)
        if plot.shown[number]:
            people.append(Played(build_thing(thing), _carried(held.get(number, stood))))
    return people, tuple(sorted(heard, key=lambda one: one.onset.second))


def _across(motion: Motion, second: float) -> float:
    frame = min(round(second * FPS), FRAMES - 1)
    return float(motion.feet_FS3[frame, :, 0].mean())


def _carried(bottom_F3: Array) -> Array:
    """Matrices (F,2,4,4) of a prop whose bottom is there, and of its shadow."""
    matrices = np.tile(np.eye(4, dtype=np.float32), (len(bottom_F3), 2, 1, 1))
    matrices[:, 0, :3, 3] = bottom_F3
    matrices[:, 1, :2, 3] = bottom_F3[:, :2]
    return matrices


def shots(plot: Plot) -> tuple[list[Camera], list[Window]]:
    """The camera of every frame, and what it sees of the painted place."""
    share = np.linspace(-1, 1, FRAMES)
    middle = NEAR if plot.near else FULL
    cameras = [replace(middle, x=float(plot.pan * PAN * s)) for s in share]
    tall = FULL.height
    wide = tall * WIDTH / HEIGHT * WIDER
    windows = []
    for camera in cameras:
        w, h = camera.height * WIDTH / HEIGHT / wide, camera.height / tall
        top = (FULL.z + tall / 2 - camera.z - camera.height / 2) / tall
        windows.append((0.5 + camera.x / wide - w / 2, top, w, h))
    return cameras, windows


def pictures(renderer: Renderer, figure: Figure, *, scale: float = 1.0) -> dict[View, Image.Image]:
    """RGBA pictures of a person from all sides, and of the face, as a user would bring them."""
    body = model()
    size = round(220 * scale), round(400 * scale)
    views: dict[View, Image.Image] = {}
    rest = move("stand", figure.heads).matrices[:1]
    for view, yaw in VIEW_YAW.items():
        spun = rest.copy()
        spun[:, :, :3] = turns("z", np.array([yaw], np.float32))[:, None] @ rest[:, :, :3]
        views[view] = _free(renderer, Played(figure, spun), Camera(0, 1.05, 2.3), size)
    eyes = float(figure.heads[body.bone("eye.L"), 2])
    square = round(320 * scale), round(320 * scale)
    views["face"] = _free(renderer, Played(figure, rest), Camera(0, eyes - 0.02, 0.72), square)
    return views


def _free(renderer: Renderer, played: Played, camera: Camera, size: tuple[int, int]) -> Image.Image:
    return Image.fromarray(renderer.picture([played], [camera], size, shadows=False)[0], "RGBA")


def sheet_random(seed: int) -> np.random.Generator:
    """What draws a story's sheet, and then its caption."""
    return np.random.default_rng([seed, 19])


def draw_sheet(
    renderer: Renderer,
    plot: Plot,
    random: np.random.Generator,
    *,
    people: Callable[[int], Mapping[View, Image.Image]] | None = None,
) -> Sheet:
    """The product's own sheet of a story's elements, with drawn views and importances, for 384x224.

    Args:
        people: see `elements_of`.
    """
    options = SINGLE if random.random() < 0.45 else TURNAROUNDS
    with tempfile.TemporaryDirectory() as name:
        elements = elements_of(
            renderer,
            plot,
            Path(name),
            views=lambda: options[int(random.integers(len(options)))],
            described=lambda phrases: phrases[int(random.integers(len(phrases)))],
            weight=lambda: float(np.exp(random.normal(0, 0.45))),
            people=people,
        )
        return compose(Scene(elements=elements), output=(WIDTH, HEIGHT), grid=32)


def elements_of(
    renderer: Renderer,
    plot: Plot,
    folder: Path,
    *,
    views: Callable[[], Sequence[View]],
    described: Callable[[tuple[str, ...]], str] = lambda phrases: phrases[0],
    weight: Callable[[], float] = lambda: 1.0,
    scale: float = 1.0,
    people: Callable[[int], Mapping[View, Image.Image]] | None = None,
) -> tuple[Element, ...]:
    """A story's people, props and place, as a user would bring them, with their pictures in a folder.

    Args:
        views: which of a person's pictures to bring. described: which of some phrases. weight: how important.
        scale: times the size that a sheet of 384x224 needs.
        people: other pictures of the person with this number, all of which are brought.

    Raises:
        OutputError: the folder cannot be written.
    """
    options: dict[str, Any] = {"compress_level": 1} if scale == 1 else {"optimize": True}

    def stored(picture: Image.Image, what: str) -> tuple[Path, ...]:
        path = folder / f"{what}.png"
        write_atomic(path, lambda part: picture.save(part, format="PNG", **options))
        return (path,)

    elements: list[Element] = []
    for index, role in enumerate(plot.roles):
        chosen = views()
        if people is None:
            drawn: Mapping[View, Image.Image] = pictures(renderer, person(role.seed, role.index), scale=scale)
        else:
            drawn = people(index)
            chosen = tuple(drawn)
        images = {view: stored(drawn[view], f"{role.name}-{view}") for view in VIEWS if view in chosen}
        elements.append(
            Character(id=role.name, description=described(PEOPLE), images=images, importance=weight())
        )
    square = round(200 * scale), round(200 * scale)
    for number, thing in enumerate(things_of(plot.seed, len(plot.things))):
        still = Played(build_thing(thing), _carried(np.zeros((1, 3), np.float32)))
        picture = _free(renderer, still, Camera(0, 0.25, 0.6, 0.17), square)
        front: dict[View, tuple[Path, ...]] = {"front": stored(picture, plot.things[number])}
        elements.append(
            Prop(id=plot.things[number], description=described(OBJECTS), images=front, importance=weight())
        )
    ground = Image.fromarray(paint(plot.seed, round(448 * WIDER * scale), round(256 * scale)))
    elements.append(
        Location(
            id=PLACE,
            description=described(PLACES),
            images={"front": stored(ground, PLACE)},
            importance=weight(),
        )
    )
    return tuple(elements)


def caption(plot: Plot, sheet: Sheet, random: np.random.Generator) -> str:
    """A whole prompt, in one of the product's formats; may be drawn again and again for one sample."""
    form = FORMATS[int(random.choice(len(FORMATS), p=_shares()))]
    return build(sheet, action_words(plot, random), form).text


def _shares() -> list[float]:
    """How often each format is drawn: prose is the product's own choice."""
    return [0.7 if form == "prose" else 0.3 / (len(FORMATS) - 1) for form in FORMATS]
