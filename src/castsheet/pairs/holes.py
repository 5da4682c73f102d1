"""Small holes in the picture of a place, filled from their edges (Telea, 2004, by OpenCV)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from castsheet.machine.files import require

RADIUS = 3  # px around a pixel that it is mixed of


class Telea:
    """The rule. Good for holes of a few pixels: larger ones become smears.

    Raises:
        DependencyError: OpenCV is not installed (`castsheet[cutout]`).
    """

    name = "telea-1"

    def __init__(self) -> None:
        self._cv: Any = require("cv2", "cutout")

    def fill(self, picture: Image.Image, hole_HW: NDArray[np.bool_]) -> Image.Image:
        """The picture with its hole filled."""
        pixels = np.ascontiguousarray(np.asarray(picture.convert("RGB")))
        filled = self._cv.inpaint(pixels, hole_HW.astype(np.uint8), RADIUS, self._cv.INPAINT_TELEA)
        return Image.fromarray(np.where(hole_HW[..., None], filled, pixels).astype(np.uint8))
