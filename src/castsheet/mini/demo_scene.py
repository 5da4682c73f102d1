"""The demo's scene, made again by `python -m castsheet.mini.demo_scene`: one person, one prop, one place.

Needs the `mini` extra and an EGL driver; the pictures that it made ship with the package.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image

from castsheet.elements import VIEWS, Character, Location, Prop, Scene, View
from castsheet.files import write_atomic
from castsheet.mini.captions import PHRASES
from castsheet.mini.world.mesh import build_actor
from castsheet.mini.world.render import Renderer
from castsheet.mini.world.stage import Pictures, pictures

FOLDER = Path(__file__).parent / "demo"
SEED = 100_205  # of the validation range: mini never saw this person, prop or place
ACTION = "wave"
SCALE = 2.0
Views = dict[View, tuple[Path, ...]]


def action_words(action: str) -> str:
    """The plainest sentence for an action, in the words of `scene_of`'s elements."""
    return f"hero {PHRASES[action][0].format(prop='the prop')}"


def scene_of(parts: Pictures, folder: Path, action: str) -> Scene:
    """Write an identity's pictures as PNG and return the scene that shows them.

    Descriptions carry no word of appearance: mini reads looks from the sheet alone.

    Raises:
        OutputError: the folder cannot be written.
    """
    views: Views = {
        view: (_save(parts.views[view], folder / f"hero-{view}.png"),)
        for view in VIEWS
        if view in parts.views
    }
    prop: Views = {"front": (_save(parts.prop, folder / "prop.png"),)}
    place: Views = {"front": (_save(parts.place, folder / "place.png"),)}
    return Scene(
        title="Mini's demo",
        elements=(
            Character(id="hero", description="a person", images=views),
            Prop(id="prop", description="the prop", images=prop),
            Location(id="place", description="the place", images=place),
        ),
        action=action_words(action),
    )


def _save(picture: Image.Image, path: Path) -> Path:
    return write_atomic(path, lambda temporary: picture.save(temporary, format="PNG", optimize=True))


def make(folder: Path = FOLDER, *, seed: int = SEED) -> Path:
    """Render the demo's pictures and write scene.yaml beside them.

    Raises:
        DependencyError: moderngl or an EGL driver is missing.
        OutputError: the folder cannot be written.
    """
    parts = pictures(Renderer(), build_actor(seed), seed, scale=SCALE)
    path = folder / "scene.yaml"
    scene_of(parts, folder, ACTION).save(path)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=FOLDER)
    parser.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args()
    print(make(options.out, seed=options.seed))


if __name__ == "__main__":
    main()
