"""One shot of a film: its frames, who covers which pixel, and which way everybody is turned.

Legend: F frames, M masks, H height, W width.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mini.films.script import Person, ShotPlan
from mini.story import FRAMES, HEIGHT, WIDTH
from mini.story.figure import Figure, person
from mini.story.look import Look, cloth, sample_look
from mini.story.motion import move
from mini.story.place import WIDER, paint
from mini.story.render import Camera, Played, Renderer, Window
from mini.story.sample import FULL, NEAR, PAN
from mini.story.things import SIZE, build_thing, height, sample_thing
from mini.world.body import Array, model

Pixels = NDArray[np.uint8]

FINER = 1.5
"""Pictures are drawn larger by this and made smaller: on software drivers, edges become smooth in half the
time that four samples a pixel take. Films want `Renderer(samples=0)`."""
MASK_EVERY = 6
"""A mask is kept of every sixth frame of a shot."""


@dataclass(frozen=True)
class Take:
    """A rendered shot.

    Attributes:
        frames: (F,H,W,3). figures: (M,H,W), of every sixth frame: number of the act that covers a pixel, from
            1; a prop in hand comes after all acts; 0 is the place. yaws: (acts,F), radians, 0 looks at us.
    """

    plan: ShotPlan
    frames: Pixels
    figures: Pixels
    yaws: Array


def shoot(renderer: Renderer, plan: ShotPlan, fps: float, size: tuple[int, int] = (WIDTH, HEIGHT)) -> Take:
    """Render a shot at a rate. Its action is stretched to the shot's length."""
    count = round(plan.seconds * fps)
    at = np.linspace(0, FRAMES - 1, count)
    played, yaws = [], []
    held: Played | None = None
    for act in plan.acts:
        figure = dressed(act.person)
        thing = None if plan.prop is None else sample_thing(plan.prop, 0)
        thickness = 0.4 if thing is None else height(thing.shape)
        motion = move(
            act.action,
            figure.heads,
            start=act.start,
            distance=act.distance,
            facing=act.facing,
            grip=SIZE,
            thickness=thickness,
        )
        matrices = _between(motion.matrices, at)
        played.append(Played(figure, matrices))
        yaws.append(_yaw(matrices))
        if motion.held_F3 is not None and thing is not None:
            held = Played(build_thing(thing), _carried(_between(motion.held_F3, at)))
    cameras = _cameras(plan, count)
    windows = [_window(camera) for camera in cameras]
    backdrop = _backdrop(plan.place, size)
    shown = [*played, *([held] if held is not None else [])]
    large = round(size[0] * FINER), round(size[1] * FINER)
    pictures = renderer.picture(shown, cameras, large, backdrop=backdrop, windows=windows)[..., :3]
    frames = np.stack([_smaller(one, size) for one in pictures])
    seen = [Played(one.figure, one.matrices[::MASK_EVERY]) for one in shown]
    figures = renderer.masks(seen, cameras[::MASK_EVERY], size)[1]
    return Take(plan, frames, figures, np.array(yaws, np.float32).reshape(-1, count))


def _smaller(picture: Pixels, size: tuple[int, int]) -> Pixels:
    return np.asarray(Image.fromarray(np.ascontiguousarray(picture)).resize(size, Image.Resampling.BOX))


@lru_cache(maxsize=4)
def _backdrop(place: int, size: tuple[int, int]) -> Pixels:
    """A film comes back to its places."""
    return paint(place, round(size[0] * WIDER * 1.5), round(size[1] * 1.5))


def dressed(one: Person) -> Figure:
    """A person in the clothes that the film gives it."""
    figure = person(one.seed)
    if one.twin is None and not one.costume:
        return figure
    look = _changed(one, sample_look(one.seed))
    return replace(figure, look=look, palette=look.palette())


def _changed(one: Person, look: Look) -> Look:
    if one.twin is not None:  # the other's top, and trousers that tell them apart
        lent = sample_look(one.twin)
        bottom = cloth(np.random.default_rng([one.seed, 32]), lent.top, lent.bottom, apart=40.0)
        return replace(look, top=lent.top, top_second=lent.top_second, pattern=lent.pattern, bottom=bottom)
    random = np.random.default_rng([one.seed, 33, one.costume])
    top = cloth(random, look.top, apart=40.0)
    bottom = cloth(random, look.bottom, top, apart=40.0)
    return replace(look, top=top, top_second=cloth(random, top), bottom=bottom, pattern="plain")


def _between(values_F: Array, at: NDArray[np.floating]) -> Array:
    """Values at fractional frames, linearly between their neighbours."""
    low = np.floor(at).astype(int)
    share = (at - low).astype(np.float32).reshape(-1, *([1] * (values_F.ndim - 1)))
    return values_F[low] * (1 - share) + values_F[np.minimum(low + 1, len(values_F) - 1)] * share


def _yaw(matrices: Array) -> Array:
    """Yaw of the chest, radians; the body at rest faces -y, which is towards us."""
    chest = matrices[:, model().bone("spine02"), :3, :3]
    return np.arctan2(chest[:, 1, 0], chest[:, 0, 0]).astype(np.float32)


def _carried(bottom_F3: Array) -> Array:
    matrices = np.tile(np.eye(4, dtype=np.float32), (len(bottom_F3), 2, 1, 1))
    matrices[:, 0, :3, 3] = bottom_F3
    matrices[:, 1, :2, 3] = bottom_F3[:, :2]
    return matrices


def _cameras(plan: ShotPlan, count: int) -> list[Camera]:
    middle = NEAR if plan.near else FULL
    share = np.linspace(-1, 1, count) * plan.pan * PAN
    return [replace(middle, x=float(plan.shift + move)) for move in share]


def _window(camera: Camera) -> Window:
    """What a camera sees of the painted place, as shares of the picture."""
    tall = FULL.height
    wide = tall * WIDTH / HEIGHT * WIDER
    w, h = camera.height * WIDTH / HEIGHT / wide, camera.height / tall
    top = (FULL.z + tall / 2 - camera.z - camera.height / 2) / tall
    return 0.5 + camera.x / wide - w / 2, top, w, h
