"""What a seed looks like: its clip, the pictures of its elements, its reference sheet."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from castsheet.mini.architecture import FRAMES, HEIGHT, WIDTH
from castsheet.mini.world.body import Part, Pose, model
from castsheet.mini.world.mesh import Actor, build_actor
from castsheet.mini.world.motion import ACTIONS, clip_poses
from castsheet.mini.world.place import paint
from castsheet.mini.world.render import PERSON_PARTS, PROP_PARTS, Renderer, View
from castsheet.sheet.layout import PanelWish, plan

VIEW_YAW = {"front": 0.0, "three-quarter": np.pi / 4, "side": np.pi / 2, "back": np.pi}
TURNAROUNDS = (
    ("front", "side", "back"),
    ("front", "side", "back"),
    ("front", "three-quarter", "side", "back"),
    ("front", "back"),
)


@dataclass(frozen=True)
class Pictures:
    """The element pictures of one seed: RGBA by view, the prop RGBA, the place RGB."""

    views: dict[str, Image.Image]
    prop: Image.Image
    place: Image.Image


def action_of(seed: int) -> str:
    """The action that a seed's clip shows."""
    return list(ACTIONS)[int(np.random.default_rng([seed, 4]).integers(len(ACTIONS)))]


def clip(
    renderer: Renderer,
    actor: Actor,
    seed: int,
    action: str,
    *,
    frames: int = FRAMES,
    size: tuple[int, int] = (WIDTH, HEIGHT),
) -> NDArray[np.uint8]:
    """The seed's clip (frames, height, width, 3)."""
    renderer.set_actor(actor)
    renderer.set_backdrop(paint(seed, 2 * size[0], 2 * size[1]))
    return renderer.frames(clip_poses(action, frames), size)[..., :3]


def pictures(renderer: Renderer, actor: Actor, seed: int, *, scale: float = 1.0) -> Pictures:
    """Pictures of the person from all sides, the prop and the empty place, as a user would bring them."""
    renderer.set_actor(actor)
    renderer.set_backdrop(None)
    hide = (*PROP_PARTS, Part.SHADOW)
    body_size = round(160 * scale), round(288 * scale)
    # At rest arms hang a little away from the body, as turnarounds are drawn.
    poses = [Pose(ACTIONS["turn round"](0).rotations, yaw=yaw) for yaw in VIEW_YAW.values()]
    bodies = renderer.frames(poses, body_size, View(0, 1.06, 2.3), hide=hide)
    chin = float(actor.heads[model().bone("head"), 2])
    face_size = round(200 * scale), round(200 * scale)
    face = renderer.frames([poses[0]], face_size, View(0, chin + 0.10, 0.78), hide=hide)[0]
    views = {name: Image.fromarray(body, "RGBA") for name, body in zip(VIEW_YAW, bodies, strict=True)}
    views["face"] = Image.fromarray(face, "RGBA")
    prop_pose = Pose({}, prop=np.zeros(3, np.float32))
    prop_size = round(160 * scale), round(160 * scale)
    prop = renderer.frames([prop_pose], prop_size, View(0, 0.32, 0.8), hide=(*PERSON_PARTS, Part.SHADOW))[0]
    place = paint(seed, round(384 * scale), round(224 * scale))
    return Pictures(views, Image.fromarray(prop, "RGBA"), Image.fromarray(place, "RGB"))


def training_sheet(parts: Pictures, random: np.random.Generator) -> Image.Image:
    """A reference sheet by the product's own planner, with drawn choices of views and importance."""
    views = TURNAROUNDS[int(random.integers(len(TURNAROUNDS)))]
    bodies = [parts.views[name].crop(parts.views[name].getbbox()) for name in views]
    height = max(body.height for body in bodies)
    turnaround = Image.new("RGBA", (sum(body.width for body in bodies) + 12 * (len(bodies) - 1), height))
    x = 0
    for body in bodies:
        turnaround.paste(body, (x, height - body.height))
        x += body.width + 12
    face, prop = parts.views["face"], parts.prop.crop(parts.prop.getbbox())
    weights = np.exp(random.normal(0, 0.25, 4)) * (0.8, 1.2, 0.5, 1.0)
    chosen = [
        ("hero", "character", "face", face),
        ("hero", "character", "turnaround", turnaround),
        ("thing", "prop", "product", prop),
        ("place", "location", "place", parts.place),
    ]
    wishes = []
    for (element, kind, view, picture), weight in zip(chosen, weights, strict=True):
        aspect = picture.width / picture.height
        slack = 0.8 if kind == "location" else 1.0
        wishes.append(PanelWish(element, kind, view, aspect, aspect * slack, aspect / slack, float(weight)))  # type: ignore[arg-type]
    layout = plan(wishes, output=(WIDTH, HEIGHT), grid=16)
    sheet = Image.new("RGB", layout.canvas)
    for (_, kind, _, picture), box in zip(chosen, layout.boxes, strict=True):
        if kind == "location":
            picture = _cover(picture, box.w / box.h)
        small = picture.resize((box.w, box.h), Image.Resampling.LANCZOS)
        sheet.paste(small, (box.x, box.y), small if small.mode == "RGBA" else None)
    return sheet.resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)


def _cover(picture: Image.Image, aspect: float) -> Image.Image:
    """The centre crop of a picture that has the given width / height."""
    width, height = picture.size
    if width / height > aspect:
        keep = round(height * aspect)
        return picture.crop(((width - keep) // 2, 0, (width - keep) // 2 + keep, height))
    keep = round(width / aspect)
    return picture.crop((0, (height - keep) // 2, width, (height - keep) // 2 + keep))


def sample(renderer: Renderer, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8], str]:
    """A training sample: clip (121, 112, 192, 3), sheet (112, 192, 3), action."""
    actor, action = build_actor(seed), action_of(seed)
    frames = clip(renderer, actor, seed, action)
    sheet = training_sheet(pictures(renderer, actor, seed), np.random.default_rng([seed, 5]))
    return frames, np.asarray(sheet), action
