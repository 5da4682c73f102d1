"""Whom evaluation and studies ask about: identities of one person, one prop and one place, drawn in the world
of the edition that ships. Another edition's world comes in here, and nowhere else.

Legend: F frames, H height, W width.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from castsheet.elements import Scene
from mini.evaluation.parts import Pixels, held_by, region_map, worn_by
from mini.world import FRAMES as FRAMES
from mini.world import HEIGHT, WIDTH
from mini.world.body import Part, Pose
from mini.world.look import Look
from mini.world.mesh import build_actor
from mini.world.motion import ACTIONS as _ACTIONS
from mini.world.motion import PHRASES, clip_poses
from mini.world.place import paint
from mini.world.render import Renderer
from mini.world.stage import pictures, scene_of

SIZE = (WIDTH, HEIGHT)
CELL = 16  # px of a latent cell
ACTIONS = tuple(_ACTIONS)
# Shares of the height between which a band shows one thing in every painted place; see world/place.py.
_BANDS = {"sky": (0.0, 0.25), "land": (0.61, 0.69), "ground": (0.72, 1.0)}


def action_words(action: str, who: str = "hero") -> str:
    """The plainest sentence for an action, in the words of a scene's elements."""
    return f"{who} {PHRASES[action][0].format(prop='the prop')}"


class Stage:
    """Draws identities.

    Raises:
        DependencyError: moderngl or an EGL driver is missing.
    """

    def __init__(self) -> None:
        self._renderer = Renderer()

    def scene(self, seed: int, folder: Path, action: str | None = None, *, scale: float = 1.0) -> Scene:
        """An identity's pictures, written as PNG, and the scene of hero, prop and place that shows them.

        Args:
            action: what the scene tells; nothing by default. scale: of the pictures.

        Raises:
            OutputError: the folder cannot be written.
        """
        scene = scene_of(pictures(self._renderer, build_actor(seed), seed, scale=scale), folder)
        return scene if action is None else scene.model_copy(update={"action": action_words(action)})

    def frames(self, seed: int, action: str, indices: Sequence[int]) -> Pixels:
        """Frames (F,H,W,3) of an identity in action."""
        return self._drawn(seed, action, indices)[0]

    def regions(self, seed: int, action: str, indices: Sequence[int]) -> tuple[Pixels, Pixels]:
        """The same frames, and their region numbers (F,H,W); see `parts.region_map`."""
        frames, empty = self._drawn(seed, action, indices)
        parts = self._renderer.frames(self._poses(action, indices), SIZE, masks=True)
        return frames, regions_of(parts, build_actor(seed).look, frames, empty)

    def cover(self, seed: int, action: str) -> tuple[Pixels, Pixels]:
        """The middle frame without a place: its alpha (H,W), and where the masks say that a figure is."""
        self._renderer.set_actor(build_actor(seed))
        self._renderer.set_backdrop(None)
        pose = self._poses(action, [FRAMES // 2])
        alpha = self._renderer.frames(pose, SIZE, hide=(Part.SHADOW,))[0, ..., 3]
        return alpha, self._renderer.frames(pose, SIZE, masks=True)[0] != 255

    def _drawn(self, seed: int, action: str, indices: Sequence[int]) -> tuple[Pixels, Pixels]:
        """The frames, and the place (H,W,3) without anybody."""
        self._renderer.set_actor(build_actor(seed))
        self._renderer.set_backdrop(paint(seed, 2 * WIDTH, 2 * HEIGHT))
        poses = self._poses(action, indices)
        empty = self._renderer.frames(poses[:1], SIZE, hide=tuple(Part))[0, ..., :3]
        return np.ascontiguousarray(self._renderer.frames(poses, SIZE)[..., :3]), empty

    @staticmethod
    def _poses(action: str, indices: Sequence[int]) -> list[Pose]:
        every = clip_poses(action)
        return [every[index] for index in indices]


def regions_of(parts_FHW: Pixels, look: Look, frames_FHWC: Pixels, place_HWC: Pixels) -> Pixels:
    """`parts.region_map` of one person with a prop, where the camera stands still."""
    figures, worn = (parts_FHW != 255).astype(np.uint8), {1: worn_by(look, Part) | held_by(Part)}
    return region_map(parts_FHW, figures, worn, frames_FHWC, place_HWC[None], _BANDS)
