"""The demo's scene, made again by `python -m mini.evaluation.demo_scene`: one of two people waves, the other
lifts the prop. Needs the `mini` extra and an EGL driver; the pictures that it made ship with the package.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from castsheet.elements import Scene
from castsheet.embedded import DEMO_SCENE
from mini.story.plot import Plot, Role, action_words
from mini.story.render import Renderer
from mini.story.sample import EVERY_VIEW, elements_of

FOLDER = DEMO_SCENE.parent
SEED = 100_207  # of the validation range, chosen by eye: mini never saw these people, this prop or this place
SCALE = 2.0
_APART, _FACING = 0.95, 0.22  # metres from the middle, radians towards each other: as in stories of two


def story(seed: int) -> Plot:
    """One waves, the other lifts the prop."""
    hero = Role("hero", seed, 0, "wave", (-_APART, 0.0), facing=_FACING)
    friend = Role("friend", seed, 1, "lift", (_APART, 0.0), facing=-_FACING, prop=0)
    return Plot(seed, (hero, friend), ("prop",), ((0.0, 0.75),), (True,))


def make(folder: Path = FOLDER, *, seed: int = SEED) -> Path:
    """Render the demo's pictures and write scene.yaml beside them.

    Raises:
        DependencyError: moderngl or an EGL driver is missing.
        OutputError: the folder cannot be written.
    """
    told = story(seed)
    elements = elements_of(Renderer(), told, folder, views=lambda: EVERY_VIEW, scale=SCALE)
    path = folder / "scene.yaml"
    Scene(title="Mini's demo", elements=elements, action=action_words(told)).save(path)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=FOLDER)
    parser.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args()
    print(make(options.out, seed=options.seed))


if __name__ == "__main__":
    main()
