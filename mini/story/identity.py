"""Identities of one person, one prop and one place: hero does something beside or with the prop."""

from __future__ import annotations

from pathlib import Path

from castsheet.elements import Scene
from mini.story.motion import HEADING, Action
from mini.story.plot import OUT, Plot, Role, action_words
from mini.story.render import Renderer
from mini.story.sample import EVERY_VIEW, elements_of

ACTIONS: tuple[Action, ...] = ("walk left", "walk right", "wave", "jump", "turn round", "lift")
_ASIDE = (-1.05, 0.75)  # metres: where a story's first prop stands while nobody holds it


def story_of(seed: int, action: Action) -> Plot:
    """The story of an identity."""
    heading = HEADING.get(action, 0.0)
    start, held = (-heading * OUT, 0.0), 0 if action == "lift" else None
    hero = Role("hero", seed, 0, action, start, 2 * OUT * abs(heading), prop=held)
    return Plot(seed, (hero,), ("prop",), (_ASIDE,), (True,))


def scene_of(renderer: Renderer, seed: int, folder: Path, action: Action) -> Scene:
    """An identity's pictures, written as PNG, and the scene that shows and tells them.

    Raises:
        OutputError: the folder cannot be written.
    """
    story = story_of(seed, action)
    elements = elements_of(renderer, story, folder, views=lambda: EVERY_VIEW)
    return Scene(elements=elements, action=action_words(story))
