"""The validation set that ships with the package, and how it is made: `python -m mini.evaluation.validation`.

Identity i has the seed 100,000 + i; no seed is left out. Identities 2k and 2k + 1 are partners and do the
same action, the k-th in turn. For every identity there are the sheet that the product composes from its
pictures, region masks of eight frames of its rendered clip, and the regions' mean colours under them.
Seeds of 300,000 and above are unused.

A folder holds `set.json`, `masks.npz`, `motions.npz` (what each action's motion looks like, from training
identities), `truth.png` (a frame of the first 16 clips) and `sheets/SEED.png` beside their manifests.
Making one needs the `mini` extra and an EGL driver; reading one does not.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console

from castsheet.errors import CheckpointError
from castsheet.machine.files import write_atomic, write_text
from castsheet.machine.progress import progress
from castsheet.sheet.compose import compose
from castsheet.sheet.manifest import Sheet
from mini.evaluation import deeds
from mini.evaluation.identities import ACTIONS, CELL, SIZE, Action, Stage
from mini.evaluation.parts import REGIONS, Floats, Pixels, eroded, mean_colours
from mini.world import TRAINING, VALIDATION

SHIPPED = Path(__file__).parents[1] / "validation"
COUNT = 64
MASK_FRAMES = (8, 24, 40, 56, 72, 88, 104, 120)  # each is one of deeds.INDICES
SHOWN, SHOWN_FRAME = 16, 56
MOTION_SEEDS = 8  # training identities an action, from which its motion is averaged
WIDTH, HEIGHT = SIZE


def seed_of(index: int) -> int:
    """The seed of an identity."""
    return VALIDATION[index]


def action_of(index: int) -> Action:
    """The action of an identity and of its partner."""
    return ACTIONS[index // 2 % len(ACTIONS)]


def partner_of(index: int) -> int:
    """Whose sheet is the swapped one."""
    return index ^ 1


@dataclass(frozen=True)
class ValidationSet:
    """What is known of N identities.

    Attributes:
        folder: where it lies.
        colours_NR3: true mean colours, CIELAB; NaN where an identity does not show the region.
        masks_NFHW: eroded region numbers of the frames `MASK_FRAMES`.
        centroids_AM: what the motion of each action looks like.
    """

    folder: Path
    colours_NR3: Floats
    masks_NFHW: Pixels
    centroids_AM: deeds.Floats

    @classmethod
    def load(cls, folder: Path = SHIPPED) -> ValidationSet:
        """Read a set.

        Raises:
            CheckpointError: it is missing, damaged, or not made by this version of the program.
        """
        try:
            content = json.loads((folder / "set.json").read_text(encoding="utf-8"))
            with np.load(folder / "masks.npz", allow_pickle=False) as data:
                masks = data["masks"]
            with np.load(folder / "motions.npz", allow_pickle=False) as data:
                centroids = data["centroids"].astype(np.float32)
            rows = [
                [one["colours"].get(name, [np.nan] * 3) for name in REGIONS] for one in content["identities"]
            ]
            colours = np.array(rows, np.float64)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"{folder} is no validation set: {error}", remedy=_AGAIN) from error
        if colours.shape != (len(masks), len(REGIONS), 3) or masks.shape[1] != len(MASK_FRAMES):
            raise CheckpointError(f"{folder}: its files do not fit together", remedy=_AGAIN)
        flat = eroded(masks.reshape(-1, *masks.shape[2:]))
        return cls(folder, colours, flat.reshape(masks.shape), centroids)

    def __len__(self) -> int:
        return len(self.colours_NR3)

    def sheet(self, index: int) -> Sheet:
        """An identity's sheet.

        Raises:
            SheetError, ImageError: it is missing or damaged.
        """
        return Sheet.load(self.folder / "sheets" / f"{seed_of(index)}.png")

    def truth(self, index: int) -> Image.Image | None:
        """Frame `SHOWN_FRAME` of the rendered clip; None beyond the first 16."""
        if index >= SHOWN:
            return None
        y, x = divmod(index, 4)
        with Image.open(self.folder / "truth.png") as atlas:
            return atlas.crop((x * WIDTH, y * HEIGHT, (x + 1) * WIDTH, (y + 1) * HEIGHT)).convert("RGB")


_AGAIN = "install the package again, or make the set with python -m mini.evaluation.validation --out FOLDER"


def make(folder: Path = SHIPPED, *, count: int = COUNT, console: Console | None = None) -> ValidationSet:
    """Render a set and write it. The same driver gives the same bytes.

    Raises:
        DependencyError: moderngl or an EGL driver is missing.
        OutputError: the folder cannot be written.
    """
    stage = Stage()
    identities: list[dict[str, Any]] = []
    masks, shown = [], []
    with progress("rendering validation identities", count, console=console) as advance:
        for index in range(count):
            frames, regions = stage.regions(seed_of(index), action_of(index), MASK_FRAMES)
            colours = mean_colours(frames, eroded(regions))
            known = {
                n: c.round(2).tolist() for n, c in zip(REGIONS, colours, strict=True) if np.isfinite(c).all()
            }
            seed, partner = seed_of(index), seed_of(partner_of(index))
            identities.append(
                {"seed": seed, "action": action_of(index), "partner": partner, "colours": known}
            )
            masks.append(regions)
            shown.append(frames[MASK_FRAMES.index(SHOWN_FRAME)])
            _sheet(stage, index).save(folder / "sheets" / f"{seed}.png")
            advance(index + 1)
    centroids = _centroids(stage, console)
    _save_array(folder / "masks.npz", "masks", np.stack(masks))
    _save_array(folder / "motions.npz", "centroids", centroids.astype(np.float16))
    atlas = Image.new("RGB", (4 * WIDTH, -(-min(count, SHOWN) // 4) * HEIGHT))
    for index, frame in enumerate(shown[:SHOWN]):
        atlas.paste(Image.fromarray(frame), (index % 4 * WIDTH, index // 4 * HEIGHT))
    write_atomic(folder / "truth.png", lambda path: atlas.save(path, format="PNG", optimize=True))
    lines = ",\n  ".join(json.dumps(one) for one in identities)
    text = f'{{\n "version": 1,\n "identities": [\n  {lines}\n ]\n}}\n'
    write_text(folder / "set.json", text)
    return ValidationSet.load(folder)


def _sheet(stage: Stage, index: int) -> Sheet:
    """The product's own sheet of an identity's pictures, at the size at which the model sees it.

    The pipeline would shrink the composed sheet to just these pixels, so a clip comes out the same; the
    files are a quarter as large.
    """
    with tempfile.TemporaryDirectory() as folder:
        sheet = compose(stage.scene(seed_of(index), Path(folder)), output=SIZE, grid=CELL)
    return Sheet(sheet.conditioning_image(*SIZE), elements=sheet.elements, output=SIZE)


def _centroids(stage: Stage, console: Console | None) -> deeds.Floats:
    motions, names = [], []
    total = MOTION_SEEDS * len(ACTIONS)
    with progress("rendering training identities", total, console=console) as advance:
        for seed in TRAINING[:MOTION_SEEDS]:
            for action in ACTIONS:
                motions.append(deeds.motion(stage.frames(seed, action, deeds.INDICES)))
                names.append(action)
                advance(len(names))
    return deeds.centroids(motions, names)


def _save_array(path: Path, name: str, array: np.ndarray) -> None:
    arrays: dict[str, Any] = {name: array}
    write_atomic(path, lambda temporary: np.savez_compressed(temporary, **arrays))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=SHIPPED)
    parser.add_argument("--count", type=int, default=COUNT)
    options = parser.parse_args()
    made = make(options.out, count=options.count)
    size = sum(path.stat().st_size for path in options.out.rglob("*") if path.is_file())
    print(f"{options.out}: {len(made)} identities, {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
