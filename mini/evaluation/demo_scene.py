"""The demo's scene, made again by `python -m mini.evaluation.demo_scene`: one person, one prop, one place.

Needs the `mini` extra and an EGL driver; the pictures that it made ship with the package.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from castsheet.elements import Scene
from castsheet.embedded import DEMO_SCENE
from mini.data.captions import PHRASES
from mini.world.mesh import build_actor
from mini.world.render import Renderer
from mini.world.stage import Pictures, pictures, scene_of

FOLDER = DEMO_SCENE.parent
SEED = 100_205  # of the validation range: mini never saw this person, prop or place
ACTION = "wave"
SCALE = 2.0


def action_words(action: str) -> str:
    """The plainest sentence for an action, in the words of `stage.scene_of`'s elements."""
    return f"hero {PHRASES[action][0].format(prop='the prop')}"


def demo_scene(parts: Pictures, folder: Path, action: str) -> Scene:
    """An identity's pictures, written as PNG, and the scene that shows them doing an action.

    Raises:
        OutputError: the folder cannot be written.
    """
    update = {"title": "Mini's demo", "action": action_words(action)}
    return scene_of(parts, folder).model_copy(update=update)


def make(folder: Path = FOLDER, *, seed: int = SEED) -> Path:
    """Render the demo's pictures and write scene.yaml beside them.

    Raises:
        DependencyError: moderngl or an EGL driver is missing.
        OutputError: the folder cannot be written.
    """
    parts = pictures(Renderer(), build_actor(seed), seed, scale=SCALE)
    path = folder / "scene.yaml"
    demo_scene(parts, folder, ACTION).save(path)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=FOLDER)
    parser.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args()
    print(make(options.out, seed=options.seed))


if __name__ == "__main__":
    main()
