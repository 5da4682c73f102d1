"""One mask out of several opinions: where they agree it stands, where they differ the colours decide.

A network of salient things finds props, animals and held things, and takes a bright bench for a person's leg.
The networks of persons know heads, hands and feet, and nothing of what is held. What both take for subject is
subject, what neither takes is background; between them GrabCut (Rother, Kolmogorov, Blake, SIGGRAPH 2004)
decides by the colours of the sure parts, and the places where it had to are told.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from castsheet.sheet.look.edges import opencv

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]

# Long side at which colours decide.
WORK = 512
# Of 1. Sure subject: one mask above the first, the other above the second. Sure background: the salience mask
# below the third, the person's below the fourth.
_SURE, _AGREED, _NONE, _UNLIKELY = 0.9, 0.7, 0.05, 0.5
_ROUNDS = 3


def fitted(mask: Array, size: tuple[int, int]) -> Array:
    """A mask stretched to a size (width, height)."""
    image = Image.fromarray(np.ascontiguousarray(mask, np.float32))
    return np.clip(np.asarray(image.resize(size, Image.Resampling.BICUBIC)), 0, 1)


def work_size(size: tuple[int, int]) -> tuple[int, int]:
    """The size at which masks are joined."""
    scale = min(1.0, WORK / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def disputed(size: tuple[int, int], things: Array, person: Array) -> Mask:
    """Where (H, W), at the size at which masks are joined, two masks differ by more than a half.

    Args:
        size: of the picture, width and height.
        things, person: masks at any size, stretched over the picture.
    """
    work = work_size(size)
    return np.abs(fitted(things, work) - fitted(person, work)) > 0.5


def joined(rgb: Image.Image, things: Array, person: Array | None) -> Array:
    """The joint mask (H, W) 0..1, at `WORK`, of the salient thing and, where there is one, the person.

    Args:
        rgb: the picture, at any size.
        things: a salience mask, at any size; stretched over the picture.
        person: the mask of the person that the picture is of, likewise.

    Without opencv the mean of both masks stands.
    """
    size = work_size(rgb.size)
    seen = fitted(things, size)
    known = seen if person is None else fitted(person, size)
    return _settled(rgb, size, seen, known)


def _settled(rgb: Image.Image, size: tuple[int, int], things: Array, person: Array) -> Array:
    """Colours decide where the masks contradict each other, and where the salience mask is not sure."""
    mean = np.asarray((things + person) / 2, np.float32)
    cv2 = opencv()
    if cv2 is None:
        return mean
    low, high = np.minimum(things, person), np.maximum(things, person)
    sure, none = (high > _SURE) & (low > _AGREED), (things < _NONE) & (person < _UNLIKELY)
    sure = np.asarray(cv2.erode(sure.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0)
    if not sure.any() or not none.any() or none.all():
        return mean
    marks = np.where(mean > 0.5, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    marks[sure], marks[none] = cv2.GC_FGD, cv2.GC_BGD
    pixels = np.asarray(rgb.convert("RGB").resize(size, Image.Resampling.BOX, reducing_gap=2))
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.setRNGSeed(0)
    bgr = np.ascontiguousarray(pixels[..., ::-1])
    cv2.grabCut(bgr, marks, None, *models, _ROUNDS, cv2.GC_INIT_WITH_MASK)
    return np.asarray((marks == cv2.GC_FGD) | (marks == cv2.GC_PR_FGD), np.float32)
