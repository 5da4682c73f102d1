"""What a seed looks like: its action, the pictures of its elements."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from castsheet.elements import View
from mini.world.body import Part, Pose, model
from mini.world.mesh import Actor
from mini.world.motion import ACTIONS
from mini.world.place import paint
from mini.world.render import PERSON_PARTS, PROP_PARTS, Camera, Renderer

VIEW_YAW: dict[View, float] = {"front": 0.0, "three-quarter": np.pi / 4, "side": np.pi / 2, "back": np.pi}


@dataclass(frozen=True)
class Pictures:
    """The element pictures of one seed: RGBA by view, the prop RGBA, the place RGB."""

    views: dict[View, Image.Image]
    prop: Image.Image
    place: Image.Image


def action_of(seed: int) -> str:
    """The action that a seed's clip shows."""
    return list(ACTIONS)[int(np.random.default_rng([seed, 4]).integers(len(ACTIONS)))]


def pictures(renderer: Renderer, actor: Actor, seed: int, *, scale: float = 1.0) -> Pictures:
    """Pictures of the person from all sides, the prop and the empty place, as a user would bring them."""
    renderer.set_actor(actor)
    renderer.set_backdrop(None)
    hide = (*PROP_PARTS, Part.SHADOW)
    body_size = round(160 * scale), round(288 * scale)
    # At rest arms hang a little away from the body, as turnarounds are drawn.
    poses = [Pose(ACTIONS["turn round"](0).rotations, yaw=yaw) for yaw in VIEW_YAW.values()]
    bodies = renderer.frames(poses, body_size, Camera(0, 1.06, 2.3), hide=hide)
    chin = float(actor.heads[model().bone("head"), 2])
    face_size = round(200 * scale), round(200 * scale)
    face = renderer.frames([poses[0]], face_size, Camera(0, chin + 0.10, 0.78), hide=hide)[0]
    views = {name: Image.fromarray(body, "RGBA") for name, body in zip(VIEW_YAW, bodies, strict=True)}
    views["face"] = Image.fromarray(face, "RGBA")
    prop_pose = Pose({}, prop=np.zeros(3, np.float32))
    prop_size = round(160 * scale), round(160 * scale)
    prop = renderer.frames([prop_pose], prop_size, Camera(0, 0.32, 0.8), hide=(*PERSON_PARTS, Part.SHADOW))[0]
    place = paint(seed, round(384 * scale), round(224 * scale))
    return Pictures(views, Image.fromarray(prop, "RGBA"), Image.fromarray(place, "RGB"))
