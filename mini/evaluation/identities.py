"""Whom evaluation and studies ask about: identities of one person, one prop and one place, drawn in the world
of the edition that ships. Hero does something beside or with the prop.

Legend: F frames, H height, W width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from castsheet.elements import Scene
from mini.evaluation.parts import Pixels, region_map
from mini.story import FRAMES as FRAMES
from mini.story import HEIGHT, WIDTH
from mini.story.figure import person
from mini.story.measure import wearing
from mini.story.motion import HEADING
from mini.story.motion import Action as Action
from mini.story.plot import OUT, Plot, Role
from mini.story.plot import action_words as words_of
from mini.story.render import Renderer
from mini.story.sample import EVERY_VIEW, draw, elements_of

ACTIONS: tuple[Action, ...] = ("walk left", "walk right", "wave", "jump", "turn round", "lift")
SIZE = (WIDTH, HEIGHT)
CELL = 32  # px of a latent cell
# Shares of the height between which a band shows nearly one thing in every painted place; see story/place.py.
_BANDS = {"sky": (0.0, 0.17), "land": (0.61, 0.67), "ground": (0.72, 1.0)}
_HERO, _PROP = 1, 2  # figures' numbers in masks
_ASIDE = (-1.05, 0.75)  # metres: where a story's first prop stands while nobody holds it


def story_of(seed: int, action: Action) -> Plot:
    """The story of an identity."""
    heading = HEADING.get(action, 0.0)
    start, held = (-heading * OUT, 0.0), 0 if action == "lift" else None
    hero = Role("hero", seed, 0, action, start, 2 * OUT * abs(heading), prop=held)
    return Plot(seed, (hero,), ("prop",), (_ASIDE,), (True,))


def action_words(action: Action, who: str = "hero") -> str:
    """The plainest sentence for an action, in the words of a scene's elements."""
    story = story_of(0, action)
    return words_of(replace(story, roles=(replace(story.roles[0], name=who),)))


def scene_of(renderer: Renderer, seed: int, folder: Path, action: Action, *, scale: float = 1.0) -> Scene:
    """An identity's pictures, written as PNG, and the scene that shows and tells them.

    Args:
        scale: of the pictures; see `elements_of`.

    Raises:
        OutputError: the folder cannot be written.
    """
    story = story_of(seed, action)
    elements = elements_of(renderer, story, folder, views=lambda: EVERY_VIEW, scale=scale)
    return Scene(elements=elements, action=words_of(story))


class Stage:
    """Draws identities.

    Raises:
        DependencyError: moderngl or an EGL driver is missing.
    """

    def __init__(self) -> None:
        self._renderer = Renderer()

    def scene(self, seed: int, folder: Path, action: Action | None = None, *, scale: float = 1.0) -> Scene:
        """An identity's pictures, written as PNG, and the scene of hero, prop and place that shows them.

        Args:
            action: what the scene tells; nothing by default. scale: of the pictures.

        Raises:
            OutputError: the folder cannot be written.
        """
        scene = scene_of(self._renderer, seed, folder, action or ACTIONS[0], scale=scale)
        return scene if action is not None else scene.model_copy(update={"action": None})

    def frames(self, seed: int, action: Action, indices: Sequence[int]) -> Pixels:
        """Frames (F,H,W,3) of an identity in action."""
        return draw(self._renderer, story_of(seed, action), indices)[0]

    def regions(self, seed: int, action: Action, indices: Sequence[int]) -> tuple[Pixels, Pixels]:
        """The same frames, and their region numbers (F,H,W); see `parts.region_map`."""
        story = story_of(seed, action)
        frames, parts, figures = draw(self._renderer, story, indices)
        places = draw(self._renderer, story, indices, empty=True)[0]
        worn = {_HERO: wearing(person(seed, 0).look), _PROP: wearing(None)}
        return frames, region_map(parts, figures, worn, frames, places, _BANDS)
