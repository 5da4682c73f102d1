"""The demo's scene, made again by `python -m mini.evaluation.demo_scene`: one person, one prop, one place.

Needs the `mini` extra and an EGL driver; the pictures that it made ship with the package.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from castsheet.embedded import DEMO_SCENE
from mini.evaluation.identities import Stage

FOLDER = DEMO_SCENE.parent
SEED = 100_205  # of the validation range: mini never saw this person, prop or place
ACTION = "wave"
SCALE = 2.0


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


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=FOLDER)
    parser.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args()
    print(make(options.out, seed=options.seed))


if __name__ == "__main__":
    main()
