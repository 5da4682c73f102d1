"""A composed sheet looked at: shared by the tests of composing, from drawings and from photos."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from castsheet.elements import Element, Scene
from castsheet.sheet.box import Box
from castsheet.sheet.manifest import Panel, Sheet


def one(*elements: Element) -> Scene:
    return Scene(elements=elements)


def pixels(sheet: Sheet, box: Box) -> np.ndarray:
    return np.asarray(sheet.image.crop((box.x, box.y, box.right, box.bottom))).astype(int)


def panel(sheet: Sheet, element: str, view: str) -> Panel:
    (found,) = [panel for panel in sheet.panels_of(element) if panel.view == view]
    return found


def save(image: Image.Image, path: Path) -> Path:
    image.save(path)
    return path
