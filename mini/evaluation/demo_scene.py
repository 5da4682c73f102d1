"""The demo's scene, made again by `python -m mini.evaluation.demo_scene`: two people, one prop, one place.

Needs the `mini` extra and an EGL driver; the pictures that it made ship with the package.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from castsheet.elements import Scene, View
from castsheet.embedded import DEMO_SCENE
from mini.story.plot import Plot, action_words, plot_of
from mini.story.render import Renderer
from mini.story.sample import elements_of

FOLDER = DEMO_SCENE.parent
SEED = 100_008  # of the validation range: mini never saw these people, this prop or this place
NAMES = ("hero", "friend")
SHOWN: tuple[View, ...] = ("face", "front", "three-quarter", "side", "back")
SCALE = 2.0


def demo_plot(seed: int = SEED) -> Plot:
    """One waves, the other lifts the prop."""
    plot = plot_of(seed, actions=("wave", "lift"))
    roles = tuple(replace(role, name=name) for role, name in zip(plot.roles, NAMES, strict=True))
    return replace(plot, roles=roles, things=("prop",), shown=(True,), pan=0)


def make(folder: Path = FOLDER, *, seed: int = SEED) -> Path:
    """Render the demo's pictures and write scene.yaml beside them.

    Raises:
        DependencyError: moderngl or an EGL driver is missing.
        OutputError: the folder cannot be written.
    """
    plot, path = demo_plot(seed), folder / "scene.yaml"
    elements = elements_of(Renderer(), plot, folder, views=lambda: SHOWN, scale=SCALE)
    Scene(title="Mini's demo", elements=elements, action=action_words(plot)).save(path)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=FOLDER)
    parser.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args()
    print(make(options.out, seed=options.seed))


if __name__ == "__main__":
    main()
