"""The demo's scene, made again by `python -m mini.evaluation.demo_scene`: one person, one prop, one place.

`--edition second` makes that of the second edition: two people, of whom one waves and the other lifts the
prop. Needs the `mini` extra and an EGL driver; the pictures that the first made ship with the package.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from castsheet.elements import Scene
from castsheet.embedded import DEMO_SCENE
from mini.evaluation.identities import Stage
from mini.story.plot import Plot, Role, action_words
from mini.story.render import Renderer
from mini.story.sample import EVERY_VIEW, elements_of

FOLDER = DEMO_SCENE.parent
SEED = 100_205  # of the validation range: mini never saw this person, prop or place
ACTION = "wave"
SCALE = 2.0
EDITIONS = ("first", "second")
_APART, _FACING = 0.95, 0.22  # metres from the middle, radians towards each other: as in stories of two


def make(folder: Path = FOLDER, *, seed: int = SEED) -> Path:
    """Render the demo's pictures and write scene.yaml beside them.

    Raises:
        DependencyError: moderngl or an EGL driver is missing.
        OutputError: the folder cannot be written.
    """
    path = folder / "scene.yaml"
    scene = Stage().scene(seed, folder, ACTION, scale=SCALE)
    scene.model_copy(update={"title": "Mini's demo"}).save(path)
    return path


def story(seed: int) -> Plot:
    """The second edition's: one waves, the other lifts the prop."""
    hero = Role("hero", seed, 0, "wave", (-_APART, 0.0), facing=_FACING)
    friend = Role("friend", seed, 1, "lift", (_APART, 0.0), facing=-_FACING, prop=0)
    return Plot(seed, (hero, friend), ("prop",), ((0.0, 0.75),), (True,))


def make_second(folder: Path, *, seed: int) -> Path:
    """The same of the second edition.

    Raises:
        DependencyError, OutputError: as `make`.
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
    parser.add_argument("--edition", choices=EDITIONS, default=EDITIONS[0])
    options = parser.parse_args()
    draw = make if options.edition == "first" else make_second
    print(draw(options.out, seed=options.seed))


if __name__ == "__main__":
    main()
